"""The shards of a store: tables in files, each written whole and read as numpy views of its columns."""

from __future__ import annotations

import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .errors import InputError
from .graph import Graph
from .schema import Row, encode, table_of

SHARD_BYTES = 64 * 2**20
"""A shard is closed at this size, if not earlier by the number of its records."""
Form = Literal["arrow", "parquet"]


def write_shard(table: pa.Table, path: Path, form: Form) -> dict[str, Any]:
    """Write ``table`` as ``"arrow"`` or ``"parquet"``; its size and sha256."""
    sink = pa.BufferOutputStream()
    if form == "arrow":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=max(1, table.num_rows))
    else:
        text = [f.name for f in table.schema if pa.types.is_string(f.type)]
        encodings = {}
        for f in table.schema:
            if pa.types.is_large_list(f.type) and pa.types.is_floating(f.type.value_type):
                encodings[f"{f.name}.list.element"] = "BYTE_STREAM_SPLIT"
            elif pa.types.is_large_list(f.type) and f.type.value_type == pa.int32():
                encodings[f"{f.name}.list.element"] = "DELTA_BINARY_PACKED"
            elif pa.types.is_floating(f.type):
                encodings[f.name] = "BYTE_STREAM_SPLIT"
        pq.write_table(
            table,
            sink,
            compression="zstd",
            compression_level=19,
            use_dictionary=text,
            column_encoding=encodings,
            row_group_size=table.num_rows,
            write_statistics=False,
        )
    content = sink.getvalue()
    write_synced(path, content)
    return {"bytes": content.size, "sha256": hashlib.sha256(content).hexdigest()}


def write_synced(path: Path, content: bytes | pa.Buffer) -> None:
    """Write and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def check_size(path: Path, expected: int) -> None:
    """Raise ``InputError`` if the file is not there or has another size."""
    if not path.is_file():
        raise InputError("shard is missing; copy the store again or make it anew", str(path))
    if path.stat().st_size != expected:
        raise InputError(
            f"shard has {path.stat().st_size} bytes, expected {expected}; it is cut short or altered",
            str(path),
        )


def check_digest(path: Path, expected: str, content: bytes | None = None) -> None:
    """Raise ``InputError`` if the sha256 of the file, or of its ``content`` where that has been read, is another."""
    if content is None:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"sha256 is {found[:12]}..., expected {expected[:12]}...; the shard is altered", str(path)
        )


class ShardWriter:
    """Records on their way into shards ``STEM00000.arrow``, ``STEM00001.arrow``, ...: written when there are enough, so that
    memory is bounded. ``entries`` are those of the index."""

    def __init__(self, folder: Path, stem: str, form: Form, most_rows: int):
        self._folder, self._stem, self._form, self._most_rows = folder, stem, form, most_rows
        self._rows: list[Row] = []
        self._bytes = 0
        self.entries: list[dict[str, Any]] = []

    def add(self, graph: Graph) -> None:
        row = encode(graph)
        self._rows.append(row)
        self._bytes += sum(v.nbytes for v in row.values() if isinstance(v, np.ndarray))
        if len(self._rows) >= self._most_rows or self._bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is there."""
        if not self._rows:
            return
        self.write(table_of(self._rows))
        self._rows.clear()
        self._bytes = 0

    def write(self, table: pa.Table) -> None:
        """Write rows that are a table already as one shard."""
        name = f"{self._stem}{len(self.entries):05d}.{self._form}"
        written = write_shard(table, self._folder / name, self._form)
        self.entries.append({"file": name, "rows": table.num_rows, **written})


