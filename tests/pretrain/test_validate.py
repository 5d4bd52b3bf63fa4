"""Validation of one stream: which errors there are, in which unit."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from atomfield.data.graph import collate
from atomfield.data.neighbors import with_edges
from atomfield.data.quantities import scalar_property
from atomfield.finetune.train import score
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.pretrain.equivariance import equivariance_error
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.streams import Stream
from atomfield.pretrain.validate import errors, score_of
from tests.physics.subjects import crystal
from tests.small import morse_clusters, small_network, waves


def stream_of(graphs, *terms):
    return Stream(
        graphs, Targets("supervised", terms), cutoff=small_network().config.cutoff, max_edges=5000, seed=0
    )


def test_a_stress_that_is_a_target_is_judged_as_a_virial_per_atom():
    """Else the weights that are kept would be those of the first validation, whose score no later one is below."""
    net = small_network().eval()
    solid = replace(crystal(), level="morse")
    label = 0.01 * torch.eye(3, dtype=torch.float64)
    graphs = [replace(solid, quantities={"stress": label})]
    found = errors(net, stream_of(graphs, "stress"), "cpu")
    said = net(graphs_to_batch(net.config, graphs), stress=True)["stress"][0].detach()
    volume = float(torch.linalg.det(solid.cell).abs()) / solid.num_nodes
    assert found == {
        "virial_mae_eV_per_atom": pytest.approx(float((said - label).abs().mean()) * volume, rel=1e-4)
    }
    assert score(net, found) == pytest.approx(
        found["virial_mae_eV_per_atom"] / float(net.atom_head.energy_scale)
    )


@pytest.mark.parametrize("kind", ["classification", "multiclass"])
def test_classes_are_judged_by_their_log_loss(kind):
    """Not by the mean of |p - y|: of a rare class, to say no to all is best by that."""
    several = {"classes": ("a", "b", "c")} if kind == "multiclass" else {}
    prop = PropertyConfig(name="rare", kind=kind, pooling="mean", **several)
    net = AtomFieldNet(small_network().config.model_copy(update={"properties": (prop,)})).eval()
    shown = {"properties": {"rare": scalar_property("rare")}}
    labels = torch.tensor([1.0, 0, 0, 0, 0], dtype=torch.float64)
    graphs = [
        replace(g, quantities={"rare": y}, **shown) for g, y in zip(morse_clusters(5), labels, strict=True)
    ]
    out = net(graphs_to_batch(net.config, graphs), forces=False)["rare"].detach().double()
    if kind == "classification":
        right = torch.where(labels > 0, torch.sigmoid(out), torch.sigmoid(-out))
    else:
        right = torch.softmax(out, 1)[torch.arange(5), labels.long()]
    found = errors(net, stream_of(graphs, "rare"), "cpu")
    assert found == {"rare_log_loss": pytest.approx(float(-right.log().mean()), rel=1e-5)}
    assert score(net, found) == found["rare_log_loss"]


def test_what_is_not_finite_is_no_small_error_and_what_has_no_label_none():
    """Both were left out as if they were missing labels: an error of 0, and a checkpoint that is kept as the best."""
    net = small_network().eval()
    graphs = morse_clusters(3)
    stream = stream_of(graphs)
    assert math.isfinite(score_of(errors(net, stream, "cpu")))
    with torch.no_grad():
        net.atom_head.energy.fill_(float("nan"))
    found = errors(net, stream, "cpu")
    assert math.isnan(found["energy_mae_eV_per_atom"]) and score_of(found) == math.inf
    batch = collate([with_edges(g, 5.0) for g in graphs])
    stream.batch = lambda number: replace(
        batch, quantities={"energy": torch.full((3,), float("nan"), dtype=torch.float64)}
    )
    assert errors(net, stream, "cpu") == {}


def test_a_stress_that_is_no_target_costs_nothing():
    net = small_network().eval()
    molecules = morse_clusters(3)
    assert set(errors(net, stream_of(molecules, "energy", "forces", "stress"), "cpu")) == {
        "energy_mae_eV_per_atom",
        "forces_mae_eV_per_A",
    }
    solid = replace(crystal(), level="morse", quantities={"stress": torch.eye(3, dtype=torch.float64)})
    assert errors(net, stream_of([solid]), "cpu") == {}


def test_the_symmetry_of_a_direct_stage_is_that_of_its_head(monkeypatch):
    net = small_network(auxiliary=("direct",))
    seen = []
    real = type(net).forward
    monkeypatch.setattr(type(net), "forward", lambda *a, **k: seen.append(k.get("direct")) or real(*a, **k))
    batch = graphs_to_batch(net.config, morse_clusters(2))
    assert equivariance_error(net, batch, direct=True) < 1e-5
    assert seen == [True, True]


def test_a_step_that_knows_an_axis_is_seen_beside_a_large_state():
    """Relative to the state, 1e6 times the change, the error was that of rounding."""

    class Drift:
        config = SimpleNamespace(steady=())

        def __call__(self, batch, direct):
            along = torch.tensor([1e-6, 0.0, 0.0], dtype=torch.float64)
            return {"velocity": batch.quantities["velocity"] + along}

    batch = collate([waves(1)[0].pair(0)])
    assert equivariance_error(Drift(), batch) > 0.3
    assert equivariance_error(small_network(), batch) < 1e-5
