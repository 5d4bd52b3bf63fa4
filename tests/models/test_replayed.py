"""Recorded passes of training and validation, as far as a CPU can try them: instead of a replay, work is done again."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from atomfield.data.graph_batch import GraphBatch
from atomfield.finetune.lora import adapt, adapters, merge
from atomfield.inference.rollout import rollout
from atomfield.models.config import PropertyConfig
from atomfield.models.gpu import CapturedPass, ReplayedPass
from atomfield.models.gpu.room import Room
from atomfield.models.heads import Answers
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.pretrain.config import LossWeights, OptimizerConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.step import MicroBatch, training_step
from tests.small import morse_clusters, small_network, waves

from .gpu_cases import a_batch, a_network, assert_alike, plain, trained


class RunAgain:
    """Stands for a GPU: the recorded work is done on the same memory."""

    def __init__(self) -> None:
        self.recorded = 0

    def warm(self, run: Callable[[], None]) -> None:
        run()

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1
        run()
        return run


def replaying(net: AtomFieldNet) -> AtomFieldNet:
    net.replayed = ReplayedPass(net, RunAgain())
    return net


def recordings(net: AtomFieldNet) -> int:
    """Of passes; the way back is a recording of its own."""
    return len(net.replayed._recordings)


def gradients_of(net: AtomFieldNet) -> list[torch.Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in net.parameters()]


def with_stress(net: AtomFieldNet) -> Callable[[GraphBatch], dict[str, torch.Tensor]]:
    return lambda batch: net(batch, stress=True)


@pytest.fixture(scope="module")
def field() -> AtomFieldNet:
    torch.manual_seed(0)
    net = plain(small_network(levels=("morse", "wave")).double())
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return net


def test_training_is_as_without():
    """For batches of changing sizes and levels, in a few recordings; weights may change between two passes."""
    net = plain(a_network(correlation=2))
    other = replaying(copy.deepcopy(net))
    batches = [
        a_batch(net.config, sizes, seed, levels)
        for seed, (sizes, levels) in enumerate(
            [((2, 3), ()), ((4, 1, 3), ()), ((3,), ()), ((2,), ("b",)), ((2, 3), ("b", "a")), ((3, 2), ())]
        )
    ]
    for batch in batches:
        expected = trained(net, with_stress(net), batch)
        assert_alike(trained(other, with_stress(other), batch), expected)
        with torch.no_grad():
            for a, b in zip(net.parameters(), other.parameters(), strict=True):
                a.add_(0.01 * a.cos())
                b.add_(0.01 * b.cos())
    assert 1 <= recordings(other) < len(batches)


def test_validation_is_as_without():
    """Averaged weights stand in other memory, and go back to where they were."""
    net = plain(a_network(correlation=2))
    other = replaying(copy.deepcopy(net))
    batch = a_batch(net.config, (3, 2))
    with torch.no_grad():
        expected, found = net(batch, stress=True), other(batch, stress=True)
        assert found.keys() == expected.keys()
        assert_alike(found.values(), expected.values())
        kept = {name: p.data for name, p in other.named_parameters()}
        for parameter in other.parameters():
            parameter.data = 2 * parameter.data
        twice = other(batch)["energy"]
        assert not torch.allclose(twice, expected["energy"])
        for name, parameter in other.named_parameters():
            parameter.data = kept[name]
        assert_alike([other(batch)["energy"]], [expected["energy"]])
    assert recordings(other) == 3, "with and without stress, and of the other weights"


def test_what_heads_say_alone():
    config = {
        "auxiliary": ("direct",),
        "properties": (
            PropertyConfig(name="gap"),
            PropertyConfig(name="size", pooling="sum"),
            PropertyConfig(name="response", irreps="0e+2e"),
            PropertyConfig(name="born", irreps="0e+1e+2e", support="node"),
            PropertyConfig(name="spectrum", irreps="4x0e", pooling="sum", nonnegative=True),
            PropertyConfig(name="phase", kind="multiclass", classes=("a", "b", "c")),
        ),
        "lmax": 2,
    }
    net = plain(a_network(**config))
    other = replaying(copy.deepcopy(net))
    net.eval()
    other.eval()
    batch = a_batch(net.config, (3, 2, 4))
    for asked in ({"forces": False}, {"direct": True}, {"denoise": True}, {"features": True}):
        expected, found = net(batch, **asked), other(batch, **asked)
        assert found.keys() == expected.keys()
        assert_alike(found.values(), expected.values())


def test_fields_are_as_without(field):
    other = replaying(copy.deepcopy(field))
    graphs = [g.snapshot(0) for g in waves(3)]

    def answers(net: AtomFieldNet, count: int) -> list[torch.Tensor]:
        net.zero_grad()
        out = net(graphs_to_batch(net.config, graphs[:count]))
        sum(value.square().mean() for value in out.values()).backward()
        return [*(value.detach() for value in out.values()), *gradients_of(net)]

    for count in (1, 2, 3, 2):
        assert_alike(answers(other, count), answers(field, count))
    assert recordings(other) == 3


def test_fields_that_lack_what_others_have_are_as_without(field):
    """Points, quantities, inputs of graphs, conditions and levels that differ; what is missing is not a number."""
    other = replaying(copy.deepcopy(field))
    random = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    def answers(net: AtomFieldNet, batch: GraphBatch) -> list[torch.Tensor]:
        net.zero_grad()
        out = [torch.where(value.isnan(), 0.0, value) for value in net(batch).values()]
        sum(value.square().mean() for value in out).backward()
        return [*(value.detach() for value in out), *gradients_of(net)]

    for turn in range(2):
        graphs = []
        for number, points in enumerate((4, 5, 3)):
            graph = waves(1, turn, points, level=("wave", "morse")[number % 2])[0].snapshot(0)
            own = {"gravity": some(3)} if number else {"permeability": some(graph.num_nodes).exp()}
            conditions = {"dt": 0.1 * (number + 1)} if number < 2 else {"viscosity": 10.0 ** (-turn)}
            graphs.append(replace(graph, quantities={**graph.quantities, **own}, conditions=conditions))
        batch = graphs_to_batch(field.config, graphs)
        expected = answers(field, batch)
        assert all(bool(value.isfinite().all()) for value in expected)
        assert_alike(answers(other, batch), expected)
    assert recordings(other) == 1


def test_a_pass_between_another_and_its_way_back_is_made_plainly():
    net = plain(a_network(correlation=2))
    other = replaying(copy.deepcopy(net))
    first, second = a_batch(net.config, (3, 2)), a_batch(net.config, (2, 3), 1)

    def gradients(net: AtomFieldNet) -> list[torch.Tensor]:
        net.zero_grad()
        one, two = net(first), net(second)
        with torch.no_grad():
            net(first)
        (one["forces"].square().sum() + (one["energy"] * two["energy"]).sum()).backward()
        return gradients_of(net)

    expected, found = gradients(net), gradients(other)
    assert recordings(other) == 1
    assert_alike(found, expected)
    other(second)["energy"].sum().backward()
    del expected, found
    out = other(first)  # its way back is never taken
    del out
    assert other.replayed(second, other.level_index(second), _energies()) is not None


def test_gradients_add_up_over_micro_batches():
    net = plain(a_network(correlation=2))
    other = replaying(copy.deepcopy(net))
    batches = [a_batch(net.config, (3, 2), seed) for seed in range(3)]

    def gradients(net: AtomFieldNet) -> list[torch.Tensor]:
        net.zero_grad()
        for batch in batches:
            net(batch)["forces"].square().sum().backward()
        return gradients_of(net)

    expected = gradients(net)
    assert_alike(gradients(other), expected)


def test_the_way_back_is_taken_once():
    net = replaying(plain(a_network(correlation=2)))
    loss = net(a_batch(net.config, (3, 2)))["energy"].sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="one way back only"):
        loss.backward()


def test_frozen_weights_have_no_gradient():
    net = plain(a_network(correlation=2))
    net.backbone.requires_grad_(False)
    other = replaying(copy.deepcopy(net))
    batch = a_batch(net.config, (3, 2))
    assert_alike(trained(other, with_stress(other), batch), trained(net, with_stress(net), batch))
    assert all(p.grad is None for p in other.backbone.parameters())
    net.requires_grad_(False)
    assert not other.requires_grad_(False)(batch)["energy"].requires_grad


def test_adapters_are_trained_as_without_and_merged():
    """What is frozen beside them has no gradient; the weights that they change are made anew in every replay."""
    net = plain(a_network(correlation=2))
    net.requires_grad_(False)
    torch.manual_seed(0)
    adapt(net, 2)
    other = replaying(copy.deepcopy(net))
    batch = a_batch(net.config, (3, 2))
    for _ in range(2):
        assert_alike(trained(other, with_stress(other), batch), trained(net, with_stress(net), batch))
        with torch.no_grad():
            for own in (net, other):
                for adapter in adapters(own):
                    adapter.up.add_(0.1 * adapter.down.transpose(1, 2).cos())
    assert recordings(other) == 1
    with torch.no_grad():
        expected = net(batch)["energy"]
        merge(other.replay_passes(False))
        assert_alike([replaying(other)(batch)["energy"]], [expected])


def test_conditions_of_each_graph_are_read_anew():
    net = plain(a_network(conditions=("charge", "spin"), correlation=2))
    other = replaying(copy.deepcopy(net))
    batch = a_batch(net.config, (3, 2, 3))
    missing = float("nan")
    for charge, spin in (((0.0, 1.0, -1.0), (0.0, 1.0, missing)), ((2.0, missing, 0.0), None)):
        given = {"charge": torch.tensor(charge, dtype=torch.float64)}
        if spin is not None:
            given["spin"] = torch.tensor(spin, dtype=torch.float64)
        one = replace(batch, conditions=given)
        assert_alike(trained(other, with_stress(other), one), trained(net, with_stress(net), one))
    assert recordings(other) == 1


def test_steps_of_a_training_are_as_without():
    """Two streams, a clipped gradient, the optimiser's own state, averages, validations and a loss that changes on the way."""
    ways = []
    for recorded in (False, True):
        net = plain(small_network(correlation=2).double())
        if recorded:
            replaying(net)
        settings = OptimizerConfig(learning_rate=0.01, gradient_clipping=1.0)
        engine, ema = TorchEngine(net, parameter_groups(net, 0.01), settings), Ema(net, 0.9)
        graphs, targets, seen = morse_clusters(9), Targets("supervised", ("energy", "forces")), []
        loss = LossWeights()
        for step in range(6):
            parts = (graphs[step : step + 2], graphs[step + 1 : step + 4])
            batches = [MicroBatch(graphs_to_batch(net.config, part), targets, 1.0, "a") for part in parts]
            if step == 3:
                loss = LossWeights(forces=0.0, energy=3.0)
            seen.append(sum(training_step(engine, net.train(), batches, loss).values()))
            ema.update()
            with torch.no_grad(), ema.applied():
                seen.append(float(net.eval()(batches[0].batch)["energy"].sum()))
        ways.append(seen)
    assert 3 <= recordings(net) <= 4
    torch.testing.assert_close(
        *(torch.tensor(seen, dtype=torch.float64) for seen in ways), rtol=1e-8, atol=1e-9
    )


