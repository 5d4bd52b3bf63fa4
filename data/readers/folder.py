"""A folder: structures with a table of properties, a series of meshes, or any files that have a reader."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Literal

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .files import SUFFIXES, kind_of, read_file
from .labels import logger, missing_target, warn_unread
from .options import BadRecord, Outcomes, ReadOptions
from .progress import counted
from .table import SMILES_NAMES, STRUCTURE_NAMES, Line, read_rows
from .text import plain_suffix
from .turns import taking

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


_ONE_EACH = ("structure", "extxyz", "sdf", "mol2", "macromolecule")
"""Kinds of files that may hold the one structure of a row of a table beside them."""


def read_folder(path: Path, options: ReadOptions) -> Outcomes:
    """All graphs of the files directly in ``path``, sorted by name; numbers in names count as numbers.

    A folder that is a DeePMD system, or holds such, is read as that; so is a data set that Hugging Face ``datasets`` saved.
    """
    own = _own_layout(path, options)
    if own is not None:
        yield from own
        return
    files = files_of(path)
    if not files:
        others = sorted(p.name for p in path.iterdir())
        held = f"it holds {', '.join(others[:5])}" if others else "it is empty"
        raise InputError(
            f"no file with a reader in this folder ({held}); supported: {' '.join(SUFFIXES)}", str(path)
        )
    table = table_beside(files)
    if table is not None:
        yield from _with_properties([p for p in files if kind_of(p) in _ONE_EACH], table, options)
        return
    meshes = [p for p in files if kind_of(p) == "vtk"]
    collections = [p for p in meshes if p.suffix.lower() in (".pvd", ".xdmf", ".xmf")]
    if meshes and not collections:
        from .vtk import read_vtk

        yield from read_vtk(meshes, options)
    heavy = {p.with_suffix(s) for p in collections for s in (".h5", ".hdf5")}
    for file in files:
        if file in collections or (file not in meshes and file not in heavy):
            yield from read_file(file, options)


def files_of(path: Path) -> list[Path]:
    """The files with a reader directly in the folder ``path``, sorted by name."""
    found = (
        p
        for p in path.iterdir()
        if (p.is_file() or p.suffix == ".zarr") and not p.name.startswith(".") and kind_of(p)
    )
    return sorted(found, key=_natural)


def read_together(path: Path) -> Literal["table", "series"] | None:
    """Why :func:`read_folder` does not read the files of a folder one by one: structures with a table; a series of meshes, a
    layout of its own, or nothing to read. None if it does."""
    if _own_layout(path, ReadOptions()) is not None:
        return "series"
    files = files_of(path)
    if files and table_beside(files) is not None:
        return "table"
    return "series" if not files or any(kind_of(p) == "vtk" for p in files) else None


def table_beside(files: list[Path]) -> Path | None:
    """The table of properties of the structures among ``files``, if it is that."""
    tables = [p for p in files if plain_suffix(p) in (".csv", ".tsv")]
    structures = any(kind_of(p) in _ONE_EACH for p in files)
    return tables[0] if structures and len(tables) == 1 and not _has_structures(tables[0]) else None


def _own_layout(path: Path, options: ReadOptions) -> Outcomes | None:
    """What a folder with a layout of its own holds."""
    from .deepmd import is_deepmd, read_deepmd

    if is_deepmd(path):
        return read_deepmd(path, options)
    if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
        from .columns import is_saved_dataset, read_saved_dataset

        if is_saved_dataset(path):
            return read_saved_dataset(path, options)
    return None


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path.name)]


def _has_structures(table: Path) -> bool:
    _, header = read_rows(table)
    return any(h.lower() in (*SMILES_NAMES, *STRUCTURE_NAMES) for h in header)


def _with_properties(structures: list[Path], table: Path, options: ReadOptions) -> Outcomes:
    """One graph per row of the table, whose id is the name of a file in the folder, with or without suffix. Files without a row
    are told."""
    by_name = {name: p for p in structures for name in (p.stem, p.name)}
    lines, columns, id_column = _identified(table, by_name, options)
    missing = [t for t in options.targets if options.key(t) not in columns]
    if missing:
        raise InputError(missing_target(missing, [c for c in columns if c != id_column], options), str(table))
    named = {by_name.get(line.cells[id_column]) for line in lines}
    lost = [p.name for p in structures if p not in named]
    if lost:
        logger.warning(
            "%s: %d of %d structure files have no row in %s and are not read, the first: %s",
            table.parent, len(lost), len(structures), table.name, lost[0],
        )  # fmt: skip
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
        if kind_of(file) != "structure":
            return _labelled(file, line, options)
        return graph_of_text(read_text(file), line.cells, options, Provenance(str(file), line.where.record))

    yield attempt(line.where, build)


def _labelled(file: Path, line: Line, options: ReadOptions) -> Graph:
    """The one structure of ``file`` with the labels of its row beside those that the file has itself."""
    from .atoms import id_text
    from .labels import differ, labels_of

    plain = ReadOptions(level=options.level, seed=options.seed, units=_of_geometry(options.units))
    with taking(lambda where: True):  # whose turn it is was asked for the row
        found = list(read_file(file, plain))
    if len(found) != 1:
        raise InputError(
            f"{file.name} holds {len(found)} structures, expected the one of this row", line.where
        )
    graph = found[0]
    if isinstance(graph, BadRecord):
        raise InputError(f"{file.name}: {graph.message}", line.where)
    labels = labels_of(line.cells, options, graph.num_nodes, line.where)
    for name, value in labels.quantities.items():
        if name in graph.quantities and differ(value.numpy(), graph.quantities[name].numpy()):
            raise InputError(
                f"{name!r} of {file.name} and of its row differ; take it out of one of them, or give the column another name",
                line.where,
            )
    key, group = options.map.get("id"), options.map.get("group", "")
    return replace(
        graph,
        quantities={**graph.quantities, **labels.quantities},
        properties={**graph.properties, **labels.properties},
        conditions={**graph.conditions, **labels.conditions},
        group=line.cells.get(group) or graph.group,
        provenance=Provenance(str(file), line.where.record),
        id=id_text(line.cells.get(key)) if key else "",
    )


def _of_geometry(units: dict[str, str]) -> dict[str, str]:
    return {name: unit for name, unit in units.items() if name == "positions"}


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
