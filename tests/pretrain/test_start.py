"""A run that goes on from a published checkpoint: old levels to the bit, new levels beside them, fresh heads where asked."""

from dataclasses import replace

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import collate
from atomfield.data.quantities import declared_property, scalar_property
from atomfield.models import checkpoint
from atomfield.models.grow import HEADS, PER_LEVEL
from atomfield.models.network import graphs_to_batch
from atomfield.pretrain.balance import balance_lines
from atomfield.pretrain.config import LossWeights, OptimizerConfig, PretrainConfig
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets, loss_sums
from atomfield.pretrain.start import build, check_pieces
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.streams import Stream
from tests.small import morse_clusters, small_network, waves


@pytest.fixture
def published(tmp_path):
    net = small_network(auxiliary=("direct",)).eval()
    with torch.no_grad():
        net.atom_head.reference[0, [1, 6]] = -6.0
        net.atom_head.energy_scale.fill_(0.7)
        net.field_head.increment_rms.uniform_(0.5, 2.0)
    return net, checkpoint.save(net, tmp_path / "model")


def config_of(folder, **options):
    return PretrainConfig(
        streams=({"source": "x"}, {"source": "x", "objective": "masked_atoms"}), start=folder, **options
    )


def test_a_data_set_added_later_leaves_old_levels_as_they_were(published):
    net, folder = published
    new, fits, *_ = build(
        config_of(folder), [morse_clusters(4), morse_clusters(6, 1, "other"), waves(2, level="sea")]
    )
    new.eval()
    assert new.config.levels == ("morse", "wave", "other", "sea")
    assert [f.level for f in fits] == ["other"] and fits[0].energies.keys() == {1, 6}
    for name, value in net.state_dict().items():
        found = new.state_dict()[name]
        assert torch.equal(found[: len(value)] if name in PER_LEVEL else found, value), name
    atoms, field = graphs_to_batch(net.config, morse_clusters(3)), collate([waves(1)[0].pair(0)])
    for batch in (atoms, field):
        before, after = net(batch), new(batch)
        assert all(torch.equal(after[name], value) for name, value in before.items())
    assert float(new.atom_head.reference[2, 6]) != 0 and bool((new.field_head.increment_rms[3] != 1).any())
    assert "elements" in new.config.auxiliary and "direct" in new.config.auxiliary


def test_fresh_heads_keep_the_backbone_and_the_scales(published):
    net, folder = published
    new, *_ = build(config_of(folder, fresh_heads=True), [morse_clusters(4)])
    assert "direct" not in new.config.auxiliary  # the conservative stage has no use for it
    parameters = dict(net.named_parameters())
    for name, value in new.state_dict().items():
        if name in parameters and name.startswith(HEADS):
            assert not torch.equal(value, parameters[name]), name
        elif name in net.state_dict():
            assert torch.equal(value, net.state_dict()[name]), name


def test_what_does_not_fit_the_checkpoint_is_refused(published):
    _, folder = published
    with pytest.raises(InputError, match="network.channels is 32 and the checkpoint's 8"):
        build(config_of(folder, network="s"), [morse_clusters(2)])
    graphs = morse_clusters(2)
    for graph, shift in zip(graphs, (4000, -4000), strict=True):
        graph.species[1] = 9
        graph.quantities["energy"] += shift
    with pytest.raises(
        InputError, match="level 'morse' with F, which the checkpoint does not know, lie .* eV per atom"
    ):
        build(config_of(folder), [graphs])
    with pytest.raises(ValueError, match="fresh_heads is true without start"):
        PretrainConfig(streams=({"source": "x"},), fresh_heads=True)


def test_a_known_level_meets_new_elements(published):
    """Their references are fitted beside those that it has, which stay."""
    net, folder = published
    graphs = morse_clusters(6)
    for graph in graphs[:3]:
        graph.species[1] = 9
        graph.quantities["energy"] += 2.5
    new, fits, *_ = build(config_of(folder), [graphs])
    row = new.atom_head.reference[0]
    assert torch.equal(row[[1, 6]], net.atom_head.reference[0, [1, 6]])
    assert [(f.level, list(f.energies), f.num_records) for f in fits] == [("morse", [9], 3)]
    left = [float(g.quantities["energy"] - row[g.species].sum()) for g in graphs]
    assert sum(left[:3]) / 3 == pytest.approx(
        0.0, abs=1e-6
    )  # of the new element alone, so it takes their mean
    assert float(row[9]) == fits[0].energies[9] != 0


