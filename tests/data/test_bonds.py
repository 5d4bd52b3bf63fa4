"""Bonds: what a file says, through graphs, stores and batches, to a type for each edge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atomfield.data.bonds import Bonds, BondType, edge_bonds, no_bonds
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, collate
from atomfield.data.loader import Loader
from atomfield.data.neighbors import batch_of, with_radius_edges
from atomfield.data.readers import read
from atomfield.data.readers.smiles import embed_smiles
from atomfield.data.store import Store, write_store

from .conftest import crystal, molecule

S, D, T, A, O = (int(k) for k in BondType if k not in (BondType.NONE, BondType.NOT_TOLD))


def kinds_of(graph: Graph) -> dict[tuple[int, int], int]:
    assert graph.bonds is not None
    return dict(zip(map(tuple, graph.bonds.index.T.tolist()), graph.bonds.kind.tolist(), strict=True))


def water(bonds: Bonds | None) -> Graph:
    positions = torch.tensor([[0.0, 0, 0], [0.96, 0, 0], [0, 0.96, 0]])
    return Graph(positions=positions, species=torch.tensor([8, 1, 1]), world="molecule", bonds=bonds)


def test_acrylonitrile_with_a_ring() -> None:
    graph = embed_smiles("N#CC=Cc1ccccc1")[0]
    kinds = kinds_of(graph)
    assert (kinds[0, 1], kinds[1, 2], kinds[2, 3], kinds[3, 4], kinds[4, 5]) == (T, S, D, S, A)
    assert sorted(kinds.values()).count(A) == 6
    bonds = graph.bonds
    assert bonds is not None
    assert bonds.num_bonds == graph.num_nodes  # one ring
    assert torch.equal(bonds.in_ring, bonds.kind == A)
    heavy = (graph.species[bonds.index] > 1).all(dim=0)
    assert torch.equal(bonds.conjugated, heavy)


def test_an_sdf_keeps_its_bonds(tmp_path: Path) -> None:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    full = Chem.AddHs(Chem.MolFromSmiles("CC(=O)O"))
    AllChem.EmbedMolecule(full, randomSeed=1)
    path = tmp_path / "a.sdf"
    path.write_text(Chem.MolToMolBlock(full) + "$$$$\n" + Chem.MolToV3KMolBlock(full) + "$$$$\n")
    for graph in read(path):
        assert kinds_of(graph) == {
            (0, 1): S,
            (1, 2): D,
            (1, 3): S,
            (0, 4): S,
            (0, 5): S,
            (0, 6): S,
            (3, 7): S,
        }


def test_dative_bonds_are_of_another_kind() -> None:
    assert O in kinds_of(embed_smiles("[NH3]->[Zn+2]")[0]).values()


def test_no_bonds_are_not_unknown_bonds(tmp_path: Path) -> None:
    (tmp_path / "a.smi").write_text("[Ar]\n")
    (tmp_path / "b.xyz").write_text("1\n\nAr 0 0 0\n")
    (told,), (untold,) = read(tmp_path / "a.smi"), read(tmp_path / "b.xyz")
    assert told.bonds is not None
    assert told.bonds.num_bonds == 0
    assert untold.bonds is None
    write_store([told, untold], tmp_path / "store")
    store = Store(tmp_path / "store")
    assert (store[0].bonds is None, store[1].bonds is None) == (False, True)
    assert store.batch([1, 0]).bonds_known.tolist() == [False, True]


@pytest.mark.parametrize(
    ("pairs", "kinds", "message"),
    [
        ([[0, 3]], [S], "bond 0 joins atoms 0 and 3, expected numbers below 3"),
        ([[-1, 1]], [S], "expected numbers below 3"),
        ([[1, 1]], [S], "atom 1 is bound to itself"),
        ([[0, 1], [1, 0]], [S, D], "the bond of atoms 0 and 1 is there twice"),
        ([[0, 1]], [0], "bond 0 is of kind 0, expected 1 to 5"),
        ([[0, 1]], [6], "bond 0 is of kind 6, expected 1 to 5"),
    ],
)
def test_wrong_bonds_are_refused(pairs: list[list[int]], kinds: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        water(Bonds.of(pairs, kinds))


def test_order_and_shape_are_checked() -> None:
    good = Bonds.of([[0, 2], [0, 1]], [S, S])
    with pytest.raises(InputError, match="not in order"):
        water(Bonds(good.index.flip(1), good.kind, good.conjugated, good.in_ring))
    with pytest.raises(InputError, match="expected \\[2, B\\] and B of each"):
        water(Bonds(good.index, good.kind[:1], good.conjugated, good.in_ring))


@st.composite
def bound(draw: st.DrawFn) -> Graph:
    """A random graph with random bonds, or with none told."""
    graph = molecule(draw(st.integers(0, 50)))
    count = graph.num_nodes
    if draw(st.booleans()):
        return graph
    i, j = np.triu_indices(count, 1)
    chosen = np.array(draw(st.lists(st.booleans(), min_size=len(i), max_size=len(i))))
    number = int(chosen.sum())
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    flags = rng.integers(0, 2, (2, number)).astype(bool)
    pairs = np.stack([j[chosen], i[chosen]], 1)
    return graph.changed(bonds=Bonds.of(pairs, rng.integers(1, 6, number), *flags))


@settings(max_examples=25, deadline=None)
@given(graphs=st.lists(bound(), min_size=1, max_size=6), form=st.sampled_from(["arrow", "parquet"]))
def test_store_and_batches_keep_bonds(graphs: list[Graph], form, tmp_path_factory) -> None:
    folder = tmp_path_factory.mktemp("bonds") / "store"
    write_store(graphs, folder, shard_records=2, form=form)
    store = Store(folder)
    assert all(a.bonds == b.bonds for a, b in zip(store, graphs, strict=True))
    order = np.random.default_rng(0).permutation(len(graphs))
    packed, collated = store.batch(order), collate([graphs[i] for i in order])
    assert packed.bonds == collated.bonds
    assert torch.equal(packed.bonds_known, collated.bonds_known)


@settings(max_examples=30, deadline=None)
@given(graphs=st.lists(bound(), min_size=1, max_size=4))
def test_the_bond_of_an_edge_is_that_of_its_ends(graphs: list[Graph]) -> None:
    batch = batch_of(graphs, 6.0)
    found = edge_bonds(batch)
    starts = np.cumsum([0, *(g.num_nodes for g in graphs)])
    for k, (j, i) in enumerate(batch.edge_index.T.tolist()):
        g = int(batch.graph_index[i])
        if graphs[g].bonds is None:
            assert found[k] == BondType.NOT_TOLD
        else:
            pair = (min(i, j) - starts[g], max(i, j) - starts[g])
            assert found[k] == kinds_of(graphs[g]).get(pair, BondType.NONE)


@settings(max_examples=30, deadline=None)
@given(graph=bound(), seed=st.integers(0, 99))
def test_a_permuted_graph_has_permuted_bonds(graph: Graph, seed: int) -> None:
    if graph.bonds is None:
        return
    order = torch.from_numpy(np.random.default_rng(seed).permutation(graph.num_nodes))
    other = graph.changed(
        positions=graph.positions[order], species=graph.species[order], bonds=graph.bonds.among(order)
    )
    assert not other.bonds.fault(graph.num_nodes)  # type: ignore[union-attr]
    expected = kinds_of(graph)
    for (i, j), kind in kinds_of(other).items():
        a, b = sorted((int(order[i]), int(order[j])))
        assert expected.pop((a, b)) == kind
    assert not expected


def test_a_part_of_a_graph() -> None:
    bonds = Bonds.of([[0, 1], [1, 2], [2, 3]], [S, D, T], [True, False, True])
    part = bonds.among(torch.tensor([3, 2, 0]))
    assert part.index.tolist() == [[0], [1]]
    assert (part.kind.tolist(), part.conjugated.tolist()) == ([T], [True])
    assert bonds.among(torch.tensor([], dtype=torch.int64)).num_bonds == 0


def test_an_image_in_another_cell_is_not_bound() -> None:
    """Two atoms in a cell of 3 angstrom: of the edges between them one lies in the cell."""
    graph = Graph(
        positions=torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]),
        species=torch.tensor([1, 1]),
        world="crystal",
        cell=torch.eye(3) * 3,
        pbc=torch.tensor([True, True, True]),
        bonds=Bonds.of([[0, 1]], [S]),
    )
    batch = batch_of([graph, crystal(0)], 2.5)
    found = edge_bonds(batch)
    of_first = batch.graph_index[batch.edge_index[1]] == 0
    shifted = (batch.edge_shift != 0).any(dim=1)
    assert (of_first & shifted).sum() == 2
    assert set(found[of_first & shifted].tolist()) == {BondType.NONE}
    assert found[of_first & ~shifted].tolist() == [S, S]
    assert set(found[~of_first].tolist()) == {BondType.NOT_TOLD}


def _batch(key: int):
    graphs = [water(Bonds.of([[0, 1], [0, 2]], [S, S], in_ring=[True, False])), molecule(key)]
    return with_radius_edges(collate(graphs), 3.0)


def test_bonds_travel_between_processes_and_devices() -> None:
    with Loader(_batch, [0, 1], workers=1) as loader:
        for key, batch in enumerate(loader):
            expected = _batch(key)
            assert batch.bonds == expected.bonds
            assert torch.equal(batch.bonds_known, expected.bonds_known)
            assert torch.equal(edge_bonds(batch), edge_bonds(expected))
    small = expected.to(dtype=torch.float32)
    assert small.bonds.index.dtype == torch.int64
    assert torch.equal(edge_bonds(small), edge_bonds(expected))
    assert not no_bonds().fault(1)


def test_stores_of_version_1_are_read() -> None:
    """The shipped corpus is of version 1, from before there were bonds."""
    from atomfield.data.source import open_source

    store = open_source("starter/task_molecules")
    assert isinstance(store, Store)
    assert store.index["version"] == 1
    assert store[0].bonds is None
    batch = store.batch(range(3))
    assert not batch.bonds_known.any()
    assert batch.bonds.num_bonds == 0


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    write_store([molecule(0)], tmp_path / "store")
    index = tmp_path / "store" / "index.json"
    index.write_text(index.read_text().replace('"version": 2', '"version": 3'))
    with pytest.raises(InputError, match="format is atomfield-store 3, expected atomfield-store up to 2"):
        Store(tmp_path / "store")
