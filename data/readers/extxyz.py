"""``.xyz`` and ``.extxyz``: frames with a comment line of ``key=value`` pairs.

Parsed here, so that an error names line and record and no key is renamed or hidden; the comment line by ASE. As in ASE,
a lattice without ``pbc`` is periodic in three directions; ``pbc="F F F"`` makes the frame a molecule.
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.quantities import VOCABULARY

from .atoms import atoms_graph
from .comment import pairs_of
from .labels import group_of, say_no_label, warn_unread
from .options import Outcomes, ReadOptions, attempt
from .parsing import is_number
from .text import open_text

_RESERVED = ("Properties", "Lattice", "pbc", "species", "pos", "Z", "numbers")
_SIX = re.compile(r'(?<!\S)(stress|virials?)="([^"]*)"')
"""Six numbers are as good as nine; ASE takes nine only."""
_QUOTED, _KEY = (
    re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|\{[^}]*\}|\[[^\]]*\]'),
    re.compile(r"(?<!\S)([^\s=\"']+)\s*="),
)
_KINDS: dict[str, Any] = {"R": np.float64, "I": np.int64, "S": str, "L": str}


def read_extxyz(path: Path, options: ReadOptions) -> Outcomes:
    """All frames of the file, in order."""
    with open_text(path) as file:
        lines = _Lines(file)
        record = 0
        warned: set[str] = set()
        while (header := lines.next_filled()) is not None:
            where = Provenance(str(path), record, lines.number)
            count = header.split()
            if len(count) != 1 or not re.fullmatch(r"\d+", count[0]):
                raise InputError(
                    f"line is {header[:40]!r}, expected the number of atoms of the next frame", where
                )
            comment = lines.next()
            rows = lines.some(int(count[0]))
            if comment is None or len(rows) < int(count[0]):
                raise InputError(f"the file ends after {len(rows)} of {count[0]} atoms; is it whole?", where)

            def build(comment: str = comment, rows: list[str] = rows, where: Provenance = where) -> Any:
                info, arrays = _parse(comment, rows, where)
                both = [k for k in arrays if k in info and k in VOCABULARY]
                if both:
                    raise InputError(
                        f"{both[0]!r} is a key of the comment line and a column of the atoms, expected one of them",
                        _below(where, 1),
                    )
                values = {
                    **{k: v for k, v in info.items() if k not in _RESERVED},
                    **{k: v for k, v in arrays.items() if k not in _RESERVED},
                }
                new = [key for key in values if key not in warned]
                if new:
                    warned.update(new)
                    read = set(values) & {"energy", "forces", "stress"}
                    warn_unread(new, options, str(path), read)
                    say_no_label(new, options, str(path), read)
                numbers = arrays["numbers"] if "numbers" in arrays else _numbers(arrays, where)
                lattice = info.get("Lattice")
                cell = None if lattice is None else _lattice(lattice, where)
                pbc = _pbc(info.get("pbc"), cell is not None, where)
                group = group_of(values, options, where)
                return atoms_graph(numbers, arrays["pos"], cell, pbc, values, options, where, group=group)

            yield attempt(where, build)
            record += 1


class _Lines:
    """Lines with their number (1-based)."""

    def __init__(self, file: TextIO):
        self.file = file
        self.number = 0

    def next(self) -> str | None:
        line = self.file.readline()
        if not line:
            return None
        self.number += 1
        return line.rstrip("\r\n")

    def some(self, count: int) -> list[str]:
        """Up to ``count`` lines, with their ends."""
        found = list(islice(self.file, min(count, sys.maxsize)))
        self.number += len(found)
        return found

    def next_filled(self) -> str | None:
        while (line := self.next()) is not None:
            if line.strip():
                return line
        return None


def _parse(comment: str, rows: list[str], where: Provenance) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    info: dict[str, Any] = {}
    _refuse_doubled(_KEY.findall(_QUOTED.sub('""', comment)), "key", _below(where, 1))
    if "=" in comment:
        six: dict[str, Any] = {}

        def aside(match: re.Match[str]) -> str:
            words = match.group(2).replace(",", " ").split()
            if len(words) != 6 or not all(map(is_number, words)):
                return match.group(0)
            six[match.group(1)] = np.array(words, dtype=np.float64)
            return ""

        try:
            info = pairs_of(_SIX.sub(aside, comment)) | six
        except (ValueError, IndexError, KeyError) as error:
            raise InputError(f"the comment line cannot be parsed ({error})", _below(where, 1)) from None
    columns = _columns(str(info.get("Properties", "species:S:1:pos:R:3")), where)
    _refuse_doubled([name for name, _, _ in columns], "column", _below(where, 1))
    width = sum(count for _, _, count in columns)
    table = [row.split() for row in rows]
    exact = "Properties" in info
    for i, words in enumerate(table):
        if len(words) < width or (exact and len(words) > width):
            raise InputError(f"atom {i} has {len(words)} columns, expected {width}", _below(where, 2 + i))
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name, kind, count in columns:
        cells = [row[start : start + count] for row in table]
        start += count
        try:
            if kind == "R":  # Python's float takes the same texts as numpy and is faster
                array = np.array([float(c) for row in cells for c in row]).reshape(len(rows), count)
            else:
                array = np.array(cells, dtype=_KINDS[kind]).reshape(len(rows), count)
        except ValueError:
            i, cell = next((i, c) for i, row in enumerate(cells) for c in row if not is_number(c))
            raise InputError(
                f"{name} of atom {i} is {cell!r}, expected a number", _below(where, 2 + i)
            ) from None
        arrays[name] = array[:, 0] if count == 1 else array
    if "pos" not in arrays or arrays["pos"].shape != (len(rows), 3):
        raise InputError("Properties have no pos:R:3, expected positions", _below(where, 1))
    bad = np.flatnonzero(~np.isfinite(arrays["pos"]).all(axis=1))
    if len(bad):
        raise InputError(
            f"position of atom {bad[0]} is {arrays['pos'][bad[0]].tolist()}, expected finite numbers",
            _below(where, 2 + int(bad[0])),
        )
    return info, arrays


def _refuse_doubled(names: list[str], what: str, where: Provenance) -> None:
    doubled = [name for name in names if names.count(name) > 1]
    if doubled:
        raise InputError(f"{what} {doubled[0]!r} is there twice, expected it once", where)


def _below(where: Provenance, lines: int) -> Provenance:
    assert where.line is not None
    return Provenance(where.file, where.record, where.line + lines)


def _columns(properties: str, where: Provenance) -> list[tuple[str, str, int]]:
    fields = properties.split(":")
    valid = len(fields) % 3 == 0 and all(
        k in _KINDS and n.isdigit() for k, n in zip(fields[1::3], fields[2::3], strict=False)
    )
    if not valid:
        raise InputError(
            f"Properties are {properties!r}, expected name:kind:count with kind R, I, S or L",
            _below(where, 1),
        )
    return [
        (name, kind, int(n)) for name, kind, n in zip(fields[::3], fields[1::3], fields[2::3], strict=True)
    ]


def _numbers(arrays: dict[str, np.ndarray], where: Provenance) -> np.ndarray:
    """Atomic numbers from ``species`` (symbols, or numbers as some codes write) or ``Z``."""
    if "Z" in arrays and "species" not in arrays:
        return arrays["Z"].astype(np.int64)
    if "species" not in arrays:
        raise InputError("Properties have neither species nor Z, expected elements", _below(where, 1))
    out = []
    for i, symbol in enumerate(arrays["species"].tolist()):
        number = _number(symbol)
        if not 1 <= number <= 118:
            raise InputError(
                f"element of atom {i} is {symbol!r}, expected a chemical symbol", _below(where, 2 + i)
            )
        out.append(number)
    return np.array(out, dtype=np.int64)


@lru_cache(maxsize=1000)
def _number(symbol: str) -> int:
    from ase.data import atomic_numbers

    if symbol.isdigit():
        return int(symbol)
    if symbol == "D":
        return 1
    return atomic_numbers.get(symbol.capitalize() if symbol.isupper() else symbol, 0)


def _lattice(value: Any, where: Provenance) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fi" or array.size not in (3, 9):
        raise InputError(f"Lattice is {str(value)[:60]!r}, expected nine numbers", _below(where, 1))
    if not np.isfinite(array).all():
        raise InputError("Lattice has entries that are not finite numbers", _below(where, 1))
    # key_val_str_to_dict returns nine numbers in Fortran order: its transpose has the lattice vectors as rows
    return np.diag(array.astype(np.float64)) if array.size == 3 else array.astype(np.float64).reshape(3, 3).T


def _pbc(value: Any, has_lattice: bool, where: Provenance) -> tuple[bool, bool, bool]:
    if value is None:
        return (has_lattice,) * 3
    array = np.asarray(value)
    if array.size == 1:
        array = np.repeat(array, 3)
    if array.size != 3 or array.dtype.kind not in "bi":
        raise InputError(f"pbc is {value!r}, expected three of T and F", _below(where, 1))
    x, y, z = (bool(p) for p in array.reshape(-1))
    return x, y, z
