"""``.json`` and ``.json.gz`` with structures: pymatgen's dictionaries with properties beside them.

Understood: one structure; a list of ``{"structure": ..., property: value, ...}``; Matbench's ``{"index", "columns",
"data"}``; a dictionary of columns (pandas) or of records by name; JARVIS's ``{"atoms": {"lattice_mat", "coords", "elements"}}``.
Nothing is imported by name from the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .labels import missing_target, warn_unread
from .options import Outcomes, ReadOptions, attempt
from .progress import counted
from .text import read_text

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure

_STRUCTURE_KEYS = ("structure", "atoms", "molecule", "final_structure", "initial_structure", "cif", "poscar")
Record = Mapping[str, Any]


def read_structure_json(path: Path, options: ReadOptions) -> Outcomes:
    """All records of the file, in order."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        content = _json_lines(text)
        if content is None:
            raise InputError(
                f"is not JSON ({error.msg}, column {error.colno})", Provenance(str(path), None, error.lineno)
            ) from None
    except RecursionError:
        raise InputError("is nested too deeply to be a list of structures", str(path)) from None
    if isinstance(content, dict) and isinstance(content.get("ids"), (list, dict)) and "nextid" in content:
        from .ase_files import read_ase_json
        from .ase_rows import decode_json

        yield from read_ase_json(decode_json(text, str(path)), path, options)
        return
    records = list(_records(content, path))
    if not records:
        raise InputError("the file holds no records", str(path))
    key = _structure_key(records[0], options, path)
    keys = [k for k in dict.fromkeys(k for r in records[:100] for k in r) if k != key]
    if not any(options.key(t) in keys for t in options.targets) and options.targets:
        raise InputError(missing_target(options.targets, keys, options), str(path))
    if not options.targets:
        warn_unread(keys, options, str(path))
    for number, record in enumerate(counted(records, path.name)):
        where = Provenance(str(path), number)
        yield attempt(where, partial(_graph, record, key, options, where))


def plain_records(path: Path) -> list[Record]:
    """The entries of the file as they stand; none of a database of ASE."""
    text = read_text(path)
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        content = _json_lines(text)
    return [] if isinstance(content, dict) and "nextid" in content else list(_records(content, path))


def _json_lines(text: str) -> list[Any] | None:
    """One record a line, or None if it is not that."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return None
    try:
        return [json.loads(line) for line in lines]
    except json.JSONDecodeError:
        return None


def _records(content: Any, path: Path) -> Iterator[Record]:
    match content:
        case {"index": list(index), "columns": list(columns), "data": list(data)}:
            if len(index) != len(data):
                raise InputError(
                    f"index has {len(index)} entries and data {len(data)}, expected as many", str(path)
                )
            for number, row in enumerate(data):
                if not isinstance(row, list) or len(row) != len(columns):
                    raise InputError(
                        f"row has not the {len(columns)} columns {columns}", Provenance(str(path), number)
                    )
                yield dict(zip(map(str, columns), row, strict=True))
        case list():
            for number, entry in enumerate(content):
                if not isinstance(entry, dict):
                    raise InputError(
                        f"is {type(entry).__name__}, expected an object with a structure",
                        Provenance(str(path), number),
                    )
                yield {"structure": entry} if _is_structure(entry) else entry
        case dict() if _is_structure(content):
            yield {"structure": content}
        case dict() if any(k in content for k in _STRUCTURE_KEYS):
            by_column = {k: v for k, v in content.items() if isinstance(v, dict)}
            whole = next(content[k] for k in _STRUCTURE_KEYS if k in content)
            if isinstance(whole, dict) and not _is_structure(whole):  # pandas: column -> row name -> value
                for row in whole:
                    yield {k: v.get(row) for k, v in by_column.items()}
            else:
                yield content
        case dict() if content and all(_is_text(v) for v in content.values()):
            for name, entry in content.items():
                yield {"id": name, "poscar": entry}
        case dict() if content and all(
            isinstance(v, dict) and v and all(map(_is_text, v.values())) for v in content.values()
        ):
            for split, entries in content.items():  # JARVIS-Leaderboard: split -> id -> POSCAR
                yield from ({"id": name, "split": split, "poscar": entry} for name, entry in entries.items())
        case dict() if content and all(isinstance(v, dict) for v in content.values()):
            for name, entry in content.items():
                yield {"id": name, **({"structure": entry} if _is_structure(entry) else entry)}
        case _:
            raise InputError(
                f"holds {type(content).__name__}, expected a list of objects with a structure, or index, columns, data",
                str(path),
            )


def _is_text(value: Any) -> bool:
    """Whether it may be the text of a CIF or POSCAR: several lines, also with the newlines written as two characters."""
    return isinstance(value, str) and ("\n" in value or "\\n" in value)


def _is_structure(value: Any) -> bool:
    return isinstance(value, dict) and (("sites" in value) or ("lattice_mat" in value and "coords" in value))


def _structure_key(record: Record, options: ReadOptions, path: Path) -> str:
    named = options.map.get("structure")
    if named is not None:
        if named not in record:
            raise InputError(
                f"key {named!r} (for structure) is not there; keys: {', '.join(record)}",
                Provenance(str(path), 0),
            )
        return named
    for key in (*_STRUCTURE_KEYS, *record):
        if key in record and (_is_structure(record[key]) or key in ("cif", "poscar")):
            return key
    raise InputError(
        f"no structure found; keys: {', '.join(list(record)[:20])}; name it with --map structure=KEY",
        Provenance(str(path), 0),
    )


def _graph(record: Record, key: str, options: ReadOptions, where: Provenance) -> Graph:
    from .structures import graph_of_text, structure_graph

    value = record.get(key)
    values = {k: v for k, v in record.items() if k != key and not isinstance(v, dict)}
    if isinstance(value, str):
        return graph_of_text(value, values, options, where)
    if not _is_structure(value):
        raise InputError(f"{key!r} is {type(value).__name__}, expected a structure", where)
    return structure_graph(structure_of(value, where), values, options, where)


def structure_of(value: Any, where: Provenance) -> Structure | Molecule:
    """The structure that a dictionary of pymatgen or JARVIS describes. Raises ``InputError``."""
    from pymatgen.core import Lattice, Molecule, Structure

    if not _is_structure(value):
        raise InputError(f"found {type(value).__name__}, expected a structure with sites", where)
    try:
        if "sites" in value:
            return Structure.from_dict(value) if "lattice" in value else Molecule.from_dict(value)
        return Structure(
            Lattice(value["lattice_mat"]),
            value["elements"],
            value["coords"],
            coords_are_cartesian=bool(value.get("cartesian")),
        )
    except Exception as error:  # pymatgen raises whatever a wrong dictionary runs it into
        raise InputError(
            f"the structure cannot be read: {type(error).__name__} {str(error)[:200]}", where
        ) from None
