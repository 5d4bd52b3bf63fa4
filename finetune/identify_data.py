"""Tables and arrays for an identification, checked: what is missing or wrong is an ``InputError`` with its place."""

from __future__ import annotations

import csv
import difflib
import logging
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.readers.matlab import load_arrays

from .identify_config import DataConfig

logger = logging.getLogger("atomfield")


def trajectory(data: DataConfig, states: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """(times ``[T]`` from zero, states ``[T, D]`` in the order of ``states``), float64, from a table."""
    if data.file.suffix not in (".csv", ".tsv", ".txt"):
        raise InputError(
            f"found {data.file.suffix!r}, expected a table (.csv, .tsv) for a law of trajectories",
            str(data.file),
        )
    rows = _read_table(data.file)
    header = rows[0][1]
    wanted = [data.time, *(data.columns[state] for state in states)]
    place = [_place(name, header, "column", data.file) for name in wanted]
    values = []
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(f"found {len(row)} cells, expected {len(header)}", f"{data.file}:{line}")
        try:
            values.append([float(row[i]) for i in place])
        except ValueError:
            cell = next(row[i] for i in place if not _is_number(row[i]))
            raise InputError(f"found {cell!r}, expected a number", f"{data.file}:{line}") from None
    table = torch.tensor(values, dtype=torch.float64)
    if not bool(torch.isfinite(table).all()):
        bad = int((~torch.isfinite(table)).any(1).nonzero()[0])
        raise InputError("found a value that is not finite", f"{data.file}:{rows[1 + bad][0]}")
    if len(table) < 4:
        raise InputError(f"found {len(table)} rows, expected at least 4", str(data.file))
    times = table[:, 0] - table[0, 0]
    if bool((times[1:] <= times[:-1]).any()):
        bad = int((times[1:] <= times[:-1]).nonzero()[0]) + 1
        raise InputError("times must increase", f"{data.file}:{rows[1 + bad][0]}")
    return times, table[:, 1:]


def field(data: DataConfig, *, uniform: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(u ``[n, T]``, x ``[n]``, t ``[T]``), float64, from arrays; axes in either order. ``uniform``: refuse uneven spacings."""
    arrays = _read_arrays(data.file)
    names = list(arrays)
    x, t = (arrays[_named(name, names, data.file)].reshape(-1) for name in (data.x, data.time))
    u = np.squeeze(arrays[_named(data.field, names, data.file)])
    if u.shape == (len(t), len(x)) and len(t) != len(x):
        u = u.T
    if u.shape != (len(x), len(t)):
        raise InputError(
            f"{data.field!r} has shape {list(u.shape)}, expected [{len(x)}, {len(t)}] (positions, times)",
            str(data.file),
        )
    if len(x) == len(t):
        logger.warning(
            "%s: as many positions as times, so the first axis of %r is taken for positions",
            data.file,
            data.field,
        )
    out = tuple(torch.from_numpy(np.ascontiguousarray(np.real(a), dtype=np.float64)) for a in (u, x, t))
    for name, values in zip((data.field, data.x, data.time), out, strict=True):
        bad = ~torch.isfinite(values)
        if bool(bad.any()):
            place = " and ".join(str(i) for i in bad.nonzero()[0].tolist())
            axes = "position and time" if bad.dim() == 2 else "index"
            raise InputError(
                f"{name!r} has {int(bad.sum())} of {bad.numel()} values that are not finite, the first at {axes} {place} "
                "(from 0); cut them out or fill them",
                str(data.file),
            )
    if float(out[0].max()) == float(out[0].min()):
        raise InputError(
            f"{data.field!r} is {float(out[0][0, 0]):g} everywhere, expected one that changes", str(data.file)
        )
    for name, line in ((data.x, out[1]), (data.time, out[2])):
        steps = line.diff()
        if len(line) < 8:
            raise InputError(f"{name!r} has {len(line)} values, expected at least 8", str(data.file))
        if bool((steps <= 0).any()):
            back = int((steps <= 0).nonzero()[0])
            raise InputError(
                f"{name!r} goes from {float(line[back]):g} to {float(line[back + 1]):g} at index {back}, expected values "
                "that increase; sort them, and the field with them",
                str(data.file),
            )
        if uniform and not is_uniform(line):
            raise InputError(
                f"{name!r} is not uniform: steps from {float(steps.min()):g} to {float(steps.max()):g}; use method: network, "
                "which takes any points, or resample the field",
                str(data.file),
            )
    return out[0], out[1], out[2]


def is_uniform(line: Tensor) -> bool:
    """Whether the steps of ``line [n]`` are equal to a thousandth."""
    steps = line.diff()
    return float((steps - steps.mean()).abs().max()) <= 1e-3 * float(steps.mean())


def _read_table(path: Path) -> list[tuple[int, list[str]]]:
    """(line, cells) of each row that is no comment and not empty, the header first."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError("not a text file, expected a table in UTF-8", str(path)) from None
    delimiter = "\t" if path.suffix == ".tsv" else ","
    rows = [
        (number, [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter))])
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not rows:
        raise InputError("the table is empty", str(path))
    return rows


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    match path.suffix:
        case ".mat":
            return load_arrays(path)
        case ".npz":
            try:
                with np.load(path, allow_pickle=False) as file:
                    return {name: file[name] for name in file.files}
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise InputError(
                    f"is not an npz file of numbers, or not a whole one ({error})", str(path)
                ) from None
        case other:
            raise InputError(f"found {other!r}, expected arrays (.npz, .mat) for a law of fields", str(path))


def _named(name: str, names: list[str], path: Path) -> str:
    return names[_place(name, names, "array", path)]


def _place(name: str, names: Iterable[str], kind: str, path: Path) -> int:
    names = list(names)
    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names)}"
    raise InputError(f"has no {kind} {name!r}; {hint}", str(path))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
