"""ASE's files: databases ``.db`` (SQLite) and ``.json``, trajectories ``.traj``, and fairchem's ``.aselmdb``.

None of them is unpickled or hands code over: SQLite is opened read-only, ``.traj`` is JSON with binary arrays (the older kind of
``.traj``, which is a pickle, is refused), ``.aselmdb`` is compressed JSON.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from atomfield.data.errors import InputError, Provenance

from .ase_rows import Rows, decode_json
from .options import Outcomes, ReadOptions, attempt
from .parsing import parsed

_FLOATS = (
    "positions",
    "cell",
    "initial_magmoms",
    "initial_charges",
    "forces",
    "stress",
    "dipole",
    "magmoms",
    "charges",
)
_PLAIN = ("energy", "free_energy", "magmom", "pbc")
_BATCH = 500


def read_ase_db(path: Path, options: ReadOptions) -> Outcomes:
    """All rows of an SQLite database, by their ids."""
    rows = Rows(str(path), options)
    for number, raw in enumerate(_sqlite(path)):
        where = Provenance(str(path), number)

        def build(raw: dict[str, Any] = raw, where: Provenance = where) -> Any:
            return rows.graph(_sqlite_row(raw, where), where)

        yield attempt(where, build)


def _sqlite(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise InputError("the file is empty", str(path))
    if head != b"SQLite format 3\0":
        raise InputError("is not an SQLite database, expected one that ASE wrote", str(path))
    connection = sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro", uri=True)
    try:
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        columns = [row[1] for row in connection.execute("PRAGMA table_info(systems)")]
        lacking = [c for c in ("id", "numbers", "positions", "cell", "pbc") if c not in columns]
        if lacking:
            raise InputError(
                f"has no column {lacking[0]!r} in a table 'systems', expected a database of ASE", str(path)
            )
        wanted = ["id", "numbers", *_FLOATS, *_PLAIN, "key_value_pairs", "data"]
        chosen = [c for c in dict.fromkeys(wanted) if c in columns]
        cursor = connection.execute(
            f"SELECT {', '.join(chosen)} FROM systems ORDER BY id"
        )  # names of our own list
        while batch := cursor.fetchmany(_BATCH):
            for row in batch:
                yield dict(zip(chosen, row, strict=True))
    except sqlite3.Error as error:
        raise InputError(f"cannot be read as a database ({error}); is it whole?", str(path)) from None
    finally:
        connection.close()


def keys_of_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The key-value pairs of the rows of an SQLite database, and nothing else of them."""
    for row in _sqlite(path):
        keys = decode_json(row.get("key_value_pairs") or "{}", str(path))
        yield keys if isinstance(keys, dict) else {}


def _sqlite_row(raw: dict[str, Any], where: Provenance) -> dict[str, Any]:
    """Blobs are little-endian doubles, numbers 32-bit integers; keys and data are JSON."""
    row: dict[str, Any] = {k: raw.get(k) for k in _PLAIN}
    row["numbers"] = _blob(raw["numbers"], "<i4", "numbers", where)
    for key in _FLOATS:
        row[key] = _blob(raw.get(key), "<f8", key, where)
    atoms = 0 if row["numbers"] is None else len(row["numbers"])
    for key in ("positions", "forces"):
        if row[key] is not None:
            if row[key].size != 3 * atoms:
                raise InputError(
                    f"{key} have {row[key].size} numbers, expected 3 for each of {atoms} atoms", where
                )
            row[key] = row[key].reshape(-1, 3)
    for key in ("key_value_pairs", "data"):
        row[key] = _decoded(raw.get(key), where)
    return row


def _blob(value: Any, dtype: str, key: str, where: Provenance) -> np.ndarray | None:
    if value is None or (isinstance(value, bytes) and not value):
        return None
    if not isinstance(value, bytes) or len(value) % np.dtype(dtype).itemsize:
        raise InputError(f"{key} are no array of {np.dtype(dtype).name}, expected ASE's binary form", where)
    return np.frombuffer(value, dtype)


def _decoded(value: Any, where: Provenance) -> Any:
    if value is None or value in ("", "null", b""):
        return None
    if isinstance(value, bytes):
        from ase.db.core import bytes_to_object

        with parsed("the data of the row are not ASE's", where):
            return bytes_to_object(value)
    return decode_json(str(value), where)


