"""Calls of kernels that are made again give what a fresh pass gives, to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atomfield.models import walk
from atomfield.models.force_pass import ForcePass
from atomfield.models.fused import Tape, library, made, pool_atoms, read_atoms, recording
from atomfield.models.fused.tape import call
from atomfield.models.heads import Answers, level_rows
from atomfield.models.network import graphs_to_batch

from .test_force_pass import VARIANTS, drawn, structures

needs_compiler = pytest.mark.skipif(library.compiler() is None, reason="needs a C compiler")


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each replay."""
    seen: list[int] = []
    again = walk.Walk.again

    def counted(self: walk.Walk, positions: Tensor, cell: Tensor) -> None:
        seen.append(len(positions))
        again(self, positions, cell)

    monkeypatch.setattr(walk.Walk, "again", counted)
    return seen


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("changes", VARIANTS)
def test_a_replay_gives_the_bits_of_a_fresh_pass(
    changes: dict[str, object], dtype: torch.dtype, replays: list[int]
) -> None:
    net = drawn(dtype, **changes)
    batch = graphs_to_batch(net.config, structures()[:3])
    kept, generator = ForcePass(net, keep=True), torch.Generator().manual_seed(3)
    found, copies = [], []
    for _ in range(5):
        noise = 0.05 * torch.randn(batch.positions.shape, generator=generator, dtype=torch.float64)
        moved = replace(batch, positions=batch.positions + noise, cell=batch.cell * 1.01)
        with torch.no_grad():
            answers = net(moved, stress=True, features=True, prepared=kept)
            expected = net(moved, stress=True, features=True)
        assert answers.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(answers[name], value), name
        found.append(answers["forces"])
        copies.append(answers["forces"].clone())
    assert len(replays) == 3  # the first pass is plain, the second is recorded
    assert all(torch.equal(a, b) for a, b in zip(found, copies, strict=True)), "an answer was written over"


@needs_compiler
def test_what_differs_in_more_than_positions_is_no_replay(replays: list[int]) -> None:
    net = drawn()
    kept = ForcePass(net, keep=True)
    batch = graphs_to_batch(net.config, structures()[:1])
    changed = [
        replace(batch, species=batch.species.flip(0)),
        replace(batch, levels=["a"]),
        replace(batch, edge_index=batch.edge_index[:, 2:], edge_shift=batch.edge_shift[2:]),
        replace(batch, conditions={**batch.conditions, "charge": torch.ones(1, dtype=torch.float64)}),
    ]
    for other in changed:
        with torch.no_grad():
            for _ in range(3):
                net(batch, prepared=kept)
            before = len(replays)
            found = net(other, prepared=kept)
            assert torch.equal(found["forces"], net(other)["forces"])
        assert len(replays) == before
    with torch.no_grad():
        for _ in range(3):
            net(batch, prepared=kept)
        for weight in (
            net.backbone.layers[1].convolution.same,
            net.atom_head.reference,
            net.atom_head.energy_scale,
        ):
            before = net(batch)
            weight.mul_(1.1).add_(0.1)
            found, expected = net(batch, prepared=kept), net(batch)
            assert torch.equal(found["forces"], expected["forces"])
            assert torch.equal(found["energy"], expected["energy"])
            assert not torch.equal(before["energy"], expected["energy"])


@needs_compiler
@pytest.mark.parametrize("first", [False, True])
def test_a_walk_recorded_in_inference_mode_is_replayed_outside_and_the_reverse(
    first: bool, replays: list[int]
) -> None:
    net = drawn()
    batch = graphs_to_batch(net.config, structures()[:2])
    with torch.no_grad():
        expected = net(batch, stress=True)
    kept = ForcePass(net, keep=True)
    for mode in (first, first, not first, first):
        with torch.inference_mode(mode), torch.no_grad():
            found = net(batch, stress=True, prepared=kept)
            assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert len(replays) == 2


@needs_compiler
def test_a_large_structure_is_not_recorded(replays: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    net = drawn()
    batch = graphs_to_batch(net.config, structures()[:1])
    monkeypatch.setattr("atomfield.models.force_pass.MOST_RECORDED", batch.num_edges - 1)
    kept = ForcePass(net, keep=True)
    with torch.no_grad():
        for _ in range(4):
            net(batch, prepared=kept)
    assert not replays


def test_a_call_that_reads_what_nothing_recorded_wrote_is_refused() -> None:
    given, constant = torch.ones(3), torch.full((3,), 2.0)
    tape = Tape([given, constant])
    with recording(tape):
        doubled = made(torch.mul, given, constant)
        total = made(torch.add, doubled, constant)
        with pytest.raises(AssertionError, match="nothing recorded writes"):
            made(torch.add, total, given + 1)
        with pytest.raises(AssertionError, match="nothing recorded writes"):
            call(lambda: None, (), [given + 1], [])
    given.fill_(5.0)
    tape.replay()
    assert torch.equal(total, torch.full((3,), 12.0))
    made(torch.add, given, given)  # nothing records any more
    tape.replay()
    assert torch.equal(total, torch.full((3,), 12.0))


@needs_compiler
@pytest.mark.parametrize("levels", [["b"] * 3, ["a", "b", "a"]])
@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_energies_are_read_as_by_the_head(levels: list[str], linear: bool, dtype: torch.dtype) -> None:
    net = drawn(dtype, linear_readout=linear)
    batch = replace(graphs_to_batch(net.config, structures()[:3]), levels=levels)
    head, channels = net.atom_head, net.config.channels
    rows = level_rows(net.level_index(batch), batch)
    x = torch.randn(batch.num_nodes, 9, 11, dtype=dtype, generator=torch.Generator().manual_seed(2))
    read = x.clone().requires_grad_(True)
    expected = head(read, batch, net.level_index(batch), Answers(features=True))
    (slope,) = torch.autograd.grad(expected["energy"].sum(), read)
    expected = net.answers(expected, read, batch, batch.positions, Answers(properties=False))
    g = torch.full_like(x, 7.0)
    with torch.no_grad():
        scale = float(head.energy_scale)
        found = read_atoms(x, g, head.readout(rows), head.charge[rows], head.dipole[rows], scale)
        reference, mass = head.reference[rows, batch.species].double(), net.masses[batch.species].double()
        energy, dipole = pool_atoms(
            found, batch.positions, batch.graph_index, batch.num_graphs, reference, mass, channels
        )
    close = {"rtol": 1e-12, "atol": 1e-12} if dtype == torch.float64 else {"rtol": 2e-6, "atol": 2e-6}
    torch.testing.assert_close(found.hidden, expected["features/atoms"].detach(), **close)
    torch.testing.assert_close(found.charge, expected["charges"].detach(), **close)
    torch.testing.assert_close(energy, expected["energy"].detach(), **close)
    torch.testing.assert_close(dipole, expected["dipole"].detach(), **close)
    assert expected["dipole"].abs().min() > 1e-3
    torch.testing.assert_close(g[:, 0, :channels], slope[:, 0, :channels], **close)
    g[:, 0, :channels] = 7.0
    assert (g == 7.0).all(), "only the natural scalars are written"