def test_levels_are_balanced_by_their_forces_where_asked():
    strong = morse_clusters(8, 2, "strong")
    for graph in strong:
        graph.quantities["forces"] *= 3
    graphs = [*morse_clusters(8, 2, "weak"), *strong]
    streams = ({"source": "x", "weight": 0.5},)
    plain = build(PretrainConfig(streams=streams), [graphs])
    balanced = build(PretrainConfig(streams=streams, balance="inverse_rms"), [graphs])
    assert (
        plain.factors == () and "1 for every level" in balance_lines(PretrainConfig(streams=streams), ())[-1]
    )
    factors = dict(balanced.factors)
    assert factors["weak"] / factors["strong"] == pytest.approx(3.0)
    assert balanced.net.atom_head.energy_scale == plain.net.atom_head.energy_scale  # one scale for all
    assert "energy 2, forces 5" in balance_lines(PretrainConfig(streams=streams), ())[1]
    batch = graphs_to_batch(plain.net.config, [graphs[0], strong[0]])
    sums = [
        loss_sums(b.net, b.net, batch, Targets("supervised", ("forces",), balance=b.factors), LossWeights())[
            "forces"
        ]
        for b in (plain, balanced)
    ]
    residual = plain.net(batch)["forces"].detach() - batch.quantities["forces"]
    by_hand = residual / plain.net.atom_head.energy_scale
    by_hand = by_hand * torch.tensor([factors[level] for level in batch.levels])[batch.graph_index, None]
    huber = (
        torch.nn.functional.huber_loss(by_hand, torch.zeros_like(by_hand), reduction="none", delta=0.1) / 0.1
    )
    assert float(sums[1].detach()) == pytest.approx(10.0 * float(huber.detach().mean(1).sum()), rel=1e-5)
    assert float(sums[0].detach()) != pytest.approx(float(sums[1].detach()), rel=1e-2)


def with_properties(count, level="morse"):
    """Clusters with a number each, and every other one with a vector per atom."""
    out = []
    for k, graph in enumerate(morse_clusters(count, 5, level)):
        extra = {"spread": torch.pdist(graph.positions).mean().double() * 10}
        own = {"spread": scalar_property("spread", "angstrom")}
        if k % 2:
            extra["pull"], own["pull"] = (
                3 * graph.quantities["forces"].double(),
                declared_property("pull", "1o/atom"),
            )
        out.append(replace(graph, quantities={**graph.quantities, **extra}, properties=own))
    return out


def test_properties_of_the_records_get_rows_in_the_head(published):
    net, folder = published
    graphs = with_properties(12)
    fresh = build(PretrainConfig(streams=({"source": "x"},)), [graphs])
    assert [p.name for p in fresh.net.config.properties] == ["pull", "spread"]
    assert [f.config.name for f in fresh.properties] == ["pull", "spread"]
    values = torch.stack([g.quantities["spread"] for g in graphs])
    assert float(fresh.net.property_head.scale[1]) == pytest.approx(float(values.std(correction=0)), rel=0.5)
    batch = graphs_to_batch(fresh.net.config, graphs)
    sums = loss_sums(fresh.net, fresh.net, batch, Targets("supervised"), LossWeights())
    assert {"spread", "pull", "energy", "forces"} <= sums.keys()
    assert 0.05 < float(sums["spread"].detach()) / len(graphs) < 2  # in units of the scale
    sums["spread"].backward()
    head = fresh.net.property_head
    weight = head.mean_weight if fresh.properties[1].config.pooling == "mean" else head.sum_weight
    assert float(weight.grad[1].abs().max()) > 0
    unlabelled = build(
        PretrainConfig(streams=({"source": "x", "objective": "denoise", "noise": 0.1},)), [graphs], []
    )
    assert unlabelled.net.config.properties == ()
    later = build(config_of(folder), [with_properties(8, "other")])
    assert later.net.config.properties[: len(net.config.properties)] == net.config.properties
    assert [p.name for p in later.net.config.properties][-2:] == ["pull", "spread"]
    assert torch.equal(later.net.property_head.mix.weight, net.property_head.mix.weight)


