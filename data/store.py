"""The store: a folder of shards and an index. Written once and atomically, read by record number.

``arrow`` shards are uncompressed Arrow IPC files that are memory-mapped: a store may be larger than memory. ``parquet``
shards are compressed (zstd, byte-stream-split floats), checked against their sha256 and read into memory whole:
for corpora that are shipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from .batch import Run, pack_atoms, runs_of
from .columns import TEXTS, Columns
from .errors import InputError
from .graph import Graph, GraphBatch, collate
from .quantities import Quantity, quantity
from .schema import decode
from .shards import Form, Shard, ShardWriter, check_digest, check_size, write_synced
from .tally import Tally

FORMAT = "atomfield-store"
VERSION = 2
"""2: records may have bonds and ids. What a store of version 1 holds lies in it as it does in one of version 2."""
_READ = (1, 2)


def is_store(path: str | Path) -> bool:
    """Whether ``path`` is a folder with the index of a store."""
    return (Path(path) / "index.json").is_file()


# ---------------------------------------------------------------------- write
def write_store(
    graphs: Iterable[Graph],
    out: str | Path,
    *,
    shard_records: int = 2000,
    form: Form = "arrow",
    bad: Sequence[Any] = (),
) -> dict[str, Any]:
    """Write all ``graphs`` as a store and return its index.

    Everything goes into a folder beside ``out`` that is renamed at the end: ``out`` is a whole store or not there.
    ``bad`` is read after the last graph, so it may be the list that a reader fills on the way; it becomes
    ``bad_records.json``. Radius edges are not stored: they follow from the positions.

    Raises ``InputError`` if ``out`` holds anything but an interrupted store, if there is no graph at all, or if two graphs
    define one user property differently.
    """
    out = Path(out)
    refuse_occupied(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        index = _write_draft(graphs, draft, shard_records, form)
        index["num_bad_records"] = len(bad)
        if bad:
            listed = [b.listed() for b in bad]
            write_synced(draft / "bad_records.json", json.dumps(listed, indent=1).encode())
        write_synced(draft / "index.json", json.dumps(index, indent=1).encode())
        if out.exists():
            shutil.rmtree(out)
        os.rename(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return index


def refuse_occupied(out: Path) -> None:
    """Raise ``InputError`` unless ``out`` is free, or an empty or interrupted store."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError("is a file, expected a folder that does not exist yet", str(out))
    if is_store(out):
        raise InputError("is a store already; give another --out, or delete it first", str(out))
    others = [
        p.name
        for p in out.iterdir()
        if not (p.name.startswith("shard-") and p.suffix in (".arrow", ".parquet"))
    ]
    if others:
        raise InputError(f"is a folder that holds other things ({others[0]}); give a new folder", str(out))


def _write_draft(graphs: Iterable[Graph], draft: Path, shard_records: int, form: Form) -> dict[str, Any]:
    tally = Tally()
    writer = ShardWriter(draft, "shard-", form, shard_records)
    for graph in graphs:
        tally.add(graph)
        writer.add(graph)
    writer.flush()
    if not writer.entries:
        raise InputError("there is no record to write")
    return index_of(tally, writer.entries, form)


