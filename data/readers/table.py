"""Tables: ``.csv``, ``.tsv``, ``.smi``, also gzipped, with one molecule (SMILES) or crystal (CIF or POSCAR text) a row.

The column of structures is ``--map smiles=COLUMN`` (or ``structure=COLUMN``), else one that is called so, or the only one whose
name has SMILES in it. A ``.smi`` file has
no header: the SMILES, then a name. Cells that are empty are labels that are not known.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .labels import MISSING, logger, missing_target, warn_unread
from .options import BadRecord, Outcomes, Passed, ReadOptions, attempt, refused
from .progress import counted
from .rdkit_log import silent_rdkit
from .text import open_text, plain_suffix
from .turns import mine

SMILES_NAMES = ("smiles", "canonical_smiles", "isomeric_smiles", "smile")
STRUCTURE_NAMES = ("cif", "poscar", "structure")
_LARGEST_CELL = 2**30
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_COMMA_NUMBER = re.compile(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")


class Line(NamedTuple):
    """One record of a table."""

    where: Provenance
    cells: dict[str, str]


def read_table(path: Path, options: ReadOptions) -> Outcomes:
    """All rows, in order; several conformers of one row follow each other."""
    if plain_suffix(path) in (".smi", ".smiles"):
        lines, header = read_smi(path), ["smiles", "name"]
    else:
        lines, header = read_rows(path)
    yield from read_lines(lines, header, options, path)


def read_lines(lines: list[Line], header: list[str], options: ReadOptions, path: Path) -> Outcomes:
    """All rows of any table, in order."""
    column, kind = structure_column(header, options, path)
    own = next((t for t in options.targets if options.key(t) == column), None)
    if own is not None:
        raise InputError(
            f"target {own!r} is the column of the structures, expected a column of labels: "
            f"{', '.join(h for h in header if h != column) or 'there is no other'}",
            f"{path}:1",
        )
    missing = [t for t in options.targets if options.key(t) not in header]
    if missing:
        raise InputError(missing_target(missing, [h for h in header if h != column], options), str(path))
    for role in ("id", "group"):
        named = options.map.get(role)
        if named is not None and named not in header:
            raise InputError(
                f"column {named!r} (for {role}) is not in the table; columns: {', '.join(header)}",
                f"{path}:1",
            )
    _say_unread(header, column, options, path)
    if kind != "smiles":
        from .structures import graph_of_text

        for line in counted(lines, path.name):
            yield attempt(
                line.where, partial(graph_of_text, line.cells[column], line.cells, options, line.where)
            )
        return
    yield from _embedded(lines, column, options, path)


def _say_unread(header: list[str], column: str, options: ReadOptions, path: Path) -> None:
    if options.targets:
        return
    warn_unread(header, options, str(path))
    others = [h for h in header if h != column]
    if others:
        logger.info("%s: columns %s; name those to be read with --target", path, ", ".join(others[:20]))


def read_rows(path: Path) -> tuple[list[Line], list[str]]:
    """The rows of a CSV or TSV file with a header, and the header."""
    encoding = _encoding(path)
    with open_text(path, encoding) as file:
        sample = file.readline()
        delimiter = "\t" if plain_suffix(path) == ".tsv" else _delimiter(sample)
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        lines: list[Line] = []
        header: list[str] = []
        start = 1
        usual = csv.field_size_limit(_LARGEST_CELL)  # structures of thousands of atoms stand in cells
        try:
            for cells in reader:
                first_line, start = start, reader.line_num + 1
                if not any(c.strip() for c in cells):
                    continue
                if not header:
                    header = _header(cells, path)
                    continue
                where = Provenance(str(path), len(lines), first_line)
                if len(cells) != len(header):
                    raise InputError(
                        f"row has {len(cells)} cells, expected {len(header)} as in the header", where
                    )
                lines.append(Line(where, dict(zip(header, (c.strip() for c in cells), strict=True))))
        except csv.Error as error:
            raise InputError(f"is not a table ({error})", f"{path}:{reader.line_num}") from None
        finally:
            csv.field_size_limit(usual)
    if not lines:
        raise InputError("the table has no rows" if header else "the file is empty", str(path))
    if delimiter != ",":
        _points_for_commas(lines, header, path)
    return lines, header


def _encoding(path: Path) -> str:
    """UTF-8, or that of Western Windows, in which spreadsheets write tables where it is not: then the text has no control
    characters, and it is said."""
    try:
        with open_text(path) as file:
            while file.read(2**20):
                pass
        return "utf-8-sig"
    except InputError as unreadable:
        if "UTF-8" not in unreadable.message:
            raise
        try:
            with open_text(path, "cp1252") as file:
                while text := file.read(2**20):
                    if _CONTROL.search(text):
                        raise unreadable
        except InputError:
            raise unreadable from None
    _say_encoding(path)
    return "cp1252"


@lru_cache(maxsize=1000)
def _say_encoding(path: Path) -> None:
    logger.warning("%s: is not in UTF-8, and is read as Windows-1252 (Western European)", path)


def _points_for_commas(lines: list[Line], header: list[str], path: Path) -> None:
    """Where commas do not part the cells, a column of numbers with decimal commas gets points, which is said."""
    turned = []
    for name in header:
        numbers = [line.cells[name] for line in lines if line.cells[name].lower() not in MISSING]
        if any("," in n for n in numbers) and all(map(_COMMA_NUMBER.fullmatch, numbers)):
            turned.append(name)
            for line in lines:
                line.cells[name] = line.cells[name].replace(",", ".")
    if turned:
        _say_turned(path, ", ".join(map(repr, turned)))


@lru_cache(maxsize=1000)
def _say_turned(path: Path, columns: str) -> None:
    logger.warning("%s: decimal commas in %s are read as points", path, columns)


def _header(cells: list[str], path: Path) -> list[str]:
    names = [c.strip() for c in cells]
    doubled = {n for n in names if n and names.count(n) > 1}
    if doubled:
        raise InputError(f"column {min(doubled)!r} is there twice; rename one", f"{path}:1")
    return names


def _delimiter(line: str) -> str:
    counts = {d: line.count(d) for d in (",", "\t", ";")}
    best = max(counts, key=lambda d: counts[d])
    return best if counts[best] else ","


def read_smi(path: Path) -> list[Line]:
    """Lines ``SMILES [name]`` without a header (one that says ``smiles`` is passed over); ``#`` begins a comment line."""
    lines: list[Line] = []
    with open_text(path) as file:
        for number, text in enumerate(file, start=1):
            words = text.split(maxsplit=1)
            if not words or text.startswith("#") or (number == 1 and words[0].lower() in SMILES_NAMES):
                continue
            cells = {"smiles": words[0], "name": words[1].strip() if len(words) > 1 else ""}
            lines.append(Line(Provenance(str(path), len(lines), number), cells))
    if not lines:
        raise InputError("the file has no SMILES", str(path))
    return lines