def test_a_network_too_small_for_what_it_is_to_say_is_refused():
    graphs = with_properties(4)
    odd = {**graphs[0].properties, "hand": declared_property("hand", "0o")}
    graphs = [
        replace(
            g, quantities={**g.quantities, "hand": torch.tensor(1.0 + k)}, properties={**g.properties, **odd}
        )
        for k, g in enumerate(graphs)
    ]
    with pytest.raises(
        InputError, match="property 'hand' of the records has irreps 0o, expected lmax .*size s"
    ):
        build(PretrainConfig(streams=({"source": "x"},), network="xs"), [graphs])
    flat = {"channels": 8, "channels_unnatural": 0, "lmax": 0}
    with pytest.raises(InputError, match="network.lmax is 0, expected at least 1 for forces: direct"):
        build(PretrainConfig(streams=({"source": "x"},), forces="direct", network=flat), [morse_clusters(2)])


def test_zero_3_refuses_weights_without_numbers():
    """DeepSpeed ends in the middle of a pass there: a network without unnatural channels has such tensors."""
    for size, refused in (("xs", True), ("s", False)):
        config = PretrainConfig(streams=({"source": "x"},), forces="direct", zero_stage=3, network=size)
        net = build(config, [morse_clusters(2)]).net
        check_pieces(net, config, 1)
        check_pieces(net, config.model_copy(update={"zero_stage": 2}), 2)
        if refused:
            with pytest.raises(InputError, match="zero_stage 3 on 2 processes .* or zero_stage 2"):
                check_pieces(net, config, 2)
        else:
            check_pieces(net, config, 2)


def temperatures(mean, level="wave", count=3):
    """Waves of a temperature, ``mean`` +- 1."""
    return [
        replace(
            g,
            level=level,
            quantities={
                "temperature": g.quantities["concentration"] + mean,
                "velocity": g.quantities["velocity"],
            },
        )
        for g in waves(count)
    ]


@pytest.mark.parametrize("objective", ["next_step", "masked_patches"])
def test_a_field_in_kelvin_is_learnt_as_one_about_zero(objective, tmp_path):
    losses, answers = [], []
    for mean in (0.0, 300.0):
        graphs = temperatures(mean)
        config = PretrainConfig(
            streams=({"source": "x", "objective": objective},),
            network={"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8},
        )
        built = build(config, [graphs])
        expected = (("wave", "temperature", pytest.approx(300.0, abs=0.1)),) if mean else ()
        assert built.offsets == expected
        noise = 0.01 if objective == "next_step" else 0.0
        stream = Stream(graphs, Targets(objective), cutoff=5.0, max_edges=2000, seed=0, noise=noise)
        engine = TorchEngine(built.net, parameter_groups(built.net, 0.0), OptimizerConfig(learning_rate=5e-3))
        history = [
            sum(
                training_step(
                    engine, built.net, [MicroBatch(stream.batch(k), stream.targets)], LossWeights()
                ).values()
            )
            for k in range(30)
        ]
        losses.append(history)
        checkpoint.save(built.net, tmp_path / str(mean))
        net = checkpoint.load(tmp_path / str(mean))
        assert net.config.centred == (("temperature",) if mean else ())
        hidden = objective == "masked_patches"
        batch = stream.batch(0) if hidden else collate([graphs[0].pair(0)])
        answers.append(net(batch, hidden=hidden)["temperature"].detach() - mean)
    assert sum(losses[0][-5:]) < 0.9 * sum(losses[0][:5])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    torch.testing.assert_close(answers[1], answers[0], rtol=1e-3, atol=1e-3)


def test_a_field_in_kelvin_joins_a_checkpoint_that_knows_none(published):
    """Levels of the checkpoint read as they did, to the bit, their own temperatures too; the new one reads distances."""
    net, folder = published
    known, added = temperatures(300.0), temperatures(290.0, "sea")
    built = build(config_of(folder), [known, added])
    new = built.net
    assert [(level, name) for level, name, _ in built.offsets] == [("sea", "temperature")]
    assert net.config.centred == () and new.config.centred == ("temperature",)
    mean = new.backbone.embedding.input_mean[:, new.config.field_inputs.index("temperature")]
    assert mean.tolist() == [0.0, 0.0, pytest.approx(290.0, abs=0.1)]
    new.eval()
    batch = collate([known[0].pair(0)])
    for name, value in net(batch).items():
        assert torch.equal(new(batch)[name], value), name
    again, *_ = build(config_of(folder), [known])
    assert again.config.centred == () and again.backbone.embedding.input_mean is None