def index_of(tally: Tally, shards: list[dict[str, Any]], form: Form) -> dict[str, Any]:
    """The index of a store. ``content``: sha256 over those of the shards, which tells one store's records from another's."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "form": form,
        **tally.summary(),
        "content": content_of(shards),
        "shards": shards,
    }


def content_of(shards: list[dict[str, Any]]) -> str:
    """One sha256 for all shards."""
    return hashlib.sha256("".join(shard["sha256"] for shard in shards).encode()).hexdigest()


# ---------------------------------------------------------------------- read
class Store(Sequence[Graph]):
    """A store on disk as a sequence of graphs. ``index`` is the content of ``index.json``.

    Raises ``InputError`` for a folder that is no store and for shards that are missing, cut short or altered (of
    ``arrow`` shards :meth:`verify` finds an altered byte; everything else is found when the store or shard is opened).
    """

    index: dict[str, Any]  # type: ignore[assignment]  # the content, not Sequence's search

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.index = read_index(self.path)
        self.properties = {n: Quantity(name=n, **d) for n, d in self.index["properties"].items()}
        self._starts: np.ndarray = np.cumsum([0, *(s["rows"] for s in self.index["shards"])])
        self._shards: list[Shard | None] = [None] * len(self.index["shards"])
        for shard in self.index["shards"]:
            check_size(self.path / shard["file"], shard["bytes"])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, i: int) -> Graph: ...
    @overload
    def __getitem__(self, i: slice) -> list[Graph]: ...
    def __getitem__(self, i: int | slice) -> Graph | list[Graph]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        if not -len(self) <= i < len(self):
            raise IndexError(f"record {i} of a store with {len(self)} records")
        i = int(i) % len(self)
        number = int(np.searchsorted(self._starts, i, side="right")) - 1
        shard = self._shard(number)
        row = i - int(self._starts[number])
        return decode(lambda column: shard.value(column, row), shard.names, self.properties)

    def __iter__(self) -> Iterator[Graph]:
        return (self[i] for i in range(len(self)))

    def batch(self, ids: Sequence[int] | np.ndarray) -> GraphBatch:
        """Records ``ids`` (0 to len - 1, in any order) packed, equal to ``collate([store[i] for i in ids])``.

        Atoms come straight from the columns and have no radius edges yet (``neighbors.with_radius_edges``); fields, and what has
        stored edges, are made one by one. Raises ``IndexError`` for a
        record that is not there and ``InputError`` for one with a time axis.
        """
        wanted = np.asarray(ids, dtype=np.int64)
        assert len(wanted), "a batch needs at least one record"
        if wanted.min() < 0 or wanted.max() >= len(self):
            outside = wanted[(wanted < 0) | (wanted >= len(self))][0]
            raise IndexError(f"record {outside} of a store with {len(self)} records")
        runs = self.runs(wanted)
        one_by_one = "field" in self.index["worlds"] and any(
            "field" in run.shard.some_texts("world", run.start, run.stop) for run in runs
        )
        if one_by_one or any(run.shard.has_edges for run in runs):
            return collate([self[i] for i in wanted.tolist()])
        return pack_atoms(runs, self.properties)

    def runs(self, ids: Sequence[int] | np.ndarray) -> list[Run]:
        """Records ``ids`` as slices of shards."""
        return [Run(self._shard(number), a, b) for number, a, b in runs_of(np.asarray(ids), self._starts)]

    def __reduce__(self) -> tuple[type[Store], tuple[Path]]:
        return Store, (self.path,)

    def _shard(self, number: int) -> Shard:
        shard = self._shards[number]
        if shard is None:
            entry = self.index["shards"][number]
            shard = self._shards[number] = Shard(self.path / entry["file"], entry)
        return shard

    @cached_property
    def columns(self) -> Columns:
        """What planning needs, per record, without decoding, and made when it is asked for: ``num_nodes``, ``num_times`` int64
        arrays ``[R]``; ``world``, ``level``, ``dataset``, ``group``, ``formula``, ``id`` lists of text; ``elements`` the atomic
        numbers of the store ``[K]``, ``species_counts [R, K]`` int64, and ``species_bits [R, (K + 7) // 8]``, whether a record
        has each element, eight to a byte; ``volume [R]`` in angstrom^3, 0 of what is not periodic in three directions."""
        elements = np.array(self.index["elements"], dtype=np.int64)

        def of_each(one: Callable[[Shard], np.ndarray]) -> np.ndarray:
            return np.concatenate([one(self._shard(i)) for i in range(len(self._shards))])

        def bits(shard: Shard) -> np.ndarray:
            return np.packbits(shard.species_counts(elements) > 0, axis=1)

        makers: dict[str, Callable[[], Any]] = {
            "elements": lambda: elements,
            "species_counts": lambda: of_each(lambda shard: shard.species_counts(elements)),
            "species_bits": lambda: of_each(bits),
            "volume": lambda: of_each(Shard.volumes),
        }
        for name in ("num_nodes", "num_times"):
            makers[name] = partial(of_each, partial(_whole_numbers, name))
        for name in TEXTS:
            makers[name] = partial(self._texts, name)
        return Columns(makers)

    def _texts(self, name: str) -> list[str]:
        return [text for i in range(len(self._shards)) for text in self._shard(i).texts(name)]

    def holding(self, name: str, kind: Literal["quantity", "next", "condition"] = "quantity") -> np.ndarray:
        """``[R]`` bool: which records have the quantity (of the next state) or condition ``name``; without decoding."""
        columns = {
            "quantity": (f"q32/{name}", f"q64/{name}"),
            "next": (f"n32/{name}", f"n64/{name}"),
            "condition": (f"c/{name}",),
        }
        return np.concatenate([self._shard(i).holding(columns[kind]) for i in range(len(self._shards))])

    def names(self, kind: Literal["quantity", "next", "condition"] = "quantity") -> list[str]:
        """Names of the quantities (of the next state) or conditions that some record has."""
        if kind == "condition":
            return sorted(self.index["conditions"])
        wanted = "q" if kind == "quantity" else "n"
        shards = (self._shard(i) for i in range(len(self._shards)))
        return sorted({name for shard in shards for prefix, name in shard.quantities if prefix == wanted})

    def largest(self, name: str) -> np.ndarray:
        """``[R]`` float64: the largest norm among the vectors of quantity ``name`` of each record, NaN where it has none."""
        return np.concatenate([self._shard(i).largest(name) for i in range(len(self._shards))])

    def values(self, name: str) -> np.ndarray:
        """A graph quantity of all records, ``[R, ...]`` float64, NaN where a record lacks it; or a condition ``[R]``."""
        definition = self.properties.get(name)
        shards = [self._shard(i) for i in range(len(self._shards))]
        if definition is None and name in self.index["conditions"]:
            return np.concatenate([s.numbers(f"c/{name}") for s in shards])
        q = definition or quantity(name)
        assert q.support == "graph", f"{name} has one value per node"
        return np.concatenate([s.graph_values(name, q.components) for s in shards]).reshape(-1, *q.shape)

    def files(self) -> set[str]:
        """The files that the records came from."""
        shards = [self._shard(i) for i in range(len(self._shards))]
        return {name for shard in shards for name in shard.columns["file"].flat}

    def verify(self) -> None:
        """Compare every shard with its sha256; raises ``InputError`` that names the first that differs."""
        for entry in self.index["shards"]:
            path = self.path / entry["file"]
            check_size(path, entry["bytes"])
            check_digest(path, entry["sha256"])


def _whole_numbers(name: str, shard: Shard) -> np.ndarray:
    return shard.numbers(name).astype(np.int64)


def read_index(path: Path) -> dict[str, Any]:
    """The content of ``index.json``; raises ``InputError`` if the folder is no store of this version."""
    file = path / "index.json"
    if not file.is_file():
        raise InputError("is not a store: it has no index.json; make one with `atomfield prepare`", str(path))
    try:
        index = json.loads(file.read_text())
        found = (index["format"], index["version"])
        _ = index["shards"], index["properties"], index["elements"], index["conditions"], index["num_records"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"is not the index of a store ({error}); make the store again", str(file)) from None
    if found[0] != FORMAT or found[1] not in _READ:
        raise InputError(
            f"format is {found[0]} {found[1]}, expected {FORMAT} up to {VERSION}; a newer atomfield may read it",
            str(file),
        )
    return index