class FromTheHost(TorchFunctionMode):
    """Refuses tensors that are made of Python's numbers: on a GPU they are copied there."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        assert func not in (torch.tensor, torch.as_tensor, torch.from_numpy), func
        return func(*args, **(kwargs or {}))


class BetweenDevices(TorchDispatchMode):
    """Refuses copies from one device to another."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, torch.Tensor) and t.ndim]
        assert len({t.device for t in tensors}) < 2, func
        return out


class Elsewhere(RunAgain):
    """Stands for a GPU by torch's device without memory, where what needs a number of a tensor is refused as well."""

    def record(self, run):
        with FromTheHost(), BetweenDevices():
            return super().record(run)


@pytest.fixture
def elsewhere(monkeypatch) -> Callable[[AtomFieldNet], AtomFieldNet]:
    """Puts a network there, with passes that are recorded."""
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)  # which knows no such device

    def put(net: AtomFieldNet) -> AtomFieldNet:
        net = net.to("meta")
        net.replayed = ReplayedPass(net, Elsewhere())
        return net

    return put


def test_a_recorded_pass_asks_nothing_of_the_host(elsewhere):
    """Neither numbers nor copies: a GPU whose work is recorded refuses both."""
    kinds = [
        {"irreps": "1o"}, {"irreps": "0e+2e"}, {"irreps": "0e+1e+2e", "support": "node"}, {"irreps": "2x0e+2x2e+4e"},
        {"irreps": "5x0e", "nonnegative": True, "pooling": "sum"}, {"kind": "multiclass", "classes": ("a", "b", "c")},
        {"kind": "classification"},
    ]  # fmt: skip
    properties = tuple(PropertyConfig(name=f"own_{number}", **kind) for number, kind in enumerate(kinds))
    net = elsewhere(plain(a_network(lmax=2, correlation=2, auxiliary=("direct",), properties=properties)))
    batch = a_batch(net.config, (3, 2)).to("meta")
    for options in ({"stress": True}, {"direct": True, "denoise": True, "features": True}):
        out = net(batch, **options)
        sum(value.sum() for value in out.values()).backward()
        with torch.no_grad():
            net(batch, **options)
    assert recordings(net) == 4