def structure_column(header: list[str], options: ReadOptions, path: Path) -> tuple[str, str]:
    for kind in ("smiles", "structure"):
        named = options.map.get(kind)
        if named is not None:
            if named not in header:
                raise InputError(
                    f"column {named!r} (for {kind}) is not in the table; columns: {', '.join(header)}",
                    f"{path}:1",
                )
            return named, kind
    for kind, names in (("smiles", SMILES_NAMES), ("structure", STRUCTURE_NAMES)):
        found = [h for h in header if h.lower() in names]
        if found:
            return min(found, key=lambda h: names.index(h.lower())), kind
    like = [h for h in header if "smiles" in h.lower()]
    if len(like) == 1:  # "Canonical SMILES", "SMILES (RDKit)"
        return like[0], "smiles"
    raise InputError(
        f"no column is called smiles, cif or poscar; columns: {', '.join(h or '(no name)' for h in header)}; "
        "name it with --map smiles=COLUMN",
        f"{path}:1",
    )


def _embedded(lines: list[Line], column: str, options: ReadOptions, path: Path) -> Outcomes:
    """Molecules are embedded by threads (RDKit lets go of Python's lock), a bounded number ahead of the reader."""
    from rdkit import Chem  # noqa: F401 (its import switches the log on, and that of the next two)
    from rdkit.Chem import rdDistGeom, rdForceFieldHelpers  # noqa: F401

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if multiprocessing.parent_process() is None else 1
    with silent_rdkit(), ThreadPoolExecutor(workers) as pool:
        ahead: list[Future[list[Graph] | BadRecord]] = []
        rows: Iterator[Line] = iter(lines)
        progress = counted(lines, f"embedding {path.name}")
        try:
            for _ in progress:
                while len(ahead) < 8 * workers and (line := next(rows, None)) is not None:
                    ahead.append(_submit(pool, line, column, options))
                outcome = ahead.pop(0).result()
                if isinstance(outcome, BadRecord):
                    yield outcome
                else:
                    yield from outcome
        finally:
            for future in ahead:
                future.cancel()


def _submit(
    pool: ThreadPoolExecutor, line: Line, column: str, options: ReadOptions
) -> Future[list[Graph] | BadRecord]:
    """Parse here, because what RDKit's parser prints can only be caught by one thread; embed there."""
    from .smiles import embed_molecule, parse_smiles

    if not mine(line.where):
        passed: Future[list[Graph] | BadRecord] = Future()
        passed.set_result(Passed(line.where, ""))
        return passed

    values: dict[str, Any] = {
        k: v for k, v in line.cells.items() if k != column or column == options.map.get("id")
    }
    group_key = options.map.get("group")
    group = line.cells.get(group_key, "") if group_key else ""

    def embed(molecule: Any) -> list[Graph] | BadRecord:
        try:
            return embed_molecule(
                molecule, options.conformers, options.seed, line.where, values, options, group
            )
        except InputError as error:
            return replace(refused(error, line.where), where=line.where)

    try:
        return pool.submit(embed, parse_smiles(line.cells[column], line.where))
    except InputError as error:
        wrong: Future[list[Graph] | BadRecord] = Future()
        wrong.set_result(BadRecord(line.where, error.message))
        return wrong