def read_ase_json(content: dict[str, Any], path: Path, options: ReadOptions) -> Outcomes:
    """All rows of a JSON database: ``{"1": {...}, "ids": [...], "nextid": ...}``."""
    rows = Rows(str(path), options)
    ids = [k for k in content if k.isdecimal()]
    for number, key in enumerate(sorted(ids, key=int)):
        where = Provenance(str(path), number)

        def build(row: Any = content[key], where: Provenance = where) -> Any:
            if not isinstance(row, dict):
                raise InputError(f"is {type(row).__name__}, expected a row of ASE's database", where)
            return rows.graph(row, where)

        yield attempt(where, build)


def read_traj(path: Path, options: ReadOptions) -> Outcomes:
    """All frames of a trajectory."""
    import ase.io.ulm as ulm

    with open(path, "rb") as file:
        head = file.read(24)
    if not head:
        raise InputError("the file is empty", str(path))
    if head[:8] not in (b"- of Ulm", b"AFFormat"):
        raise InputError(
            "is not a trajectory of ASE (the kind before 2015 is a pickle, which can run code; convert it to extxyz)"
            if head[:2] in (b"\x80\x02", b"PK", b"\x80\x03", b"\x80\x04") or b"PickleTraj" in head
            else "is not a trajectory of ASE; is its suffix right?",
            str(path),
        )
    with parsed("is not a whole trajectory of ASE", str(path)):
        reader = ulm.open(path, "r")
        frames = len(reader)
    rows = Rows(str(path), options)
    shared: dict[str, Any] = {}
    try:
        for number in range(frames):
            where = Provenance(str(path), number)
            yield attempt(where, partial(_traj_graph, reader, number, shared, rows, where))
    finally:
        reader.close()


def _traj_graph(reader: Any, number: int, shared: dict[str, Any], rows: Rows, where: Provenance) -> Any:
    """``pbc`` and ``numbers`` are written with the first frame, and again when they change."""
    with parsed("the frame cannot be read; is the file whole?", where):
        frame = reader[number].asdict()
        if "numbers" not in frame and not shared and number:
            shared |= reader[0].asdict()
        row = {
            k: v
            for k, v in {**shared, **frame}.items()
            if k in ("numbers", "pbc", "positions", "cell", "info")
        }
        if "numbers" in frame:
            shared |= {k: frame[k] for k in ("numbers", "pbc") if k in frame}
        row["initial_charges"], row["initial_magmoms"] = frame.get("charges"), frame.get("magmoms")
        calculator = frame.get("calculator")
        row |= {k: v for k, v in calculator.items() if k != "name"} if isinstance(calculator, dict) else {}
    return rows.graph(row, where)


def read_aselmdb(path: Path, options: ReadOptions) -> Outcomes:
    """fairchem's LMDB of ASE rows: keys are ids, values zlib-compressed JSON.

    Reference: https://fair-chem.github.io (ASE LMDB datasets). The older ``.lmdb`` of pickles is refused.
    """
    try:
        import lmdb
    except ImportError:
        raise InputError("LMDB needs lmdb: pip install 'atomfield[lmdb]'", str(path)) from None
    with parsed("is not an LMDB database that can be read", str(path)):
        environment = lmdb.open(
            str(path),
            subdir=path.is_dir(),
            readonly=True,
            lock=False,
            readahead=False,
            meminit=False,
            max_readers=1,
        )
    rows = Rows(str(path), options)
    try:
        with environment.begin() as transaction:
            ids = sorted(int(k) for k in transaction.cursor().iternext(values=False) if k.isdigit())
            deleted = _compressed(transaction.get(b"deleted_ids"), Provenance(str(path)), none=True)
            skipped = set(deleted if isinstance(deleted, list) else [])
            for number, key in enumerate(i for i in ids if i not in skipped):
                where = Provenance(str(path), number)
                raw = transaction.get(str(key).encode("ascii"))

                def build(raw: Any = raw, where: Provenance = where) -> Any:
                    row = _compressed(raw, where)
                    if not isinstance(row, dict):
                        raise InputError(f"is {type(row).__name__}, expected a row of ASE's database", where)
                    return rows.graph(row, where)

                yield attempt(where, build)
    except lmdb.Error as error:
        raise InputError(f"cannot be read as a database ({error}); is it whole?", str(path)) from None
    finally:
        environment.close()


def _compressed(raw: Any, where: Provenance, none: bool = False) -> Any:
    if raw is None and none:
        return None
    raw = bytes(raw or b"")
    if raw[:1] == b"\x80":
        raise InputError(
            "is a pickle, which can run code when opened; convert the database to .aselmdb first", where
        )
    try:
        text = zlib.decompress(raw).decode("utf-8")
    except (zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"is not compressed JSON ({error}); is the file whole?", where) from None
    return decode_json(text, where)