def test_a_recorded_pass_over_a_field_asks_nothing_of_the_host(field, elsewhere):
    net = elsewhere(copy.deepcopy(field))
    batch = graphs_to_batch(net.config, [g.snapshot(0) for g in waves(2)]).to("meta")
    sum(value.sum() for value in net(batch).values()).backward()
    assert recordings(net) == 1


def test_what_is_not_recorded():
    net = replaying(plain(a_network()))
    run, batch = net.replayed, a_batch(net.config, (3, 2))
    assert run.serves(batch)
    assert not run.serves(replace(batch, positions=batch.positions.clone().requires_grad_()))
    assert not run.serves(replace(batch, quantities={"given_forces": torch.zeros(5, 3)}))
    assert not ReplayedPass(net).serves(batch), "on a CPU there are no graphs"
    with torch.autocast("cpu"):
        assert not run.serves(batch)
    net.backbone.recompute = True
    assert not run.serves(batch)
    for changes in ({"electrostatics": True}, {"long_range": "coarse"}, {"priors": ("zbl",)}):
        other = replaying(a_network(**changes))
        assert not other.replayed.serves(batch), changes


def test_a_pass_that_cannot_be_recorded_is_made_plainly(caplog):
    class Fails(RunAgain):
        def record(self, run):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    net = plain(a_network(correlation=2))
    other = copy.deepcopy(net)
    other.replayed = ReplayedPass(other, Fails())
    batch = a_batch(net.config, (3, 2))
    assert_alike(trained(other, with_stress(other), batch), trained(net, with_stress(net), batch))
    assert caplog.text.count("not recorded from here on") == 1
    assert not other.replayed.serves(batch)


