"""Parts of a data set from a file of official folds, which names records by their numbers or by ids of their own."""

from __future__ import annotations

import csv
import difflib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .errors import InputError
from .graph import Graph
from .partition import NAMES
from .store import Store

_MOST_COMPARED = 10_000
"""Ids of a larger source are not searched for one that is nearly what was written."""


def read_parts_file(
    path: str | Path, graphs: Sequence[Graph], by_id: str = "", *, left_out: int = 0, conformers: int = 1
) -> dict[str, list[int]]:
    """Parts from a file: JSON ``{name: [...]}``, CSV with columns ``id`` (or ``by_id``) and ``split``, or text with one entry a
    line (part ``test``, the rest ``train``). Entries are record numbers or, if the records were read with ids from the key
    ``by_id``, ids; all conformers of a row have its id.

    left_out: how many records of the source were skipped when it was read, which may be named all the same; conformers: how many
    a row may have given.

    Raises ``InputError`` for an entry that is no record or is there twice, for a record in two parts of train, valid and
    test, for an id that several records of the source have, and for numbers where these do not count the rows of the source.
    """
    path = Path(path)
    named = _entries(path, by_id)
    if not by_id and (left_out or conformers > 1):
        why = (
            f"{left_out} bad records were left out"
            if left_out
            else f"a row has up to {conformers} conformers"
        )
        raise InputError(
            f"{why}, so record numbers do not count the rows of the source; name its records by a key of theirs, --by-id KEY",
            str(path),
        )
    find = _Ids(graphs, by_id, path, left_out) if by_id else _Numbers(len(graphs), path)
    parts: dict[str, list[int]] = {}
    for name, its in named.items():
        doubled = [text for text, count in Counter(its).items() if count > 1]
        if doubled:
            raise InputError(f"entry {doubled[0]!r} is there twice in {name}, expected it once", str(path))
        parts[name] = sorted(i for entry in its for i in find(entry))
    if list(parts) == ["test"]:
        held = set(parts["test"])
        parts = {"train": [i for i in range(len(graphs)) if i not in held], **parts}
    seen: dict[int, str] = {}
    for name in NAMES:
        for i in parts.get(name, ()):
            if seen.setdefault(i, name) != name:
                called = f" ({graphs[i].id!r})" if by_id else ""
                raise InputError(
                    f"record {i}{called} is in {seen[i]} and in {name}, expected it in one part", str(path)
                )
    return parts


def _entries(path: Path, by_id: str) -> dict[str, list[str]]:
    """Name of a part -> what the file lists for it."""
    try:
        text = path.read_text(encoding="utf-8")
        match path.suffix.lower():
            case ".json":
                held = json.loads(text)
                if isinstance(held, dict):  # a sentence about the split
                    held = {name: its for name, its in held.items() if not isinstance(its, str)}
                if not isinstance(held, dict) or not all(isinstance(v, list) for v in held.values()):
                    raise InputError(
                        'expected an object of lists, {"train": [...], "test": [...]}', str(path)
                    )
                return {name: [str(one) for one in its] for name, its in held.items()}
            case ".csv":
                named: dict[str, list[str]] = {}
                for row in csv.DictReader(text.splitlines()):
                    column = by_id if by_id in row else "id"
                    if column not in row or "split" not in row:
                        wanted = f"{by_id} (or id)" if by_id not in ("", "id") else "id"
                        raise InputError(
                            f"has the columns {', '.join(map(str, row))}, expected {wanted} and split",
                            str(path),
                        )
                    named.setdefault(str(row["split"]).strip(), []).append(str(row[column]).strip())
                return named
            case _:
                return {"test": [line.strip() for line in text.splitlines() if line.strip()]}
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"cannot be read ({error})", str(path)) from None


class _Numbers:
    """Entries that are record numbers."""

    def __init__(self, count: int, path: Path):
        self.count, self.path = count, path

    def __call__(self, entry: str) -> list[int]:
        if entry.isdecimal() and int(entry) < self.count:
            return [int(entry)]
        raise InputError(
            f"entry {entry!r} is no record, expected a record number below {self.count}, or name the key of the ids with "
            "--by-id",
            str(self.path),
        )


class _Ids:
    """Entries that are ids of records. ``left_out`` of them may be of records that are not there."""

    def __init__(self, graphs: Sequence[Graph], key: str, path: Path, left_out: int):
        self.graphs, self.path, self.spare = graphs, path, left_out
        ids = graphs.columns["id"] if isinstance(graphs, Store) else [g.id for g in graphs]
        self.place: dict[str, list[int]] = {}
        for i, name in enumerate(ids):
            if name:
                self.place.setdefault(name, []).append(i)
        if not self.place:
            raise InputError(
                f"no record has the key {key!r}, expected a column or key that names each record", "--by-id"
            )

    def __call__(self, entry: str) -> list[int]:
        if entry not in self.place and self.spare:
            self.spare -= 1
            return []
        if entry not in self.place:
            known = ", ".join(map(repr, list(self.place)[:3]))
            near = (
                difflib.get_close_matches(entry, self.place, n=1) if len(self.place) <= _MOST_COMPARED else []
            )
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(
                f"entry {entry!r} is the id of no record, expected ids such as {known}{hint}", str(self.path)
            )
        its = self.place[entry]
        first, *others = (self.graphs[i].provenance for i in its)
        for other in others:
            if (other.file, other.record) != (first.file, first.record):
                raise InputError(
                    f"id {entry!r} is that of two records, {first} and {other}, expected another for each",
                    str(self.path),
                )
        return its
