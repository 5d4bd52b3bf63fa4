"""Recorded passes of training and validation, as far as a CPU can try them: instead of a replay, work is done again."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from atomfield.data.graph_batch import GraphBatch
from atomfield.inference.rollout import rollout
from atomfield.models.config import PropertyConfig
from atomfield.models.gpu import CapturedPass, ReplayedPass
from atomfield.models.gpu.room import Room
from atomfield.models.heads import Answers
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.small import small_network, waves

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
        "properties": (PropertyConfig(name="gap"), PropertyConfig(name="size", pooling="sum")),
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


def test_a_calculators_pass_is_as_without(monkeypatch):
    """The one recording of a structure that keeps its atoms, for other positions and fewer pairs."""
    monkeypatch.setattr("atomfield.models.gpu.captured.CudaGraphs", lambda device: RunAgain())
    net = plain(a_network(correlation=2))
    batches = [a_batch(net.config, (4, 3), seed) for seed in range(4)]
    run = CapturedPass(net)
    with torch.no_grad():
        for batch in (batches[0], *batches):
            level_G = net.level_index(batch)
            found = run(batch, level_G, stress=True, answers=Answers())
            expected = net(batch, stress=True)
            assert_alike([found[name] for name in expected], list(expected.values()))
    assert run._recorded is not None and not run._refused