def test_a_pass_that_memory_does_not_suffice_for_stops_no_smaller_ones(caplog):
    class Full(RunAgain):
        full = False

        def warm(self, run):
            if self.full:
                raise torch.OutOfMemoryError("CUDA out of memory")
            super().warm(run)

    net = plain(a_network(correlation=2))
    other = copy.deepcopy(net)
    recorder = Full()
    other.replayed = ReplayedPass(other, recorder)
    small, large = a_batch(net.config, (2,)), a_batch(net.config, (4, 4, 4, 4, 4))
    assert 2 * small.num_edges < large.num_edges
    for recorder.full, batch in ((False, small), (True, large), (False, small), (False, large)):
        assert_alike(trained(other, with_stress(other), batch), trained(net, with_stress(net), batch))
    assert recordings(other) == 1 and other.replayed.serves(small) and not other.replayed.serves(large)
    assert caplog.text.count("memory does not suffice") == 1


def test_room_is_enough_and_not_much_more():
    """Whatever the shape of a batch; where all sizes are large, a fifth more at most beside the pairs of atoms."""
    batch = a_batch(a_network().config, (3, 2))

    class Sized:
        def __init__(self, nodes: int, edges: int, graphs: int):
            self.num_nodes, self.num_edges, self.num_graphs = nodes, edges, graphs

    for nodes, edges, graphs in [
        (1, 2, 1),
        (9, 72, 1),
        (45, 360, 5),
        (3000, 6000, 1000),
        (16, 300_000, 1),
        (20_000, 299_000, 800),
    ]:
        room = Room.for_batch(Sized(nodes, edges, graphs))
        pairs = (room.nodes - nodes) // 2
        assert room.graphs > graphs and room.edges >= edges and room.nodes > room.graphs
        assert pairs >= max(32, room.graphs - graphs) and room.edges - edges <= 128 * pairs
        assert room.edges <= 1.2 * edges + 2 and room.nodes <= 1.2 * (nodes + 2 * pairs) + 2
    assert Room.for_batch(batch) == Room.for_batch(copy.deepcopy(batch))


