"""Records of a store as one ``GraphBatch``, straight from its flat columns: no ``Graph`` is made on the way.

Equal to ``collate`` of the same records. Consecutive records of a shard are one slice of each column, so that what a batch costs
grows with the number of runs, not of records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch

from .bonds import Bonds, no_bonds
from .errors import InputError, Provenance
from .graph import GraphBatch, NodeType
from .quantities import VOCABULARY, Quantity
from .schema import bonds_of_bytes
from .shards import Column, Shard


class Run(NamedTuple):
    """Consecutive rows ``start`` to ``stop`` of one shard."""

    shard: Shard
    start: int
    stop: int


class Places(Sequence[Provenance]):
    """Where the records of a batch came from, looked up when asked."""

    def __init__(self, runs: Sequence[Run]):
        self._rows = [(run.shard, row) for run in runs for row in range(run.start, run.stop)]

    def __len__(self) -> int:
        return len(self._rows)

    def __reduce__(self):  # as a list: a shard is not to be copied into another process
        return list, (list(self),)

    def __getitem__(self, i):  # as Sequence says
        if isinstance(i, slice):
            return [_place(*pair) for pair in self._rows[i]]
        return _place(*self._rows[i])


def _place(shard: Shard, row: int) -> Provenance:
    file, record, line, licence = (shard.value(n, row) for n in ("file", "record", "line", "licence"))
    return Provenance(file, record, line, licence)


def pack_atoms(runs: Sequence[Run], properties: Mapping[str, Quantity]) -> GraphBatch:
    """The batch of records of atoms without edges, every number as float64 and missing ones as NaN."""
    counts = _joined(runs, "num_nodes", np.int64)
    num_nodes, num_graphs = int(counts.sum()), len(counts)
    shards = list(dict.fromkeys(run.shard for run in runs))
    for shard, a, b in runs:
        times = shard.columns.get("times")
        if times is not None and any(times.at(row) is not None for row in range(a, b)):
            raise InputError("a record has a time axis; take its snapshots or pairs instead of a batch")
    quantities, later = _quantities(runs, shards, counts, properties)
    conditions = {}
    for column in dict.fromkeys(name for shard in shards for name in shard.names if name.startswith("c/")):
        values = np.concatenate([shard.numbers(column)[a:b] for shard, a, b in runs]).astype(np.float64)
        if not np.isnan(values).all():
            conditions[column[2:]] = torch.from_numpy(values)
    pbc = _joined(runs, "pbc", np.uint8)
    species = np.concatenate([_slice(run, "species") for run in runs]).astype(np.int64)
    positions = _column(runs, ("positions64", "positions32"), counts, 3)
    assert len(species) == num_nodes
    assert positions is not None
    graph_index = torch.from_numpy(np.repeat(np.arange(num_graphs), counts))
    volume = _column(runs, ("volume64", "volume32"), counts, 1)
    bonds, bonds_known = _bonds(runs, counts)
    return GraphBatch(
        positions=torch.from_numpy(positions.reshape(num_nodes, 3)),
        species=torch.from_numpy(species),
        node_type=_tensor(_column(runs, ("node_type",), counts, 1), (num_nodes,), NodeType.ATOM).long(),
        graph_index=graph_index,
        volume=_tensor(volume, (num_nodes,), 1.0),
        cell=_tensor(_column(runs, ("cell",), np.ones_like(counts), 9), (num_graphs, 3, 3), 0.0),
        pbc=torch.from_numpy((pbc[:, None] & np.array([1, 2, 4], dtype=np.uint8)) != 0),
        edge_index=torch.zeros(2, 0, dtype=torch.int64),
        edge_shift=torch.zeros(0, 3, dtype=torch.float64),
        edge_is_radius=torch.zeros(0, dtype=torch.bool),
        quantities=quantities,
        next_quantities=later,
        conditions=conditions,
        levels=[level for shard, a, b in runs for level in shard.some_texts("level", a, b)],
        spacing=torch.from_numpy(_joined(runs, "spacing", np.float64)),
        world="crystal" if runs[0].shard.value("world", runs[0].start) == "crystal" else "molecule",
        provenance=Places(runs),
        bonds=bonds,
        bonds_known=torch.from_numpy(bonds_known),
    )


def _bonds(runs: Sequence[Run], counts: np.ndarray) -> tuple[Bonds, np.ndarray]:
    """The bonds of all records, and ``[G]`` bool: whether they are known."""
    known = np.zeros(len(counts), dtype=bool)
    codes, pairs, numbers = [], [], np.zeros(len(counts), dtype=np.int64)
    first = 0
    for run in runs:
        shard, start, stop = run
        column = shard.columns.get("b/kind")
        if column is not None:
            codes.append(_slice(run, "b/kind"))
            pairs.append(_slice(run, "b/pairs"))
            its = slice(first, first + stop - start)
            known[its] = True if column.valid is None else column.valid[start:stop]
            numbers[its] = np.diff(column.offsets[start : stop + 1])
        first += stop - start
    if not codes:
        return no_bonds(), known
    offsets = np.repeat(np.cumsum(counts) - counts, 2 * numbers)
    return bonds_of_bytes(np.concatenate(pairs) + offsets, np.concatenate(codes)), known


def _joined(runs: Sequence[Run], column: str, dtype: type) -> np.ndarray:
    """A plain column over all runs."""
    return np.concatenate([shard.numbers(column)[a:b] for shard, a, b in runs]).astype(dtype, copy=False)


def _tensor(values: np.ndarray | None, shape: tuple[int, ...], missing: float) -> torch.Tensor:
    if values is None:
        return torch.full(shape, float(missing), dtype=torch.float64)
    np.copyto(values, missing, where=np.isnan(values))
    return torch.from_numpy(values.reshape(shape))


def _quantities(
    runs: Sequence[Run], shards: Sequence[Shard], counts: np.ndarray, properties: Mapping[str, Quantity]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    found: dict[str, dict[str, torch.Tensor]] = {"q": {}, "n": {}}
    per_graph = np.ones_like(counts)
    for prefix, name in dict.fromkeys(key for shard in shards for key in shard.quantities):
        q = properties.get(name) or VOCABULARY[name]
        sizes = counts if q.support == "node" else per_graph
        values = _column(runs, (f"{prefix}64/{name}", f"{prefix}32/{name}"), sizes, q.components)
        if values is not None:
            found[prefix][name] = torch.from_numpy(values.reshape(-1, *q.shape))
    return found["q"], found["n"]


def _slice(run: Run, name: str) -> np.ndarray:
    column = run.shard.columns[name]
    return column.flat[column.offsets[run.start] : column.offsets[run.stop]]


def _column(runs: Sequence[Run], names: tuple[str, ...], sizes: np.ndarray, width: int) -> np.ndarray | None:
    """``[sum(sizes) * width]`` float64 of a list column that goes by one of ``names`` in each row; NaN where a row lacks it,
    None where all do. ``sizes``: values per record."""
    held_by = [run.shard.held(names) for run in runs]
    if not any(held_by):
        return None
    parts: list[np.ndarray] = []
    found, first = False, 0
    for (_, start, stop), held in zip(runs, held_by, strict=True):
        if isinstance(held, Column):
            offsets = held.offsets
            parts.append(held.flat[offsets[start] : offsets[stop]])
            found = True
        elif not held:
            parts.append(np.full(int(sizes[first : first + stop - start].sum()) * width, np.nan))
        else:
            for row in range(start, stop):
                value = next((v for column in held if (v := column.at(row)) is not None), None)
                size = int(sizes[first + row - start]) * width
                if value is None or len(value) == 1 != size:  # one number is that of all nodes (a volume)
                    parts.append(np.full(size, np.nan if value is None else value[0]))
                else:
                    parts.append(value)
                found |= value is not None
        first += stop - start
    return np.concatenate(parts, dtype=np.float64) if found else None


def runs_of(ids: Sequence[int] | np.ndarray, starts: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """``(shard, start row, stop row)`` of each stretch of ``ids`` that follow each other within a shard; ``starts [S + 1]`` are
    the first records of the shards."""
    ids = np.asarray(ids, dtype=np.int64)
    shard = np.searchsorted(starts, ids, side="right") - 1
    cut = np.flatnonzero((np.diff(ids) != 1) | (np.diff(shard) != 0)) + 1
    begin = np.concatenate([[0], cut])
    end = np.concatenate([cut, [len(ids)]])
    rows = ids - starts[shard]
    yield from zip(shard[begin].tolist(), rows[begin].tolist(), (rows[end - 1] + 1).tolist(), strict=True)
