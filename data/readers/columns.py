"""Parquet and Arrow tables, and the folders that Hugging Face ``datasets`` saves: a structure or a SMILES a row.

Columns ``positions`` (lists of three, or flat), ``numbers`` (or symbols), optionally ``cell`` and ``pbc`` under the names of
:mod:`.frames` or by ``--map``; every other column is a label. A table with a column of SMILES, CIF or POSCAR text is
read as a CSV is.

References: https://parquet.apache.org/docs, https://arrow.apache.org/docs/format/Columnar.html,
https://huggingface.co/docs/datasets/process#save (``save_to_disk``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY

from .atoms import atoms_graph
from .conventions import undeclared
from .frames import CELLS, NUMBERS, POSITIONS, atomic_numbers_of, cell_of, known_value
from .labels import group_of, missing_target, warn_unread
from .options import Outcomes, ReadOptions, attempt
from .parsing import parsed
from .table import Line, read_lines

_ROWS = 1000
Batches = Iterator[pa.RecordBatch]


def read_columns(path: Path, options: ReadOptions) -> Outcomes:
    """All rows of a Parquet or Arrow file."""
    schema, batches = _opened(path)
    yield from _read([(path, batches)], schema, options, path)


def is_saved_dataset(path: Path) -> bool:
    """Whether ``datasets`` saved the folder: one data set, or a dictionary of them."""
    return (path / "dataset_dict.json").is_file() or (
        (path / "state.json").is_file() and (path / "dataset_info.json").is_file()
    )


def read_saved_dataset(path: Path, options: ReadOptions) -> Outcomes:
    """All rows of all splits."""
    for folder in _splits(path):
        state = _json(folder / "state.json")
        files = [
            folder / str(f.get("filename", "")) for f in state.get("_data_files", []) if isinstance(f, dict)
        ]
        absent = [f for f in files if not f.is_file()]
        if absent or not files:
            raise InputError(
                f"has no {absent[0].name if absent else 'data file'}, which its state.json names", str(folder)
            )
        licence = str(_json(folder / "dataset_info.json").get("license") or "")
        opened = [(file, *_opened(file)) for file in files]
        schema = opened[0][1]
        yield from _read([(f, b) for f, _, b in opened], schema, options, folder, licence)


def column_of(path: Path, name: str) -> Iterator[Any]:
    """The values of one column of a Parquet or Arrow file; nothing where there is no such column."""
    schema, batches = _opened(path)
    if name in schema.names:
        for batch in batches:
            yield from batch.column(schema.names.index(name)).to_pylist()


def _splits(path: Path) -> list[Path]:
    if not (path / "dataset_dict.json").is_file():
        return [path]
    names = _json(path / "dataset_dict.json").get("splits")
    if not isinstance(names, list) or not names:
        raise InputError(
            "names no splits, expected those of a saved data set", str(path / "dataset_dict.json")
        )
    folders = [path / str(name) for name in names]
    absent = [f for f in folders if not (f / "state.json").is_file()]
    if absent:
        raise InputError(f"has no split {absent[0].name!r}, which its dataset_dict.json names", str(path))
    return folders


def _json(file: Path) -> dict[str, Any]:
    with parsed("is not JSON", str(file)):
        content = json.loads(file.read_text())
    if not isinstance(content, dict):
        raise InputError(f"holds {type(content).__name__}, expected an object", str(file))
    return content


def _opened(path: Path) -> tuple[pa.Schema, Batches]:
    """Schema and batches; an Arrow file may be of either kind (stream, as ``datasets`` writes, or file)."""
    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    with open(path, "rb") as file:
        head = file.read(6)
    if head[:4] == b"PAR1":
        import pyarrow.parquet as pq

        with parsed("is not a whole Parquet file", str(path)):
            parquet = pq.ParquetFile(path)
            return parquet.schema_arrow, _guarded(parquet.iter_batches(batch_size=_ROWS), path)
    if path.suffix.lower() in (".parquet", ".pq"):
        raise InputError("is not a Parquet file; is it whole?", str(path))
    with parsed("is not an Arrow file, or not a whole one", str(path)):
        source = pa.memory_map(str(path))
        if head == b"ARROW1":
            reader = pa.ipc.open_file(source)
            return reader.schema, _guarded(
                (reader.get_batch(i) for i in range(reader.num_record_batches)), path
            )
        stream = pa.ipc.open_stream(source)
        return stream.schema, _guarded(iter(stream), path)


def _guarded(batches: Batches, path: Path) -> Batches:
    while True:
        with parsed("is damaged, or not whole", str(path)):
            batch = next(batches, None)
        if batch is None:
            return
        with parsed("is damaged", str(path)):
            batch.validate(full=True)
        yield batch


def _read(
    files: list[tuple[Path, Batches]], schema: pa.Schema, options: ReadOptions, path: Path, licence: str = ""
) -> Outcomes:
    names = list(schema.names)
    doubled = {n for n in names if names.count(n) > 1}
    if doubled:
        raise InputError(f"column {min(doubled)!r} is there twice; rename one", str(path))
    positions = _pick("positions", POSITIONS, schema, options)
    numbers = _pick("numbers", NUMBERS, schema, options)
    if positions is None or numbers is None:
        lines = [line for file, batches in files for line in _lines(file, batches, licence)]
        if not lines:
            raise InputError("the table has no rows", str(path))
        plain = [f.name for f in schema if not pa.types.is_nested(f.type)]
        yield from read_lines(lines, plain, options, path)
        return
    cell = _pick("cell", CELLS, schema, options)
    used = {positions, numbers, cell, "pbc"}
    missing = [t for t in options.targets if options.key(t) not in names]
    if missing:
        raise InputError(missing_target(missing, [n for n in names if n not in used], options), str(path))
    if not options.targets:
        warn_unread([n for n in names if n not in used], options, str(path), set(names))
    trusted = {n for n, q in VOCABULARY.items() if n in q.trusted or n in options.map or n in options.targets}
    undeclared(options, [n for n in trusted if options.key(n) in names], path)
    count = 0
    for file, batches in files:
        for batch in batches:
            columns = {n: _values(batch.column(i)) for i, n in enumerate(names)}
            for i in range(batch.num_rows):
                where = Provenance(str(file), count, licence=licence)
                yield attempt(where, partial(_graph, columns, i, (positions, numbers, cell), options, where))
                count += 1
    if not count:
        raise InputError("the table has no rows", str(path))


def _pick(role: str, names: tuple[str, ...], schema: pa.Schema, options: ReadOptions) -> str | None:
    named = options.map.get(role)
    if named is not None and named not in schema.names:
        raise InputError(
            f"column {named!r} (for {role}) is not in the table; columns: {', '.join(schema.names)}"
        )
    found = (n for n in names if n in schema.names and pa.types.is_nested(schema.field(n).type))
    return named or next(found, None)


def _values(column: pa.Array) -> Callable[[int], Any]:
    """The value of a row; lists of numbers, also of equally long lists, without a Python object for each."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return lambda i: column[i].as_py()
    known = column.is_valid().to_numpy(zero_copy_only=False)
    lengths = np.where(known, column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), 0)
    ends = np.cumsum(lengths).astype(np.int64)
    flat = column.flatten()
    width: tuple[int, ...] = ()
    while pa.types.is_nested(flat.type) and not pa.types.is_struct(flat.type):
        inner = flat.value_lengths().to_numpy(zero_copy_only=False)
        if flat.null_count or len(inner) == 0 or (inner != inner[0]).any():
            return lambda i: column[i].as_py()
        width, flat = (*width, int(inner[0])), flat.flatten()
    if flat.null_count or not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
        return lambda i: column[i].as_py()
    array = flat.to_numpy(zero_copy_only=False).reshape(-1, *width)
    return lambda i: array[ends[i] - lengths[i] : ends[i]] if known[i] else None


