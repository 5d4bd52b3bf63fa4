"""What ``prepare`` deals out: the sources as an ordered list of parts that can be read one without another.

The list follows from names and sizes alone, so it is the same for any number of workers and after any interruption.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import InputError
from .graph import Graph
from .readers.files import kind_of, outcomes_of
from .readers.folder import files_of, read_together
from .readers.options import BadRecord, ReadOptions
from .source import store_folder
from .store import Store

_GROUP_FILES = 2000
_GROUP_BYTES = 4 * 2**20
"""Neighbouring small files are one part, up to this many files and bytes."""
_TABLE_BYTES = 2**14
"""Of tables, whose rows cost most for their size (a SMILES of 50 bytes takes 30 ms): a larger one is a part of its own, cut
into chunks, so that workers share it and a kill does not lose it all."""
_SHARED_KINDS = ("extxyz", "table", "sdf", "structure")
"""Kinds whose reader finds a record much faster than it builds it and numbers records in order: workers share a file. A file of
another kind is read by one worker."""


@dataclass(frozen=True)
class Part:
    """source: its number among the sources. paths: files or folders, or one store with the range ``rows`` of its records.
    shared: several workers may read it at once, each building its own chunks of records."""

    source: int
    paths: tuple[str, ...]
    rows: tuple[int, int] | None = None
    shared: bool = False

    def outcomes(self, options: ReadOptions) -> Iterator[Graph | BadRecord]:
        """The records of the part, in order."""
        if self.rows is not None:
            store = self.store()
            yield from (store[i] for i in range(*self.rows))
            return
        for path in self.paths:
            yield from outcomes_of(Path(path), options)

    def store(self) -> Store:
        """The store that ``rows`` are of; opened once for all of its parts."""
        return _opened(self.paths[0], (Path(self.paths[0]) / "index.json").stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _opened(path: str, changed: int) -> Store:
    return Store(path)


def parts_of(sources: Sequence[str], targets: Sequence[str], chunk_records: int) -> list[Part]:
    """The parts of all ``sources`` (files, folders, stores), in order. Raises ``InputError`` for a source that is not there and
    for a store that lacks one of ``targets``."""
    parts: list[Part] = []
    for number, source in enumerate(sources):
        folder = store_folder(source)
        if folder is not None:
            parts += _of_store(number, folder, source, targets, chunk_records)
            continue
        path = Path(source)
        folder_of_files = (
            path.is_dir() and kind_of(path) is None
        )  # a Zarr store is a folder that is read as one file
        together = read_together(path) if folder_of_files else None
        if together is not None:
            parts.append(Part(number, (source,), shared=together == "table"))
        else:
            parts += _of_files(number, files_of(path) if folder_of_files else [path])
    return parts


def _of_store(number: int, folder: Path, source: str, targets: Sequence[str], chunk: int) -> list[Part]:
    store = Store(folder)
    for target in targets:
        if target not in store.index["quantities"]:
            held = ", ".join(store.index["quantities"]) or "none"
            raise InputError(f"target {target!r} is not in the store; it holds {held}", source)
    return [
        Part(number, (str(folder),), (a, min(a + chunk, len(store)))) for a in range(0, len(store), chunk)
    ]


def _of_files(number: int, files: list[Path]) -> Iterator[Part]:
    group: list[str] = []
    size = 0
    for file in files:
        grown, kind = _size(file), kind_of(file)
        most = min(_GROUP_BYTES, _TABLE_BYTES) if kind == "table" else _GROUP_BYTES
        alone = grown > most
        if group and (alone or size + grown > _GROUP_BYTES or len(group) >= _GROUP_FILES):
            yield Part(number, tuple(group))
            group, size = [], 0
        if alone:
            yield Part(number, (str(file),), shared=kind in _SHARED_KINDS)
        else:
            group.append(str(file))
            size += grown
    if group:
        yield Part(number, tuple(group))


def _size(path: Path) -> int:
    """Bytes of a file or of the files in a folder; 0 where nothing is, which its reader reports."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size if path.exists() else 0


def stamps(sources: Sequence[str]) -> list[tuple[str, int, int]]:
    """``(path, bytes, time of change in ns)`` of every file of the sources: what tells that a source is another now. A store
    goes by its index."""
    out = []
    for source in sources:
        folder = store_folder(source)
        path = folder / "index.json" if folder is not None else Path(source)
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.exists():
                stat = file.stat()
                out.append((str(file), stat.st_size, stat.st_mtime_ns))
    return out
