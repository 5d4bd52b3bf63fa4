"""Edges against brute force: every mix of periodic directions, tiny and skewed cells, atoms outside of the cell, many
structures at once; and what grids, meshes and nearest neighbours owe to their geometry."""

import itertools
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atomfield.data import radius
from atomfield.data.graph import Graph, collate
from atomfield.data.neighbors import (
    batch_of,
    completed_box,
    grid_edges,
    knn_edges,
    mesh_edges,
    radius_edges,
    radius_pairs,
    with_edges,
)
from tests.data.conftest import crystal, molecule

MIXES = list(itertools.product([False, True], repeat=3))


@st.composite
def structures(draw):
    """Points, some outside of their cell; cells from compact to skewed (a lattice row plus multiples of the others)."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pbc = np.array(draw(st.sampled_from(MIXES)))
    lengths = rng.uniform(draw(st.sampled_from([0.9, 1.7, 4.0])), 5.0, 3)
    cell = np.diag(lengths) @ np.linalg.qr(rng.normal(size=(3, 3)))[0] + 0.15 * rng.normal(size=(3, 3))
    if draw(st.booleans()):
        cell[1] += int(rng.integers(-2, 3)) * cell[0]
        cell[2] += rng.uniform(-1, 1) * cell[1]
    cell[~pbc] = 0.0
    count = draw(st.integers(1, 7))
    points = rng.uniform(-1.5, 1.5, (count, 3)) @ completed_box(cell, pbc) + 2 * rng.normal(size=3)
    return points, cell, pbc


def brute_force(points, cell, pbc, cutoff):
    """{(sender, receiver, shift)} from every shift within a generous bound on the lattice coordinates."""
    box = completed_box(cell, pbc) if pbc.any() else np.eye(3)
    inverse = np.linalg.inv(box)
    spread = np.abs((points[:, None] - points[None]) @ inverse).max(axis=(0, 1))
    reach = np.where(pbc, np.ceil(cutoff * np.linalg.norm(inverse, axis=0) + spread) + 1, 0).astype(int)
    shifts = np.array(list(itertools.product(*[range(-n, n + 1) for n in reach])))
    found = set()
    for receiver, sender in itertools.product(range(len(points)), repeat=2):
        vector = points[sender] - points[receiver] + shifts @ cell
        near = np.linalg.norm(vector, axis=1) < cutoff
        found |= {(sender, receiver, *s) for s in shifts[near].tolist() if sender != receiver or any(s)}
    return found


@contextmanager
def forced(pairwise):
    """All structures take one way: all pairs in plain tensors (what a GPU does with small ones), vesin's cell lists, or those in
    plain tensors (what a GPU does with large ones)."""
    with pytest.MonkeyPatch.context() as patch:
        if pairwise is not None:
            patch.setattr(
                radius, "_together", lambda candidates, *_: np.full(len(candidates), pairwise is True)
            )
        if pairwise == "tensors":
            patch.setattr(radius, "_on_cpu", lambda points: False)
        yield


def as_list(edges):
    return [(*ij, *s) for ij, s in zip(edges.index.T.tolist(), edges.shift.tolist(), strict=True)]


def tensors(points, cell, pbc):
    return torch.from_numpy(points), torch.from_numpy(cell), torch.from_numpy(pbc)


@pytest.mark.parametrize("pairwise", [False, True, "tensors"], ids=["vesin", "all pairs", "cell lists"])
@given(structures(), st.sampled_from([0.7, 2.5, 4.0]))
@settings(max_examples=60, deadline=None)
def test_radius_edges_are_those_of_brute_force(pairwise, structure, cutoff):
    with forced(pairwise):
        found = as_list(radius_edges(*tensors(*structure), cutoff))
    assert len(found) == len(set(found))
    assert set(found) == brute_force(*structure, cutoff)
    order = [(r, s, *shift) for s, r, *shift in found]
    assert order == sorted(order)


@pytest.mark.parametrize("pairwise", [None, True, "tensors"], ids=["as on a CPU", "small", "large"])
@given(
    st.lists(structures(), min_size=1, max_size=6), st.sampled_from([1.5, 3.5]), st.sampled_from([300, 10**6])
)
@settings(max_examples=40, deadline=None)
def test_many_structures_at_once_are_each_alone(pairwise, many, cutoff, chunk):
    sizes = torch.tensor([len(p) for p, _, _ in many])
    with forced(pairwise), pytest.MonkeyPatch.context() as patch:
        patch.setattr(radius, "CHUNK", chunk)
        index, shift = radius_pairs(
            torch.from_numpy(np.concatenate([p for p, _, _ in many])),
            sizes,
            torch.from_numpy(np.stack([c for _, c, _ in many])),
            torch.from_numpy(np.stack([f for _, _, f in many])),
            cutoff,
        )
    offset, expected = 0, []
    for structure in many:
        alone = radius_edges(*tensors(*structure), cutoff)
        expected += [(s + offset, r + offset, *k) for s, r, *k in as_list(alone)]
        offset += len(structure[0])
    assert [(*ij, *s) for ij, s in zip(index.T.tolist(), shift.tolist(), strict=True)] == expected


@pytest.mark.parametrize("pairwise", [False, True, "tensors"], ids=["vesin", "all pairs", "cell lists"])
def test_a_pair_at_the_cutoff_is_seen_from_both_sides_or_not_at_all(pairwise):
    """Rounding decides about the pairs of a lattice that lie at the cutoff; it must decide alike for both directions."""
    points = np.array([[0.1, 0.2, 0.3], [1.45, 1.5, 1.6]])
    cell, pbc = np.diag([0.9, 0.87, 0.86]), np.ones(3, bool)
    for shift in ((2, 1, 0), (0, 1, 3), (2, 2, 1)):
        cutoff = float(np.linalg.norm(np.array(shift) @ cell))
        with forced(pairwise):
            found = set(as_list(radius_edges(*tensors(points, cell, pbc), cutoff)))
        assert {(r, s, *(-x for x in k)) for s, r, *k in found} == found


def test_many_atoms_in_a_slab_agree_on_all_paths():
    rng = np.random.default_rng(0)
    points, cell, pbc = rng.uniform(0, 20, (300, 3)), np.diag([20.0, 21, 0]), np.array([True, True, False])
    lists = []
    for pairwise in (False, True, "tensors"):
        with forced(pairwise):
            lists.append(as_list(radius_edges(*tensors(points, cell, pbc), 3.0)))
    assert lists[0] == lists[1] == lists[2] and lists[0]


def test_batches_are_collated_graphs_with_edges(monkeypatch):
    for graphs in (
        [molecule(i) for i in range(9)],
        [crystal(i) for i in range(5)],
        [crystal(0), molecule(1)],
    ):
        for chunk in (radius.CHUNK, 50):
            monkeypatch.setattr(radius, "CHUNK", chunk)
            expected, found = collate([with_edges(g, 5.0) for g in graphs]), batch_of(graphs, 5.0)
            assert torch.equal(expected.edge_index, found.edge_index) and found.num_edges > 0
            assert torch.equal(expected.edge_shift, found.edge_shift)
            assert expected.edge_is_radius.all() and torch.equal(
                expected.edge_is_radius, found.edge_is_radius
            )
            assert torch.equal(expected.positions, found.positions)


def test_one_atom_alone_has_no_edges():
    graph = Graph(torch.zeros(1, 3), torch.tensor([8]), "molecule")
    assert with_edges(graph, 5.0).num_edges == 0 and batch_of([graph, graph], 5.0).num_edges == 0


# ---------------------------------------------------------------------- nearest neighbours
@given(structures(), st.integers(1, 20))
@settings(max_examples=80, deadline=None)
def test_nearest_neighbours_are_those_of_brute_force(structure, wanted):
    points, cell, pbc = structure
    edges = knn_edges(*tensors(*structure), wanted)
    found = set(as_list(edges))
    assert len(found) == edges.num_edges
    if not pbc.any():
        wanted = min(wanted, len(points) - 1)
    if wanted == 0:
        assert not found
        return
    cutoff = 2.0
    while True:
        pairs = np.array(sorted(brute_force(points, cell, pbc, cutoff)), dtype=int).reshape(-1, 5)
        if np.bincount(pairs[:, 1], minlength=len(points)).min() >= wanted:
            break
        cutoff *= 1.4
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]] + pairs[:, 2:] @ cell, axis=1)
    for receiver in range(len(points)):
        mine = pairs[:, 1] == receiver
        limit = np.sort(length[mine])[wanted - 1] * (1 + 1e-6)
        expected = {tuple(p) for p in pairs[mine & (length <= limit)].tolist()}
        assert {f for f in found if f[1] == receiver} == expected


def test_neighbours_beyond_the_next_cell_are_found():
    """One point in a cell of 1 x 5: its six nearest images lie three cells away along the short side."""
    edges = knn_edges(
        torch.zeros(1, 3).double(), torch.diag(torch.tensor([1.0, 5, 5])).double(), torch.ones(3) > 0, 6
    )
    assert sorted(edges.shift[:, 0].tolist()) == [-3, -2, -1, 1, 2, 3]
    skewed = torch.tensor([[1.0, 0, 0], [7.0, 1, 0], [0, 0, 9]], dtype=torch.float64)
    edges = knn_edges(torch.zeros(1, 3).double(), skewed, torch.ones(3) > 0, 4)
    assert sorted((edges.shift.double() @ skewed).norm(dim=1).tolist()) == [1.0] * 4


def test_a_shell_of_equal_distances_is_taken_whole_whatever_the_order():
    points = np.stack(np.meshgrid(np.arange(5), np.arange(4), [0], indexing="ij"), -1).reshape(-1, 3) * 0.1
    cell, pbc = np.diag([0.5, 0.4, 1.0]), np.array([True, True, False])
    edges = knn_edges(*tensors(points, cell, pbc), 3)
    assert np.bincount(edges.index[1].numpy()).tolist() == [4] * 20
    order = np.random.default_rng(0).permutation(20)
    again = knn_edges(*tensors(points[order], cell, pbc), 3)
    assert {(order[s], order[r], *k) for s, r, *k in as_list(again)} == set(as_list(edges))


# ---------------------------------------------------------------------- grids and meshes
@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (1, 4), (2, 3), (4, 5), (2, 1, 3), (3, 4, 2)])
@pytest.mark.parametrize("periodic", [False, True])
def test_grid_edges_join_what_lies_next_to_each_other(shape, periodic):
    flags = tuple(periodic for _ in shape)
    edges = grid_edges(shape, flags)
    reach = 2 if len(shape) == 1 else 1
    nodes = list(itertools.product(*[range(n) for n in shape]))
    expected = set()
    for receiver, node in enumerate(nodes):
        for offset in itertools.product(range(-reach, reach + 1), repeat=len(shape)):
            target = [a + b for a, b in zip(node, offset, strict=True)]
            wrap = [t // n for t, n in zip(target, shape, strict=True)]
            if any(offset) and (periodic or not any(wrap)):
                sender = nodes.index(tuple(t % n for t, n in zip(target, shape, strict=True)))
                expected.add((sender, receiver, *wrap, *[0] * (3 - len(shape))))
    assert set(as_list(edges)) == expected and edges.num_edges == len(expected)


def test_mesh_edges_are_the_pairs_of_corners_once_each_way():
    cells = np.array([[0, 1, 2], [1, 2, 3]])
    found = as_list(mesh_edges(cells))
    expected = {(a, b) for c in cells.tolist() for a, b in itertools.permutations(c, 2)}
    assert {f[:2] for f in found} == expected and len(found) == len(expected)
    assert mesh_edges(np.zeros((0, 3), dtype=int)).num_edges == 0


def test_fields_without_edges_get_neighbours_and_a_spacing():
    points = torch.zeros(16, 3, dtype=torch.float64)
    points[:, 0] = torch.arange(16) * 0.25
    graph = Graph(points, torch.zeros(16), "field")
    found = with_edges(graph, 5.0, num_neighbors=2)
    assert found.spacing == pytest.approx(0.25) and set(found.edges) == {"knn"}
    assert with_edges(replace(graph, edges=found.edges), 5.0).edges is found.edges