class Shard:
    """One shard with numpy views of its columns."""

    def __init__(self, path: Path, entry: dict[str, Any]):
        try:
            if path.suffix == ".arrow":
                table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            else:
                content = path.read_bytes()
                check_digest(path, entry["sha256"], content)
                table = pq.read_table(pa.BufferReader(content))
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"shard cannot be read ({error}); copy the store again", str(path)) from None
        if table.num_rows != entry["rows"]:
            raise InputError(f"shard has {table.num_rows} rows, expected {entry['rows']}", str(path))
        self.names = tuple(table.column_names)
        self.rows = table.num_rows
        self.columns = {name: Column(_one_chunk(table.column(name))) for name in self.names}
        """Name -> column."""
        self.quantities = tuple(
            dict.fromkeys((n[0], n[4:]) for n in self.names if n[:4] in ("q64/", "q32/", "n64/", "n32/"))
        )
        """``("q" or "n" for the next state, name)`` of the quantities that some row holds."""
        self.has_edges = any(n.startswith("e/") for n in self.names)
        self._held: dict[tuple[str, ...], Column | list[Column]] = {}

    def value(self, column: str, row: int) -> Any:
        found = self.columns.get(column)
        return None if found is None else found.at(row)

    def held(self, names: tuple[str, ...]) -> Column | list[Column]:
        """The columns that are there of ``names``: alone, if it is one that every row has."""
        found = self._held.get(names)
        if found is None:
            there = [self.columns[name] for name in names if name in self.columns]
            found = there[0] if len(there) == 1 and there[0].valid is None else there
            self._held[names] = found
        return found

    def numbers(self, column: str) -> np.ndarray:
        """A plain numeric column as floats or integers, NaN where null."""
        if column not in self.columns:
            return np.full(self.rows, np.nan)
        return self.columns[column].flat

    def texts(self, column: str) -> list[str]:
        return self.some_texts(column, 0, self.rows)

    def some_texts(self, column: str, start: int, stop: int) -> list[str]:
        """The texts of rows ``start`` to ``stop``; equal ones are one object."""
        if column not in self.columns:
            return [""] * (stop - start)
        held = self.columns[column]
        known = held.flat
        return [known[k] for k in held.offsets[start:stop].tolist()]

    def species_counts(self, elements: np.ndarray) -> np.ndarray:
        counts = np.zeros((self.rows, len(elements)), dtype=np.int64)
        column = self.columns.get("species")
        if column is not None and len(elements):
            place = np.zeros(256, dtype=np.int64)
            place[elements] = np.arange(len(elements))
            lengths = np.diff(column.offsets)
            keep = column.flat > 0
            record = np.repeat(np.arange(self.rows), lengths)[keep]
            bins = record * len(elements) + place[column.flat[keep]]
            counts += np.bincount(bins, minlength=counts.size).reshape(counts.shape)
        return counts

    def volumes(self) -> np.ndarray:
        """``[R]`` float64: the volume of each cell that is periodic in three directions, else 0."""
        out = np.zeros(self.rows)
        cell = self.columns.get("cell")
        if cell is not None:
            there = np.diff(cell.offsets) == 9
            out[there] = np.abs(np.linalg.det(cell.flat.reshape(-1, 3, 3)))
        return out * (self.columns["pbc"].flat == 7)

    def graph_values(self, name: str, components: int) -> np.ndarray:
        out = np.full((self.rows, components), np.nan)
        for prefix in ("q32/", "q64/"):
            column = self.columns.get(prefix + name)
            if column is not None:
                there = np.diff(column.offsets) == components
                out[there] = column.flat.reshape(-1, components)
        return out

    def holding(self, columns: tuple[str, ...]) -> np.ndarray:
        """``[R]`` bool: which rows have a value in one of the columns."""
        out = np.zeros(self.rows, dtype=bool)
        for name in columns:
            column = self.columns.get(name)
            if column is not None:
                out |= True if column.valid is None else column.valid
        return out

    def largest(self, name: str) -> np.ndarray:
        """``[R]`` float64: the largest norm among the vectors of quantity ``name`` of a row, NaN where it has none."""
        out = np.full(self.rows, np.nan)
        for prefix in ("q32/", "q64/"):
            column = self.columns.get(prefix + name)
            if column is None or not len(column.flat):
                continue
            vectors = column.flat.reshape(-1, 3)
            squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
            there = np.diff(column.offsets) > 0
            out[there] = np.sqrt(np.maximum.reduceat(squares, column.offsets[:-1][there] // 3))
        return out


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


class Column:
    """One Arrow column, as it lies in ``array``. ``flat``: the numbers of a list or plain column, the different texts of a
    column of text.
    ``offsets``: where each row of a list begins, ``[R + 1]``, or the number of each row's text, ``[R]``. ``valid [R]``: rows that
    are not null; None if none is."""

    def __init__(self, array: pa.Array):
        self.valid = None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)
        self.is_list, self.is_text = pa.types.is_large_list(array.type), pa.types.is_string(array.type)
        self.array = array

    @cached_property
    def offsets(self) -> np.ndarray:
        if self.is_text:
            return self._coded.indices.to_numpy()
        return self.array.offsets.to_numpy()

    @cached_property
    def flat(self) -> Any:
        if self.is_text:
            return self._coded.dictionary.to_pylist()
        return self.array.values.to_numpy() if self.is_list else self.array.to_numpy(zero_copy_only=False)

    @cached_property
    def _coded(self) -> pa.DictionaryArray:
        return self.array.dictionary_encode()

    def at(self, row: int) -> Any:
        """The row's list (a view), text or number; None where null."""
        if self.valid is not None and not self.valid[row]:
            return None
        if self.is_list:
            return self.flat[self.offsets[row] : self.offsets[row + 1]]
        if self.is_text:
            return self.flat[self.offsets[row]]
        return self.flat[row].item()