def _graph(
    columns: Mapping[str, Callable[[int], Any]],
    i: int,
    keys: tuple[str, str, str | None],
    options: ReadOptions,
    where: Provenance,
) -> Graph:
    row = {name: value(i) for name, value in columns.items()}
    positions, numbers, cell = (None if k is None else row.pop(k) for k in keys)
    if positions is None or numbers is None:
        raise InputError(
            f"{keys[0] if positions is None else keys[1]!r} is empty, expected a structure", where
        )
    species = atomic_numbers_of(np.asarray(numbers).reshape(-1), where)
    try:
        array = np.asarray(positions, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"{keys[0]!r} is ragged or no numbers, expected three for each atom", where
        ) from None
    if array.size != 3 * len(species) or not len(species):
        raise InputError(f"{keys[0]!r} has shape {list(array.shape)}, expected [{len(species)}, 3]", where)
    box = None if cell is None else _box(cell, keys[2], where)
    if box is not None and not np.any(box):
        box = None
    pbc = row.pop("pbc", None)
    flags = np.broadcast_to(np.asarray(box is not None if pbc is None else pbc, dtype=bool).reshape(-1), (3,))
    periodic = (bool(flags[0]), bool(flags[1]), bool(flags[2]))
    values = {
        k: v if isinstance(v, (str, bool, dict)) or v is None else known_value(v) for k, v in row.items()
    }
    group = group_of(values, options, where)
    return atoms_graph(species, array.reshape(-1, 3), box, periodic, values, options, where, group=group)


def _box(cell: Any, key: str | None, where: Provenance) -> np.ndarray | None:
    try:
        array = np.asarray(cell, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{key!r} is ragged or no numbers, expected [3, 3]", where) from None
    return cell_of(array, key, where)


def _lines(file: Path, batches: Batches, licence: str) -> Iterator[Line]:
    """Rows as a table of text has them; columns of lists are left out."""
    count = 0
    for batch in batches:
        plain = [f.name for f in batch.schema if not pa.types.is_nested(f.type)]
        for row in batch.select(plain).to_pylist():
            cells = {k: "" if v is None else str(v).strip() for k, v in row.items()}
            yield Line(Provenance(str(file), count, licence=licence), cells)
            count += 1
