"""The names of classes that nobody declared: what stands in a column of text.

Only looked at where labels are about to be learnt; a reader of records never guesses.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from atomfield.data.errors import InputError

from .files import kind_of
from .labels import BOOLEANS, MISSING
from .text import open_text

MOST_NAMES = 50
"""More different texts are names of records, not of classes."""
LEAST_EACH = 3
"""Records that a class has on average, at least."""


def class_names(path: Path, key: str) -> dict[str, int]:
    """Name -> number of records, sorted by name, where every value of ``key`` is a text that is neither a number nor a truth
    value, of few kinds; else, and of kinds of files that hold no text, nothing. Values that are missing do not count."""
    found: Counter[str] = Counter()
    for value in _values(path, key):
        text = "" if value is None else str(value).strip()
        if text.lower() in MISSING:
            continue
        if not isinstance(value, str) or text.lower() in BOOLEANS or _is_number(text):
            return {}
        found[text] += 1
    if not 2 <= len(found) <= MOST_NAMES or found.total() < LEAST_EACH * len(found):
        return {}
    return dict(sorted(found.items()))


def _values(path: Path, key: str) -> Iterable[Any]:
    """What the records of a file have under ``key``, found without building them; a file that is broken has nothing here, and its
    reader says what is wrong."""
    try:
        yield from _found(path, key)
    except (InputError, ValueError):
        return


def _found(path: Path, key: str) -> Iterable[Any]:
    if path.is_dir():
        from .folder import files_of, table_beside

        table = table_beside(files_of(path))
        return [] if table is None else _found(table, key)
    match kind_of(path):
        case "table":
            from .table import read_rows

            return (line.cells[key] for line in read_rows(path)[0] if key in line.cells)
        case "columns":
            from .columns import column_of

            return column_of(path, key)
        case "structure_json":
            from .structure_json import plain_records

            return (record[key] for record in plain_records(path) if key in record)
        case "ase_db":
            from .ase_files import keys_of_rows

            return (keys[key] for keys in keys_of_rows(path) if key in keys)
        case "sdf":
            from .sdf import items_of

            return (items[key] for items in items_of(path) if key in items)
        case "extxyz":
            return _of_comments(path, key)
        case _:
            return ()


def _of_comments(path: Path, key: str) -> Iterable[str]:
    pair = re.compile(rf"""(?<!\S){re.escape(key)}=(?:"([^"]*)"|(\S+))""")
    with open_text(path) as file:
        for line in file:
            if (found := pair.search(line)) is not None:
                yield found.group(1) if found.group(1) is not None else found.group(2)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True