def test_sizes_that_always_differ_are_not_recorded_for_ever(caplog, monkeypatch):
    monkeypatch.setattr("atomfield.models.gpu.replayed._TRIES", 3)
    net = replaying(plain(a_network(correlation=1)))
    with torch.no_grad():
        for count in range(1, 30):
            net(a_batch(net.config, (4,) * count))
    assert "differ too much" in caplog.text
    assert recordings(net) == 0


def _energies():
    from atomfield.models.gpu import Call

    return Call(True, False, Answers(False, True, False))


def test_a_rollout_is_as_without(field):
    other = replaying(copy.deepcopy(field))
    graph = waves(1)[0]
    expected, found = rollout(field, graph), rollout(other, graph)
    assert_alike(found.values(), expected.values())
    assert recordings(other) == 1


def test_a_long_rollout_reads_state_and_time_step_of_each_step(field):
    """Over more steps than a GPU needs to record them. Each is compared alone: a network at random makes much of rounding."""
    other = replaying(copy.deepcopy(field))
    graph = waves(1, num_points=4, num_times=42)[0]
    times = torch.linspace(0, 1, 42, dtype=torch.float64) ** 2
    found = rollout(other, replace(graph, times=times))
    assert recordings(other) == 1 and len(found["concentration"]) == 42
    for step in (0, 1, 31, 40):
        now = replace(graph.snapshot(0), quantities={name: value[step] for name, value in found.items()})
        expected = rollout(field, now, num_steps=1, dt=float(times[step + 1] - times[step]))
        for name, value in expected.items():
            torch.testing.assert_close(found[name][step + 1], value[1], rtol=1e-10, atol=1e-10)


def test_a_pass_made_in_inference_mode_is_another_one(field):
    """What it keeps cannot be written to elsewhere."""
    other = replaying(copy.deepcopy(field))
    batch = graphs_to_batch(field.config, [waves(1)[0].snapshot(0)])
    with torch.no_grad():
        expected = field(batch)
    for mode in (True, False, True):
        with torch.inference_mode(mode), torch.no_grad():
            assert_alike(other(batch).values(), expected.values())
    assert recordings(other) == 2


def test_a_network_that_was_moved_is_recorded_where_it_is(monkeypatch):
    """Graphs of another GPU would be empty."""

    class OnCard(RunAgain):
        def __init__(self, device: torch.device):
            super().__init__()
            self.device = device

    monkeypatch.setattr("atomfield.models.gpu.replayed.CudaGraphs", OnCard)
    net = plain(a_network())
    net.replayed = ReplayedPass(net, OnCard(torch.device("cuda", 0)))
    with torch.no_grad():
        for _ in range(2):
            net(a_batch(net.config, (3, 2)))
    assert net.replayed._recorder.device == net.device and net.replayed._recorder.recorded == 1
    assert copy.deepcopy(net).replayed._recorder is None, "a copy records for itself"


def test_a_calculators_pass_is_as_without(monkeypatch):
    """The one recording of a structure that keeps its atoms, for other positions, conditions and fewer pairs."""
    monkeypatch.setattr("atomfield.models.gpu.captured.CudaGraphs", lambda device: RunAgain())
    net = plain(a_network(correlation=2, conditions=("charge",)))
    batches = [
        replace(
            a_batch(net.config, (4, 3), seed, ("a", "b")),
            conditions={"charge": torch.tensor([seed, float("nan")], dtype=torch.float64)},
        )
        for seed in range(4)
    ]
    run = CapturedPass(net)
    with torch.no_grad():
        for batch in (batches[0], *batches):
            level_G = net.level_index(batch)
            found = run(batch, level_G, stress=True, answers=Answers())
            expected = net(batch, stress=True)
            assert_alike([found[name] for name in expected], list(expected.values()))
    assert run._recorded is not None and not run._refused
