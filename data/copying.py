"""Records of a store go into another one as they lie: columns are cut and joined, no record is decoded.

A store holds only what was checked when it was written, so the bytes are those that decoding and encoding each record would give.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from .batch import Run
from .quantities import Quantity
from .schema import ALWAYS, arrow_type
from .shards import SHARD_BYTES
from .store import Store
from .tally import Tally

_BYTES_PER_NUMBER = 8
"""At most, of a number on its way into a shard."""


def copied(store: Store, start: int, stop: int) -> tuple[pa.Table, Tally] | None:
    """Records ``start`` to ``stop`` as the table of one shard, and their counts. None where they may fill several shards, or
    where the store is so old that it lacks a column: such records are to be taken one by one."""
    runs = store.runs(range(start, stop))
    if any(name not in run.shard.columns for run in runs for name in ALWAYS):
        return None
    columns: dict[str, pa.Array] = {}
    numbers = 0
    for name in sorted({name for run in runs for name in run.shard.names}):
        column = _joined(runs, name)
        if column.null_count == len(column) and name not in ALWAYS:
            continue
        columns[name] = column
        if pa.types.is_large_list(column.type):
            numbers += column.offsets[-1].as_py() - column.offsets[0].as_py()
    if _BYTES_PER_NUMBER * numbers >= SHARD_BYTES:
        return None
    schema = pa.schema(
        [(name, arrow_type(name)) for name in columns]
    )  # parquet gives lists other names inside
    return pa.Table.from_arrays(list(columns.values()), schema=schema), _tally(columns, store.properties)


def _joined(runs: Sequence[Run], name: str) -> pa.Array:
    kind = arrow_type(name)
    pieces = []
    for shard, a, b in runs:
        held = shard.columns.get(name)
        piece = pa.nulls(b - a, kind) if held is None else held.array.slice(a, b - a)
        pieces.append(piece if piece.type == kind else piece.cast(kind))
    return pa.concat_arrays(pieces)


def _tally(columns: Mapping[str, pa.Array], properties: Mapping[str, Quantity]) -> Tally:
    """What :meth:`Tally.add` would count, record by record."""
    tally = Tally()
    tally.num_records = len(columns["num_nodes"])
    tally.num_nodes = int(columns["num_nodes"].to_numpy().sum())
    tally.worlds = _counts(columns["world"])
    tally.levels = _counts(columns["level"])
    if "species" in columns:
        tally.elements = set(np.unique(columns["species"].flatten().to_numpy()).tolist()) - {0}
    for name, column in columns.items():
        there = len(column) - column.null_count
        if name.startswith(("q32/", "q64/")):
            tally.quantities[name[4:]] += there
        if name.startswith("c/"):
            tally.conditions[name[2:]] += there
        if name.startswith(("q32/", "q64/", "n32/", "n64/")) and name[4:] in properties:
            tally.definitions[name[4:]] = properties[name[4:]]
    return tally


def _counts(texts: pa.Array) -> Counter[str]:
    return Counter({entry["values"]: entry["counts"] for entry in texts.value_counts().to_pylist()})
