"""Objectives beside supervised training: what is hidden does not leak, each is learnt, packing does not matter."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, collate
from atomfield.models.auxiliary import HIDDEN
from atomfield.models.network import graphs_to_batch
from atomfield.pretrain.config import LossWeights, OptimizerConfig, PretrainConfig, StreamConfig
from atomfield.pretrain.corrupt import CLOSEST, displaced, displaced_given_forces, hide_atoms, hide_patches
from atomfield.pretrain.engine import TorchEngine, parameter_groups, set_learning_rate
from atomfield.pretrain.losses import Targets, counts, loss_sums, rolled_out
from atomfield.pretrain.normalize import Statistics, normalize
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.streams import Stream
from tests.small import morse_clusters, small_network, waves

AUXILIARY = ("direct", "elements", "given_forces", "states")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def stream(graphs, objective, **options):
    targets = Targets(objective, noise=options.get("noise", 0.0), direct=options.pop("direct", False))
    return Stream(graphs, targets, cutoff=5.0, max_edges=2000, seed=0, name=objective, **options)


def test_noise_leaves_no_two_atoms_upon_each_other():
    """One of a million structures would end a run of weeks, or give it forces like nothing else."""
    places = torch.tensor([[0.0, 0, 0], [0, 0, 0.74]])
    pair = Graph(places, torch.tensor([1, 1]), "molecule", quantities={"forces": torch.zeros(2, 3)})
    for seed in range(300):
        for found in (
            displaced(pair, 0.3, seeded(seed)),
            displaced_given_forces(pair, 0.3, 0.5, seeded(seed)),
        ):
            assert float(torch.pdist(found.positions)) >= CLOSEST
            noise = torch.nan_to_num(found.quantities["displacement_noise"])
            assert torch.equal(found.positions, pair.positions + noise)
    with pytest.raises(
        InputError, match=r"noise of 0.01 angstrom brought atoms within 0.3 angstrom of each other 100 times"
    ):
        displaced(pair.changed(positions=pair.positions / 10), 0.01, seeded(0))


def test_hidden_species_do_not_leak():
    net = small_network(auxiliary=AUXILIARY).eval()
    batch = graphs_to_batch(net.config, morse_clusters(4))
    masked = hide_atoms(batch, 0.4, seeded())
    hidden = masked.quantities[HIDDEN] > 0
    assert hidden.reshape(4, 5).sum(1).tolist() == [2, 2, 2, 2]
    assert torch.equal(masked.next_quantities["species"][hidden], batch.species[hidden].double())
    assert torch.isnan(masked.next_quantities["species"][~hidden]).all()
    assert set(masked.quantities) == {HIDDEN}  # neither energies nor charges tell
    other = replace(batch, species=torch.where(hidden, 8, batch.species))
    again = hide_atoms(other, 0.4, seeded())
    assert torch.equal(net(masked, hidden=True)["elements"], net(again, hidden=True)["elements"])


def test_hidden_states_do_not_leak_and_are_a_patch():
    net = small_network(auxiliary=AUXILIARY).eval()
    graphs = [g.snapshot(1) for g in waves(2)]
    batch = collate(graphs)
    masked = hide_patches(batch, 0.2, seeded(3))
    hidden = masked.quantities[HIDDEN] > 0
    wanted = masked.next_quantities["concentration"]
    assert torch.equal(wanted[hidden], batch.quantities["concentration"][hidden])
    assert torch.isnan(wanted[~hidden]).all()
    for part in hidden.reshape(2, 64):
        assert 0.15 < part.double().mean() < 0.4
        cells = part.reshape(8, 8)
        alone = cells & ~(cells.roll(1, 0) | cells.roll(-1, 0) | cells.roll(1, 1) | cells.roll(-1, 1))
        assert not alone.any()  # one patch, across the periodic boundary too
    other = dict(batch.quantities)
    other["concentration"] = torch.where(hidden, 7.0, batch.quantities["concentration"])
    again = hide_patches(replace(batch, quantities=other), 0.2, seeded(3))
    for name, value in net(masked, hidden=True).items():
        assert torch.equal(value, net(again, hidden=True)[name]), name


def test_a_patch_is_the_same_in_a_turned_box():
    graph = waves(1)[0].snapshot(0)
    turn = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    seen = graph.changed(positions=graph.positions @ turn.T, cell=graph.cell @ turn.T)
    masks = [hide_patches(collate([g]), 0.2, seeded(1)).quantities[HIDDEN] for g in (graph, seen)]
    assert torch.equal(*masks)


def test_forces_are_given_where_positions_are_disturbed():
    graph = morse_clusters(1)[0]
    found = displaced_given_forces(graph, 0.1, 0.4, seeded())
    moved = found.positions - graph.positions
    noise, forces = found.quantities["displacement_noise"], found.quantities["given_forces"]
    chosen = torch.isfinite(noise).all(1)
    assert int(chosen.sum()) == 2
    assert torch.allclose(moved[chosen], noise[chosen]) and torch.equal(
        moved[~chosen], torch.zeros_like(moved[~chosen])
    )
    assert torch.equal(forces[chosen], graph.quantities["forces"][chosen].double())
    assert torch.isnan(forces[~chosen]).all() and "forces" not in found.quantities


def test_pushforward_takes_the_gradient_of_the_last_step():
    net = small_network().double()
    source = stream(waves(2), "next_step", rollout=3, noise=0.01)
    source.micro_batches = 2
    lengths = [len(source.batch(n).earlier) for n in range(12)]
    assert set(lengths) == {0, 1, 2}
    assert lengths[0::2] == lengths[1::2]  # one number for a whole step, on every rank
    batch = source.batch(2 * next(k for k, n in enumerate(lengths[0::2]) if n == 2))
    state = batch.earlier[0]
    for later in (batch.earlier[1], batch):
        with torch.no_grad():
            reached = {name: value.double() for name, value in net(state).items()}
        state = replace(later, quantities={**later.quantities, **reached}, earlier=())
    assert torch.equal(rolled_out(net, batch).quantities["concentration"], state.quantities["concentration"])
    gradients = []
    for given in (batch, state):
        net.zero_grad()
        sum(loss_sums(net, net, given, source.targets, LossWeights()).values()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


def micro_batches(net, packing, objective):
    graphs = waves(4) if objective == "masked_patches" else morse_clusters(4)
    found = []
    for part in packing:
        if objective == "masked_patches":
            ready = [hide_patches(collate([graphs[i].snapshot(0)]), 0.2, seeded(i)) for i in part]
        elif objective == "masked_atoms":
            ready = [hide_atoms(graphs_to_batch(net.config, [graphs[i]]), 0.4, seeded(i)) for i in part]
        else:
            structures = [displaced_given_forces(graphs[i], 0.1, 0.4, seeded(i)) for i in part]
            found.append(graphs_to_batch(net.config, structures))
            continue
        found.append(joined(ready))
    return found


def joined(batches):
    """Batches of one graph each, packed."""
    offset = torch.tensor([0, *[b.num_nodes for b in batches[:-1]]]).cumsum(0).tolist()
    pack = lambda name: torch.cat([getattr(b, name) for b in batches])  # noqa: E731
    tables = lambda name: {  # noqa: E731
        key: torch.cat([getattr(b, name)[key] for b in batches]) for key in getattr(batches[0], name)
    }
    return replace(
        batches[0],
        **{n: pack(n) for n in ("positions", "species", "node_type", "volume", "cell", "pbc", "edge_shift")},
        **{n: pack(n) for n in ("edge_is_radius", "spacing", "bonds_known")},
        **{n: tables(n) for n in ("quantities", "next_quantities", "conditions")},
        graph_index=torch.cat([b.graph_index + k for k, b in enumerate(batches)]),
        edge_index=torch.cat([b.edge_index + o for o, b in zip(offset, batches, strict=True)], dim=1),
        levels=[x for b in batches for x in b.levels],
        provenance=[p for b in batches for p in b.provenance],
    )


@pytest.mark.parametrize("objective", ["denoise_forces", "masked_atoms", "masked_patches"])
def test_packing_does_not_change_the_gradient(objective):
    found = []
    for packing in ([[0, 1, 2, 3]], [[2], [3, 0, 1]]):
        net = small_network(auxiliary=AUXILIARY).double()
        engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
        engine.step = lambda: None
        targets = Targets(objective, noise=0.1)
        batches = [MicroBatch(b, targets) for b in micro_batches(net, packing, objective)]
        report = training_step(engine, net, batches, LossWeights())
        found.append((report, {k: p.grad for k, p in net.named_parameters() if p.grad is not None}))
    (whole, expected), (cut, gradients) = found
    assert whole.keys() == cut.keys() and all(v > 0 for v in whole.values())
    assert all(cut[k] == pytest.approx(v, rel=1e-10) for k, v in whole.items())
    for name, gradient in expected.items():
        assert torch.allclose(gradients[name], gradient, rtol=1e-8, atol=1e-12), name


def test_every_objective_is_counted_learnt_and_reported_apart():
    net = small_network(perturb=0.0, auxiliary=AUXILIARY)
    atoms, fields = morse_clusters(16), waves(1)
    statistics = Statistics()
    statistics.add([*atoms, *fields])
    normalize(net, statistics)
    assert net.backbone.embedding.given_forces.scale == net.atom_head.energy_scale
    streams = [
        stream(atoms, "denoise_forces", noise=0.1, fraction=0.4),
        stream(atoms, "masked_atoms", fraction=0.2),
        stream(fields, "masked_patches", fraction=0.2),
        stream(fields, "next_step", rollout=2, noise=0.01),
        stream(atoms, "supervised", direct=True),
    ]
    for s in streams:
        batch = s.batch(0)
        sums = loss_sums(net, net, batch, s.targets, LossWeights())
        assert counts(net, batch, s.targets).keys() == sums.keys()
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    set_learning_rate(engine.optimizer, 5e-3)
    history = []
    for step in range(80):
        micro = [MicroBatch(s.batch(step), s.targets, 1.0, s.name) for s in streams]
        history.append(training_step(engine, net, micro, LossWeights()))
    mean = lambda rows, key: sum(r[key] for r in rows) / len(rows)  # noqa: E731
    for key in (
        "denoise_forces/noise",
        "masked_atoms/element",
        "masked_patches/patch/concentration",
        "next_step/field/concentration",
        "supervised/forces",
    ):
        assert mean(history[-10:], key) < 0.95 * mean(history[:8], key), key


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_time": 0},
        {"max_time": -5.0},
        {"seed": -1},
        {"loss": {"energy": -1.0}},
        {"loss": {"forces": float("nan")}},
        {"optimizer": {"learning_rate": float("inf")}},
        {"streams": ({"source": "x", "weight": float("inf")},)},
        {"timeout": float("inf")},
        {"network": {"channels": 8, "channels_unnatural": 16}},
        {"network": {"long_range_smallest": 20.0}},
        {"network": {"priors": ("d5:pbe",)}},
    ],
    ids=str,
)
def test_numbers_that_no_run_can_have_are_refused(wrong):
    """Each of them ended in a traceback in the middle of a run, or in a run that learnt nothing."""
    with pytest.raises(ValidationError):
        PretrainConfig(**{"streams": ({"source": "x"},), **wrong})


@pytest.mark.parametrize("name", ["bf16", "dtype"])
def test_bfloat16_is_refused_with_its_reason(name):
    with pytest.raises(
        ValidationError, match=f"'{name}' is no setting: .* float32 at every stage, since bfloat16"
    ):
        PretrainConfig(**{"streams": ({"source": "x"},), name: "bfloat16"})


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValidationError, match="noise is 0"):
        StreamConfig(source="x", objective="denoise_forces")
    with pytest.raises(ValidationError, match="fraction is given for supervised"):
        StreamConfig(source="x", fraction=0.5)
    with pytest.raises(ValidationError, match="noise is given for masked_atoms, expected only for denoise"):
        StreamConfig(source="x", objective="masked_atoms", noise=0.1)
    with pytest.raises(ValidationError, match="mixture is 2.0 for one source"):
        StreamConfig(source="x", mixture=2.0)
    with pytest.raises(ValidationError, match="rollout is 2 for denoise"):
        StreamConfig(source="x", objective="denoise", noise=0.1, rollout=2)
    with pytest.raises(InputError, match="6 times, which next_step with rollout 5"):
        stream(waves(2), "next_step", rollout=5)
    with pytest.raises(InputError, match="a field, which masked_patches needs"):
        stream(morse_clusters(2), "masked_patches")
    config = PretrainConfig(
        streams=({"source": "x"}, {"source": "x", "objective": "masked_atoms"}), forces="direct", zero_stage=3
    )
    assert config.auxiliary == ("direct", "elements")
