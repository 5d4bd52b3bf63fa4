"""A network that grows answers to old questions as before."""

from __future__ import annotations

import pytest
import torch

from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.grow import grown
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.small import morse_clusters

GAP = PropertyConfig(name="gap")
PORES = PropertyConfig(name="pores", pooling="sum")
TWIST = PropertyConfig(name="twist", irreps="0o")
POLAR = PropertyConfig(name="polar", irreps="0e+2e")


def _network(*properties: PropertyConfig) -> AtomFieldNet:
    torch.manual_seed(3)
    config = NetworkConfig(
        channels=8, channels_unnatural=4, num_radial=4, radial_hidden=8, head_hidden=8, levels=("morse",),
        default_level_atoms="morse", properties=properties,
    )  # fmt: skip
    net = AtomFieldNet(config).eval()
    with torch.no_grad():
        for tensor in (*net.parameters(), net.property_head.scale, net.property_head.shift):
            tensor += 0.3 * torch.randn_like(tensor)
    return net


@pytest.mark.parametrize("old", [(GAP, PORES), (GAP, TWIST, PORES), (GAP, POLAR)])
@pytest.mark.parametrize("new", [PropertyConfig(name="fresh"), PropertyConfig(name="fresh", pooling="sum")])
def test_old_properties_are_kept_when_one_is_added(old, new):
    net = _network(*old)
    more = grown(net, net.config.model_copy(update={"properties": (new, *old)})).eval()
    batch = graphs_to_batch(net.config, morse_clusters(3))
    before, after = net(batch), more(batch)
    for prop in old:
        assert torch.equal(before[prop.name], after[prop.name]), prop.name
        assert before[prop.name].abs().max() > 1e-3
    assert "fresh" in after


def test_a_property_that_is_defined_anew_starts_anew():
    net = _network(GAP, PORES)
    other = PropertyConfig(name="gap", unit="eV")
    more = grown(net, net.config.model_copy(update={"properties": (other, PORES)})).eval()
    assert more.property_head.mean_weight[0].abs().max() == 0
    assert torch.equal(more.property_head.sum_weight[1], net.property_head.sum_weight[1])


@pytest.mark.parametrize("old", [(GAP,), (GAP, POLAR), ()])
def test_a_new_property_reads_what_the_old_ones_shared(old):
    """Also after a network without any, as the shipped models are."""
    net = _network(*old)
    bare = grown(net, net.config.model_copy(update={"properties": ()}))
    fresh = PropertyConfig(name="fresh")
    for start in (net, bare):
        more = grown(start, start.config.model_copy(update={"properties": (fresh,)}))
        for part in ("node", "attention", "mix"):
            before, after = getattr(net.property_head, part), getattr(more.property_head, part)
            assert torch.equal(before.weight, after.weight) and torch.equal(before.bias, after.bias), part
        assert more.property_head.mean_weight.abs().max() == 0


def test_new_conditions_begin_by_changing_nothing():
    net = _network(GAP)
    more = grown(net, net.config.model_copy(update={"conditions": net.config.reading(("source", "charge"))}))
    assert more.config.conditions == (*net.config.conditions, "source")
    batch = graphs_to_batch(net.config, morse_clusters(3))
    batch.conditions["source"] = torch.tensor([1.0, 2.0, float("nan")], dtype=torch.float64)
    torch.testing.assert_close(more.eval()(batch)["gap"], net(batch)["gap"], rtol=1e-6, atol=0)
    with torch.no_grad():
        more.backbone.conditions.up.weight[:, -2:] = 1.0
    changed = (more(batch)["gap"] - net(batch)["gap"]).abs() > 1e-3
    assert changed.tolist() == [True, True, False]
