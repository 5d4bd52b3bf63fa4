"""What a reader makes of one file: accepted, refused in one clear line, or at fault; and whether an independent parser agrees."""

from __future__ import annotations

import csv
import gzip
import signal
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.readers import BadRecord, ReadOptions, read
from atomfield.data.readers.files import UNFORESEEN

from .seeds import Seed

Verdict = tuple[str, str]
"""``accepted`` (with ``compared`` where another parser agreed), ``refused`` or ``unforeseen`` (with the message; the second
where a library failed as no reader expects), or ``fault`` (with what is wrong)."""


def judge(path: Path, seed: Seed) -> Verdict:
    """Read ``path`` as ``seed`` is read. Whatever is not a graph or an ``InputError`` in one line is a fault."""
    import traceback

    graphs: list[Graph] = []
    bad: list[BadRecord] = []
    options = ReadOptions(map=seed.map, targets=seed.targets, units=seed.units, on_bad="skip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            graphs = list(read(path, options, bad))
        except InputError as error:
            return _of_message(str(error), path)
        except Exception:
            return "fault", traceback.format_exc()
        for record in bad:
            verdict, why = _of_message(f"{record.where}: {record.message}", path)
            if verdict == "fault":
                return verdict, why
        try:
            with _at_most(2.0):
                return compared(path, seed, graphs)
        except TimeoutError:
            return "accepted", ""  # the other parser hangs
        except Exception:
            return "fault", "the comparison failed: " + traceback.format_exc()


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """``TimeoutError`` after so much processor time."""

    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _of_message(message: str, path: Path) -> Verdict:
    if path.name not in message:
        return "fault", f"the message does not name the file: {message!r}"
    if "\n" in message or not message.isprintable() or len(message) > 1500:
        return "fault", f"the message is not one clear line: {message!r}"
    if "MemoryError" in message:
        return "fault", f"a file of {path.stat().st_size} bytes takes all memory: {message!r}"
    if "Traceback" in message:
        return "fault", f"a traceback in the message: {message!r}"
    return ("unforeseen" if UNFORESEEN in message else "refused"), message


# ---------------------------------------------------------------------- independent parsers
def compared(path: Path, seed: Seed, graphs: list[Graph]) -> Verdict:
    """``accepted``, or a fault where a parser that shares no code with ours reads other values."""
    match path.name.split(".", 1)[-1]:
        case "extxyz" | "xyz" | "xyz.gz":
            difference = _with_ase(_xyz_frames(path), graphs)
        case "cif" | "vasp" | "POSCAR":
            difference = _same_content(_ase_frames(path, "cif" if path.suffix == ".cif" else "vasp"), graphs)
        case "csv" | "tsv":
            difference = _with_table(path, seed, graphs)
        case "npz" | "h5" | "nc":
            difference = _with_arrays(path, graphs)
        case _:
            difference = None
    if difference:
        return "fault", f"an independent parser reads something else: {difference}"
    return "accepted", "" if difference is None else "compared"


def _ase_frames(path: Path, form: str) -> list[Any] | None:
    import ase.io

    try:
        copy = path.with_name("independent.txt")
        copy.write_bytes(path.read_bytes())
        return ase.io.read(copy, index=":", format=form)  # type: ignore[return-value]
    except TimeoutError:
        raise
    except Exception:
        return None  # it refuses: nothing to compare with


def _xyz_frames(path: Path) -> list[Any] | None:
    """What ASE reads, piece by piece: it takes an empty line between two frames for the end of the file, without a word, and
    leaves out what follows. What it is given next begins behind that line."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error):
        return None
    lines = content.splitlines(keepends=True)
    piece = path.with_name("piece.xyz")
    frames: list[Any] = []
    while True:
        piece.write_bytes(b"".join(lines))
        found = _ase_frames(piece, "extxyz")
        if found is None:
            return None
        frames += found
        lines = lines[sum(len(atoms) + 2 for atoms in found) :]
        if not found or not lines or lines[0].strip():
            return frames
        while lines and not lines[0].strip():
            lines.pop(0)
        if not lines:
            return frames


def _near(a: Any, b: Any) -> bool:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-6))


def _with_ase(frames: list[Any] | None, graphs: list[Graph]) -> str | None:
    """Species, positions, cell, energy and forces of each record that both read; ``""`` if they agree."""
    if not frames:
        return None
    for graph in graphs:
        number = graph.provenance.record or 0
        if number >= len(frames):
            return f"it finds {len(frames)} records, we have number {number}"
        atoms = frames[number]
        if graph.species.tolist() != atoms.numbers.tolist():
            return f"record {number}: species {atoms.numbers.tolist()}, ours {graph.species.tolist()}"
        if not _near(graph.positions, atoms.positions):
            return f"record {number}: positions {atoms.positions.tolist()}, ours {graph.positions.tolist()}"
        if graph.pbc.any() and not _near(graph.cell[graph.pbc], atoms.cell.array[graph.pbc.numpy()]):
            return f"record {number}: cell {atoms.cell.array.tolist()}, ours {graph.cell.tolist()}"
        results = atoms.calc.results if atoms.calc is not None else {}
        for name in ("energy", "forces"):
            if (
                name in results
                and name in graph.quantities
                and not _near(graph.quantities[name], results[name])
            ):
                return f"record {number}: {name} {results[name]}, ours {graph.quantities[name].tolist()}"
    return ""


def _same_content(frames: list[Any] | None, graphs: list[Graph]) -> str | None:
    """Element counts and the volume of the cell per atom: parsers choose cells, origins and orders of their own."""
    if not frames or not graphs:
        return None
    ours, theirs = graphs[0], frames[0]
    a = np.bincount(ours.species.numpy(), minlength=120)
    b = np.bincount(np.clip(theirs.numbers, 0, 119), minlength=120)
    if b[0] or len(graphs) != len(frames):
        return None
    if not _near(a / a.sum(), b / b.sum()):
        return f"composition {theirs.get_chemical_formula()}, ours {np.flatnonzero(a).tolist()} {a[a > 0].tolist()}"
    mine, its = float(np.linalg.det(ours.cell.numpy())) / len(ours.species), theirs.cell.volume / len(theirs)
    return "" if abs(abs(mine) - its) < 1e-3 * max(abs(its), 1) else f"volume per atom {its}, ours {mine}"


def _with_table(path: Path, seed: Seed, graphs: list[Graph]) -> str | None:
    """The target of each record, by row number."""
    (target,) = seed.targets
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = list(csv.DictReader(text.splitlines(), delimiter="," if path.suffix == ".csv" else "\t"))
        rows = [r for r in rows if any(v not in ("", None) for v in r.values())]
    except Exception:
        return None
    for graph in graphs:
        number = graph.provenance.record
        if target not in graph.quantities or number is None:
            continue
        try:
            expected = float(rows[number][target])
        except (IndexError, KeyError, TypeError, ValueError):
            continue
        if not _near(graph.quantities[target], expected):
            return f"record {number}: {target} {expected}, ours {float(graph.quantities[target])}"
    return ""


def _with_arrays(path: Path, graphs: list[Graph]) -> str | None:
    """The values of arrays that have a quantity's name, as a sorted list: the axes may be laid out otherwise."""
    arrays: dict[str, np.ndarray] = {}
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        else:
            import h5py

            with h5py.File(path) as file:
                arrays = {
                    name: np.asarray(file[name]) for name in file if isinstance(file[name], h5py.Dataset)
                }
    except Exception:
        return None
    checked = None
    for name, values in arrays.items():
        held = [
            g.quantities[name].double().numpy() for g in graphs if name in g.quantities and g.world == "field"
        ]
        if not held or values.dtype.kind not in "iuf":
            continue
        ours, theirs = np.concatenate([h.reshape(-1) for h in held]), values.astype(float).reshape(-1)
        ours, theirs = np.sort(ours[ours != 0]), np.sort(theirs[theirs != 0])
        if not _near(ours, theirs):
            return f"{name} has other values ({len(theirs)} of them, ours {len(ours)})"
        checked = ""
    return checked
