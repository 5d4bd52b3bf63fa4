"""A folder: structures with a table of properties, a series of meshes, or any files that have a reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .files import SUFFIXES, kind_of, read_file
from .labels import missing_target, warn_unread
from .options import BadRecord, Outcomes, ReadOptions
from .progress import counted
from .table import SMILES_NAMES, STRUCTURE_NAMES, Line, read_rows
from .text import plain_suffix

_ID_NAMES = (
    "id",
    "name",
    "file",
    "filename",
    "material_id",
    "mp_id",
    "jid",
    "material",
    "structure_id",
    "cif_id",
)


def read_folder(path: Path, options: ReadOptions) -> Outcomes:
    """All graphs of the files directly in ``path``, sorted by name; numbers in names count as numbers."""
    files = files_of(path)
    if not files:
        others = sorted(p.name for p in path.iterdir())
        held = f"it holds {', '.join(others[:5])}" if others else "it is empty"
        raise InputError(
            f"no file with a reader in this folder ({held}); supported: {' '.join(SUFFIXES)}", str(path)
        )
    table = _table_beside(files)
    if table is not None:
        yield from _with_properties([p for p in files if kind_of(p) == "structure"], table, options)
        return
    meshes = [p for p in files if kind_of(p) == "vtk"]
    if meshes:
        from .vtk import read_vtk

        yield from read_vtk(meshes, options)
    for file in files:
        if file not in meshes:
            yield from read_file(file, options)


def files_of(path: Path) -> list[Path]:
    """The files with a reader directly in the folder ``path``, sorted by name."""
    found = (p for p in path.iterdir() if p.is_file() and not p.name.startswith(".") and kind_of(p))
    return sorted(found, key=_natural)


def read_together(path: Path) -> Literal["table", "series"] | None:
    """Why :func:`read_folder` does not read the files of a folder one by one: structures with a table, a series of meshes, or
    nothing to read; None if it does."""
    files = files_of(path)
    if files and _table_beside(files) is not None:
        return "table"
    return "series" if not files or any(kind_of(p) == "vtk" for p in files) else None


def _table_beside(files: list[Path]) -> Path | None:
    """The table of properties of the structures among ``files``, if it is that."""
    tables = [p for p in files if plain_suffix(p) in (".csv", ".tsv")]
    structures = any(kind_of(p) == "structure" for p in files)
    return tables[0] if structures and len(tables) == 1 and not _has_structures(tables[0]) else None


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _has_structures(table: Path) -> bool:
    _, header = read_rows(table)
    return any(h.lower() in (*SMILES_NAMES, *STRUCTURE_NAMES) for h in header)


def _with_properties(structures: list[Path], table: Path, options: ReadOptions) -> Outcomes:
    """One graph per row of the table, whose id is the name of a file in the folder, with or without suffix."""
    by_name = {name: p for p in structures for name in (p.stem, p.name)}
    lines, columns, id_column = _identified(table, by_name, options)
    missing = [t for t in options.targets if options.key(t) not in columns]
    if missing:
        raise InputError(missing_target(missing, [c for c in columns if c != id_column], options), str(table))
    if not options.targets:
        warn_unread(columns, options, str(table))
    for line in counted(lines, table.name):
        name = line.cells[id_column]
        file = by_name.get(name)
        if file is None:
            yield BadRecord(line.where, f"no structure file is called {name!r} in {table.parent}")
            continue
        yield from _structures_with(file, line, options)


def _structures_with(file: Path, line: Line, options: ReadOptions) -> Outcomes:
    from .options import attempt
    from .structures import graph_of_text
    from .text import read_text

    def build() -> Graph:
        return graph_of_text(read_text(file), line.cells, options, Provenance(str(file), line.where.record))

    yield attempt(line.where, build)


def _identified(
    table: Path, by_name: dict[str, Path], options: ReadOptions
) -> tuple[list[Line], list[str], str]:
    """Rows, columns and the column of ids. A table without a header (``id,value``, as CGCNN writes it) is told by its
    first row being the id of a file; its value columns are called as the targets."""
    lines, header = read_rows(table)
    if header[0] in by_name and options.map.get("id") is None:
        if len(header) - 1 > 1 and len(options.targets) != len(header) - 1:
            raise InputError(
                f"the table has no header and {len(header) - 1} value columns; add a header", f"{table}:1"
            )
        names = [
            "id",
            *(
                list(map(options.key, options.targets))
                if len(options.targets) == len(header) - 1
                else ["property"]
            ),
        ]
        rows = [Line(Provenance(str(table), 0, 1), dict(zip(names, header, strict=True)))]
        for line in lines:
            where = Provenance(str(table), len(rows), line.where.line)
            rows.append(Line(where, dict(zip(names, line.cells.values(), strict=True))))
        return rows, names, "id"
    named = options.map.get("id")
    if named is not None:
        if named not in header:
            raise InputError(
                f"column {named!r} (for id) is not in the table; columns: {', '.join(header)}", f"{table}:1"
            )
        return lines, header, named
    for column in [*(h for h in header if h.lower() in _ID_NAMES), *header]:
        if any(line.cells[column] in by_name for line in lines):
            return lines, header, column
    raise InputError(
        f"no column holds the names of the structure files (like {next(iter(by_name))!r}); columns: {', '.join(header)}; "
        "name it with --map id=COLUMN",
        f"{table}:1",
    )
