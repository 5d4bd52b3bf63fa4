"""A batch from the columns of a store equals the collated records."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atomfield.data.batch import runs_of
from atomfield.data.bonds import Bonds
from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph, GraphBatch, collate
from atomfield.data.neighbors import with_edges
from atomfield.data.store import Store, write_store
from tests.small import waves

from .conftest import crystal, molecule


def assert_same(a: GraphBatch, b: GraphBatch) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        match value:
            case torch.Tensor():
                assert value.dtype == other.dtype, name
                assert torch.equal(value, other), name
            case dict():
                assert value.keys() == other.keys(), name
                for key in value:
                    assert value[key].dtype == other[key].dtype
                    assert value[key].shape == other[key].shape
                    torch.testing.assert_close(value[key], other[key], rtol=0, atol=0, equal_nan=True)
            case _ if name == "provenance":
                assert list(value) == list(other)
            case _:
                assert value == other, name


def varied() -> list[Graph]:
    """Molecules and crystals; some lack a quantity or condition, some have numbers that are float32 exactly."""
    graphs = []
    for i in range(40):
        g = crystal(i) if i % 3 == 0 else molecule(i, charge=float(i % 4) if i % 5 else None)
        g = replace(
            g,
            provenance=Provenance(f"f{i % 2}.xyz", i, 7 * i, "CC0" if i % 2 else ""),
            level=f"level {i % 3}",
        )
        if i % 4 == 1:
            g = replace(g, quantities={k: v for k, v in g.quantities.items() if k != "energy"})
        if i % 6 == 2:
            g = replace(g, positions=g.positions.float().double())
        if i == 13:
            g = replace(g, volume=torch.full((g.num_nodes,), 0.5, dtype=torch.float64))
        graphs.append(g)
    return graphs


IDS = (
    [0],
    [5, 6, 7, 8],
    [39, 0, 1, 2, 3, 38],
    list(range(40)),
    [7, 7, 3],
    [1, 4, 7, 10],
    [2, 8, 14],
    [0, 3, 6],
    [13, 14],
)


@pytest.mark.parametrize("form", ["arrow", "parquet"])
@pytest.mark.parametrize("shard_records", [3, 100])
def test_equals_collate(tmp_path: Path, form: Any, shard_records: int) -> None:
    write_store(varied(), tmp_path / "store", shard_records=shard_records, form=form)
    store = Store(tmp_path / "store")
    for ids in IDS:
        assert_same(store.batch(ids), collate([store[i] for i in ids]))
    rng = np.random.default_rng(0)
    for _ in range(20):
        ids = rng.integers(0, 40, rng.integers(1, 12))
        assert_same(store.batch(ids), collate([store[int(i)] for i in ids]))


def test_next_quantities_and_fields(tmp_path: Path, samples: list[Graph]) -> None:
    flow = next(g for g in samples if g.times is not None)
    write_store([*samples, flow.pair(0), flow.snapshot(2)], tmp_path / "store")
    store = Store(tmp_path / "store")
    assert_same(store.batch([14, 15]), collate([store[14], store[15]]))
    assert_same(store.batch([0, 8, 3]), collate([store[i] for i in (0, 8, 3)]))
    moving = replace(molecule(0), next_quantities={"forces": torch.zeros(molecule(0).num_nodes, 3)})
    write_store([moving, molecule(1)], tmp_path / "atoms")
    atoms = Store(tmp_path / "atoms")
    assert_same(atoms.batch([0, 1]), collate([atoms[0], atoms[1]]))


def test_does_not_share_memory_with_the_store(tmp_path: Path) -> None:
    write_store([molecule(0), molecule(1)], tmp_path / "store")
    store = Store(tmp_path / "store")
    batch = store.batch([0])
    before = store[0].positions
    batch.positions.zero_()
    for value in batch.quantities.values():
        value.zero_()
    assert torch.equal(store[0].positions, before)
    assert store[0].quantities["forces"].any()


def test_travels_between_processes(tmp_path: Path) -> None:
    write_store(varied(), tmp_path / "store")
    batch = Store(tmp_path / "store").batch([1, 2, 30])
    assert_same(pickle.loads(pickle.dumps(batch)), batch)
    assert batch.provenance[2].record == 30
    assert [p.record for p in batch.provenance[:2]] == [1, 2]
    assert batch.to(dtype=torch.float32).provenance[0] == batch.provenance[0]


def test_what_is_refused(tmp_path: Path) -> None:
    g = molecule(0)
    timed = replace(g, times=torch.arange(2.0), quantities={"forces": torch.zeros(2, g.num_nodes, 3)})
    write_store([g, timed], tmp_path / "store")
    store = Store(tmp_path / "store")
    for ids in ([2], [-1], [0, 5]):
        with pytest.raises(IndexError, match="store with 2 records"):
            store.batch(ids)
    with pytest.raises(InputError, match="time axis"):
        store.batch([1])
    store.batch([0])


def test_runs() -> None:
    starts = np.array([0, 4, 8])
    assert list(runs_of([2, 3, 4, 5, 1, 0, 7, 7], starts)) == [
        (0, 2, 4), (1, 0, 2), (0, 1, 2), (0, 0, 1), (1, 3, 4), (1, 3, 4),
    ]  # fmt: skip


def test_pieces_are_the_batches_of_their_records() -> None:
    bonds = [Bonds.of([[0, 1]], [1]) if i % 2 else None for i in range(8)]
    atoms = [with_edges(replace(molecule(i), bonds=b), 8.0) for i, b in enumerate(bonds)]
    flows = [with_edges(g, 5.0).pair(1) for g in waves(5)]
    for graphs in (atoms, flows):
        sizes = [sum(e.num_edges for e in g.edges.values()) for g in graphs]
        limit = max(sizes) + min(sizes)
        whole = collate(graphs)
        pieces = whole.cut(limit)
        assert [p.num_graphs for p in whole.cut(1)] == [1] * len(graphs)
        assert whole.cut(sum(sizes))[0] is whole
        first = 0
        for piece in pieces:
            assert piece.num_edges <= limit
            assert_same(piece, collate(graphs[first : first + piece.num_graphs]))
            first += piece.num_graphs
        assert first == len(graphs) and 1 < len(pieces) < len(graphs)
    later = replace(whole, earlier=(whole,), clean={"concentration": whole.quantities["concentration"]})
    piece = later.cut(limit)[1]
    assert_same(piece.earlier[0], whole.cut(limit)[1])
    assert torch.equal(piece.clean["concentration"], piece.quantities["concentration"])
