"""Coarse levels: pooling commutes with rotations, reflections, translations and permutations, and every edge is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atomfield.data.coarse import ATOMS, CoarseLevel, Coarsening, coarse_levels, with_coarse
from atomfield.data.graph import Graph, GraphBatch, collate
from atomfield.data.loader import Loader
from atomfield.data.neighbors import batch_of

from .conftest import crystal, flow, molecule, scattered

System = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Positions, cell, pbc."""


def _periodic(rng: np.random.Generator, points: np.ndarray, flags: list[bool], edge: float) -> System:
    cell = np.eye(3) * edge + rng.uniform(-0.3, 0.3, (3, 3)) * edge if any(flags) else np.zeros((3, 3))
    return torch.from_numpy(points), torch.from_numpy(cell), torch.tensor(flags)


@st.composite
def clouds(draw: st.DrawFn) -> System:
    """Random points (in space, a plane or on a line), in a skewed cell that is periodic in any directions; also outside of it."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    count, dims = draw(st.integers(1, 60)), draw(st.sampled_from([3, 3, 2, 1]))
    points = rng.random((count, 3)) * draw(st.sampled_from([3.0, 8.0]))
    points[:, dims:] = 0
    flags = [draw(st.booleans()) and d < dims for d in range(3)]
    return _periodic(rng, points, flags, 5.0)


@st.composite
def lattices(draw: st.DrawFn) -> System:
    """Points of a lattice: distances tie everywhere."""
    shape = draw(st.sampled_from([(9, 1, 1), (6, 5, 1), (4, 3, 4), (8, 8, 1)]))
    axes = [np.arange(n) * 0.7 for n in shape]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    flags = [draw(st.booleans()) and n > 2 for n in shape]
    cell = np.diag([0.7 * n for n in shape]) if any(flags) else np.zeros((3, 3))
    return torch.from_numpy(points), torch.from_numpy(cell), torch.tensor(flags)


HOW = st.sampled_from(
    [
        Coarsening(ratio=3, levels=2, num_neighbors=4),
        Coarsening(ratio=8),
        ATOMS,
        replace(ATOMS, ratio=2, reach=2.0),
    ]
)


def levels_of(system: System, how: Coarsening, volume: torch.Tensor | None = None) -> tuple[CoarseLevel, ...]:
    positions, cell, pbc = system
    return coarse_levels(positions, torch.tensor([len(positions)]), cell[None], pbc[None], how, volume)


def orthogonal(seed: int, *, mirrored: bool) -> torch.Tensor:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.linalg.det(q))
    return torch.from_numpy(-q if mirrored else q)


@settings(max_examples=60, deadline=None)
@given(system=clouds() | lattices(), how=HOW, seed=st.integers(0, 999), mirrored=st.booleans())
def test_rotations_reflections_and_translations_commute(
    system: System, how: Coarsening, seed: int, mirrored: bool
) -> None:
    positions, cell, pbc = system
    q = orthogonal(seed, mirrored=mirrored)
    offset = torch.from_numpy(np.random.default_rng(seed).normal(size=3) * 4)
    for before, after in zip(
        levels_of(system, how), levels_of((positions @ q + offset, cell @ q, pbc), how), strict=True
    ):
        torch.testing.assert_close(after.positions, before.positions @ q + offset, rtol=0, atol=1e-10)
        for name in ("assignment", "member_shift", "edge_index", "edge_shift"):
            assert torch.equal(getattr(before, name), getattr(after, name)), name
        torch.testing.assert_close(after.spacing, before.spacing, rtol=1e-9, atol=0)


@settings(max_examples=60, deadline=None)
@given(system=clouds(), how=HOW, seed=st.integers(0, 999))
def test_permutations_give_the_same_clusters(system: System, how: Coarsening, seed: int) -> None:
    positions, cell, pbc = system
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(positions)))
    before, after = levels_of(system, how)[0], levels_of((positions[order], cell, pbc), how)[0]
    parts = {frozenset(torch.where(before.assignment == k)[0].tolist()) for k in range(before.num_nodes)}
    others = {frozenset(order[after.assignment == k].tolist()) for k in range(after.num_nodes)}
    assert parts == others
    place = {
        frozenset(torch.where(before.assignment == k)[0].tolist()): before.positions[k]
        for k in range(before.num_nodes)
    }
    for k in range(after.num_nodes):
        moved = after.positions[k] - place[frozenset(order[after.assignment == k].tolist())]
        steps = moved @ torch.linalg.pinv(
            cell * pbc[:, None]
        )  # two atoms alone in a cell: either may be the seed
        torch.testing.assert_close(moved, steps.round() @ cell, rtol=0, atol=1e-10)
    assert after.num_edges == before.num_edges


@settings(max_examples=40, deadline=None)
@given(system=clouds() | lattices(), how=HOW, seed=st.integers(0, 999))
def test_every_node_has_one_parent_and_positions_are_means(
    system: System, how: Coarsening, seed: int
) -> None:
    positions, cell, _ = system
    volume = torch.from_numpy(np.random.default_rng(seed).random(len(positions)) + 0.1)
    fine, weight = positions, volume
    for number, level in enumerate(levels_of(system, how, volume)):
        assert level.assignment.shape == (len(fine),)
        assert sorted(set(level.assignment.tolist())) == list(range(level.num_nodes))
        first = [int(torch.where(level.assignment == k)[0][0]) for k in range(level.num_nodes)]
        assert first == sorted(first)
        placed = fine + level.member_shift @ cell
        for k in range(level.num_nodes):
            its = level.assignment == k
            mean = (placed[its] * weight[its, None]).sum(0) / weight[its].sum()
            torch.testing.assert_close(level.positions[k], mean)
            torch.testing.assert_close(level.weight[k], weight[its].sum())
            seeds = (torch.cdist(placed[its], placed[its]) <= how.reach * 2**number * (1 + 1e-9)).all(dim=1)
            assert seeds.any()  # one member is within reach of all
            assert (level.member_shift[its] == 0).all(dim=1).any()  # and stays where it is
        fine, weight = level.positions, level.weight


@settings(max_examples=40, deadline=None)
@given(system=clouds(), reach=st.sampled_from([0.8, 1.5]))
def test_edges_within_a_radius_are_those_of_brute_force(system: System, reach: float) -> None:
    cell, pbc = system[1], system[2]
    (level,) = levels_of(system, Coarsening(ratio=2, levels=1, num_neighbors=None, reach=reach))
    assert level.cutoff == 2 * reach
    steps = [range(-4, 5) if p else range(1) for p in pbc.tolist()]
    shifts = torch.tensor(
        [(a, b, c) for a in steps[0] for b in steps[1] for c in steps[2]], dtype=torch.float64
    )
    found = set()
    for s in shifts:
        apart = level.positions[:, None] + s @ cell - level.positions[None]
        for j, i in (apart.norm(dim=-1) < 2 * reach).nonzero().tolist():
            if i != j or s.any():
                found.add((j, i, *map(int, s.tolist())))
    assert found == {
        (j, i, *map(int, s))
        for j, i, s in zip(*level.edge_index.tolist(), level.edge_shift.tolist(), strict=True)
    }


@settings(max_examples=30, deadline=None)
@given(system=clouds(), wanted=st.integers(1, 5))
def test_nearest_coarse_neighbours_are_those_of_brute_force(system: System, wanted: int) -> None:
    cell, pbc = system[1], system[2]
    (level,) = levels_of(system, Coarsening(ratio=2, levels=1, num_neighbors=wanted))
    steps = [range(-7, 8) if p else range(1) for p in pbc.tolist()]
    shifts = torch.tensor(
        [(a, b, c) for a in steps[0] for b in steps[1] for c in steps[2]], dtype=torch.float64
    )
    sender, receiver = level.edge_index
    vector = level.positions[sender] + level.edge_shift @ cell - level.positions[receiver]
    for i in range(level.num_nodes):
        apart = (level.positions[:, None] + shifts @ cell - level.positions[i]).norm(dim=-1).reshape(-1)
        nearest = apart.sort().values[1:]  # besides itself
        own = vector[receiver == i].norm(dim=1).sort().values
        assert len(own) >= min(wanted, len(nearest))
        torch.testing.assert_close(own, nearest[: len(own)], rtol=0, atol=1e-9)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("ratio", [4, 8, 16])
def test_the_ratio_is_about_kept(dims: int, ratio: int) -> None:
    points = torch.zeros(3000, 3, dtype=torch.float64)
    points[:, :dims] = torch.from_numpy(np.random.default_rng(0).random((3000, dims)))
    nothing = (torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool))
    (level,) = levels_of((points, *nothing), Coarsening(ratio=ratio, levels=1))
    assert 0.8 < 3000 / level.num_nodes / ratio < 1.7


def test_a_graded_mesh_is_coarsened_evenly() -> None:
    """Points that get denser by a factor of 30 along x: clusters have as many members in both halves."""
    x = np.random.default_rng(1).random((4000, 2))
    x[:, 0] = x[:, 0] ** 3
    points = torch.zeros(4000, 3, dtype=torch.float64)
    points[:, :2] = torch.from_numpy(x)
    nothing = (torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool))
    (level,) = levels_of((points, *nothing), Coarsening(levels=1))
    members = torch.bincount(level.assignment).double()
    dense = level.positions[:, 0] < 0.1
    assert 0.8 < float(members[dense].mean() / members[~dense].mean()) < 1.25


def _fields() -> list[Graph]:
    return [scattered(0).snapshot(0), scattered(1, mesh=True).snapshot(1), flow(0).snapshot(0)]


def same_level(first: CoarseLevel, second: CoarseLevel) -> None:
    for name, value in vars(first).items():
        other = vars(second)[name]
        assert torch.equal(value, other) if isinstance(value, torch.Tensor) else value == other, name


def test_a_graph_is_coarsened_alike_in_any_batch() -> None:
    for graphs in ([molecule(0), crystal(1), molecule(3)], _fields()):
        batch = with_coarse(collate(graphs))
        alone = [with_coarse(collate([g])) for g in graphs]
        for number, level in enumerate(batch.coarse):
            first = 0
            for g, own in enumerate(alone):
                its = own.coarse[number]
                assert torch.equal(level.positions[level.graph_index == g], its.positions)
                inside = level.graph_index[level.edge_index[1]] == g
                assert torch.equal(level.edge_index[:, inside] - first, its.edge_index)
                assert float(level.spacing[g]) == float(its.spacing[0])
                first += its.num_nodes
            assert torch.equal(level.graph_index[level.edge_index[0]], level.graph_index[level.edge_index[1]])


def test_fragments_far_apart_stay_apart() -> None:
    near, far = molecule(0).positions, molecule(1).positions + 500.0
    free = (torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool))
    both = levels_of((torch.cat([near, far]), *free), ATOMS)
    alone = levels_of((near, *free), ATOMS), levels_of((far, *free), ATOMS)
    for number, level in enumerate(both):
        first, second = (its[number] for its in alone)
        assert torch.equal(level.positions, torch.cat([first.positions, second.positions]))
        assert torch.equal(
            level.edge_index, torch.cat([first.edge_index, second.edge_index + first.num_nodes], dim=1)
        )


def test_pooling_rotates_vectors_and_keeps_constants_and_gradients() -> None:
    batch = with_coarse(collate([crystal(0), crystal(1)]), Coarsening(ratio=2, levels=1, num_neighbors=4))
    (level,) = batch.coarse
    values = torch.randn(
        batch.num_nodes, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    q = orthogonal(1, mirrored=True)
    torch.testing.assert_close(level.pool(values @ q), level.pool(values) @ q)
    ones = torch.ones(batch.num_nodes, dtype=torch.float64)
    torch.testing.assert_close(level.pool(ones), torch.ones(level.num_nodes, dtype=torch.float64))
    assert torch.equal(level.spread(level.weight), level.weight[level.assignment])
    torch.testing.assert_close(level.pool_positions(batch.positions, batch.cell), level.positions)
    offsets = level.offsets(batch.positions, level.positions, batch.cell)
    torch.testing.assert_close(level.pool(offsets), torch.zeros(level.num_nodes, 3, dtype=torch.float64))
    strained = batch.cell.clone().requires_grad_()
    moved = batch.positions.clone().requires_grad_()
    assert torch.autograd.gradcheck(level.pool_positions, (moved, strained))


def _made(key: int) -> GraphBatch:
    return with_coarse(batch_of([molecule(key), molecule(key + 1)], 4.0))


def test_levels_travel_with_the_batch() -> None:
    with Loader(_made, [0, 5], workers=1) as loader:
        for key, batch in zip([0, 5], loader, strict=True):
            for level, other in zip(batch.coarse, _made(key).coarse, strict=True):
                same_level(level, other)
    single = batch.to(dtype=torch.float32)
    assert single.coarse[0].positions.dtype == torch.float32
    assert single.coarse[0].assignment.dtype == torch.int64
    assert single.coarse[1].cutoff == 16.0


def test_one_node() -> None:
    free = (torch.zeros(3, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.bool))
    for how in (ATOMS, Coarsening()):
        for level in levels_of((torch.tensor([[1.0, 2, 3]], dtype=torch.float64), *free), how):
            assert level.positions.tolist() == [[1, 2, 3]]
            assert level.num_edges == 0
            assert float(level.spacing[0]) == 1.0
