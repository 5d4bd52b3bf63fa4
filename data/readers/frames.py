"""Many structures as arrays: positions ``[T, N, 3]`` with atomic numbers ``[N]`` or ``[T, N]``, or all atoms end to end.

The layout of MD17, ANI, SPICE and QM7 files, of DeePMD systems and of arrays that users save. Understood, by name or by ``--map
positions=KEY,numbers=KEY,cell=KEY``:

* frames: positions ``[T, N, 3]``, numbers ``[N]`` or ``[T, N]`` (0 or -1 fills up smaller structures), cell ``[3, 3]`` or
  ``[T, 3, 3]``;
* one structure: positions ``[N, 3]``, numbers ``[N]``;
* end to end: positions ``[sum N, 3]``, numbers ``[sum N]`` and ``ptr [T + 1]``, where each structure begins.

Every other array with T (or, end to end, with the sum of N) rows is a label. A label that is NaN throughout is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, NoLabelError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY

from .atoms import atoms_graph
from .labels import group_of
from .options import Outcomes, ReadOptions, attempt
from .parsing import atomic_number

POSITIONS = (
    "positions", "pos", "R", "coords", "coordinates", "conformations", "coord", "cartesian_site_positions",
)  # fmt: skip
NUMBERS = (
    "numbers",
    "atomic_numbers",
    "nuclear_charges",
    "Z",
    "z",
    "species",
    "elements",
    "species_at_sites",
)
CELLS = ("cell", "cells", "lattice", "lattices", "box", "lattice_vectors")
_PTR = ("ptr", "offsets")
_CHUNK = 256


@dataclass(frozen=True)
class Layout:
    """Which arrays are the structures: their keys in the file (``cell`` and ``ptr``: None without one)."""

    positions: str
    numbers: str
    cell: str | None
    ptr: str | None

    @property
    def keys(self) -> set[str]:
        return {k for k in (self.positions, self.numbers, self.cell, self.ptr, "pbc") if k}


def layout_of(arrays: Mapping[str, Any], options: ReadOptions) -> Layout | None:
    """The layout, or None if these are no structures. ``arrays`` need only have shapes."""
    for role in ("positions", "numbers", "cell"):
        if role in options.map and options.map[role] not in arrays:
            return None

    def pick(role: str, names: tuple[str, ...]) -> str | None:
        return options.map.get(role) or next((n for n in names if n in arrays), None)

    positions, numbers = pick("positions", POSITIONS), pick("numbers", NUMBERS)
    if positions is None or numbers is None or len(arrays[positions].shape) not in (2, 3):
        return None
    if "positions" not in options.map and arrays[positions].shape[-1] != 3:
        return None
    return Layout(positions, numbers, pick("cell", CELLS), next((n for n in _PTR if n in arrays), None))


def read_frames(
    arrays: Mapping[str, Any],
    layout: Layout,
    options: ReadOptions,
    path: Path,
    *,
    first: int = 0,
    part: str = "",
) -> Outcomes:
    """One graph per structure. ``first``: number of the first record. ``part``: the group within the file, for messages.

    Raises ``InputError`` if the shapes do not fit together.
    """
    inside = f" [{part}]" if part else ""
    frames = _Frames(arrays, layout, options, path, inside)
    for number, build in enumerate(frames):
        where = Provenance(str(path), first + number)
        yield attempt(where, partial(_build, build, where, inside and f" [{part}, frame {number}]"))


def _build(build: Any, where: Provenance, inside: str) -> Graph:
    try:
        graph: Graph = build(where)
    except NoLabelError as error:
        raise NoLabelError(error.message + inside, where, error.absent) from None
    except InputError as error:
        raise InputError(error.message + inside, where) from None
    return graph


class _Frames:
    """The structures of one set of arrays: checked as a whole, cut one by one."""

    def __init__(
        self, arrays: Mapping[str, Any], layout: Layout, options: ReadOptions, path: Path, inside: str
    ):
        self.arrays, self.layout, self.options, self.path, self.inside = arrays, layout, options, path, inside
        shape = tuple(arrays[layout.positions].shape)
        self.ptr: np.ndarray | None = None
        if layout.ptr is not None and len(shape) == 2:
            self.ptr = self._ptr(shape[0])
            self.count, self.atoms = len(self.ptr) - 1, shape[0]
        else:
            if shape[-1] != 3:
                self._refuse(f"{layout.positions!r} has shape {list(shape)}, expected [T, N, 3]")
            self.single = len(shape) == 2
            self.count, self.atoms = (1, shape[0]) if self.single else shape[:2]
        if not self.count or not self.atoms:
            self._refuse(
                f"{layout.positions!r} has shape {list(shape)}, expected at least one structure with atoms"
            )
        numbers = tuple(arrays[layout.numbers].shape)
        per_frame = (self.count, self.atoms)
        if numbers not in ((self.atoms,), per_frame, (self.atoms, 1)) or (
            self.ptr is not None and len(numbers) != 1
        ):
            self._refuse(
                f"{layout.numbers!r} has shape {list(numbers)}, expected [{self.atoms}] or {list(per_frame)} as "
                f"{layout.positions!r} say"
            )
        self.numbers_per_frame = numbers == per_frame and self.ptr is None and len(numbers) == 2
        self.fixed: np.ndarray | None = None
        if not self.numbers_per_frame:
            self.fixed = atomic_numbers_of(
                np.asarray(arrays[layout.numbers][()]).reshape(-1), Provenance(str(path)), inside
            )
        self.series, self.constants = self._labels()

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.count, _CHUNK):
            stop = min(start + _CHUNK, self.count)
            rows = {k: self._cut(k, start, stop) for k in (self.layout.positions, *self.series)}
            for i in range(stop - start):
                yield partial(self._graph, rows, i, start + i)

    def _cut(self, key: str, start: int, stop: int) -> Any:
        """Rows of the structures ``start`` to ``stop``, in memory."""
        if self.ptr is not None:
            if key == self.layout.positions or self.series.get(key) == "atoms":
                return np.asarray(self._read(key, int(self.ptr[start]), int(self.ptr[stop])))
        elif self.single and (key == self.layout.positions or self.series.get(key) != "frames"):
            return np.asarray(self._read(key, None, None))[None]
        return np.asarray(self._read(key, start, stop))

    def _read(self, key: str, start: int | None, stop: int | None) -> Any:
        try:
            return self.arrays[key][start:stop]
        except OSError as error:  # a chunk of HDF5 that is not there, or damaged
            raise InputError(
                f"{key!r}{self.inside} cannot be read ({error}); is the file whole?", str(self.path)
            ) from None

    def _graph(self, rows: dict[str, Any], i: int, number: int, where: Provenance) -> Graph:
        if self.ptr is None:
            positions = rows[self.layout.positions][i]
            values: dict[str, Any] = {k: rows[k][i] for k in self.series}
        else:
            a, b = int(self.ptr[number]), int(self.ptr[number + 1])
            base = int(self.ptr[number - i])
            positions = rows[self.layout.positions][a - base : b - base]
            values = {
                k: rows[k][a - base : b - base] if kind == "atoms" else rows[k][i]
                for k, kind in self.series.items()
            }
        kept: np.ndarray | None = None
        if self.numbers_per_frame:
            raw = np.asarray(self.arrays[self.layout.numbers][number])
            kept = _filled(raw)
            numbers = atomic_numbers_of(raw[kept], where, "")
        else:
            assert self.fixed is not None
            numbers = self.fixed if self.ptr is None else self.fixed[a:b]
        if kept is not None and not kept.all():
            positions = positions[kept]
            values = {
                k: v[kept] if _per_atom(k, v, self.atoms, self.options) else v for k, v in values.items()
            }
        cell = values.pop(self.layout.cell, None) if self.layout.cell else None
        box = None if cell is None else cell_of(cell, self.layout.cell, where)
        known = {k: known_value(v) for k, v in values.items()} | self.constants
        pbc = known.pop("pbc", None)
        periodic = (
            (box is not None,) * 3 if pbc is None else tuple(bool(p) for p in np.broadcast_to(pbc, (3,)))
        )
        group = group_of(known, self.options, where)
        return atoms_graph(numbers, positions, box, periodic, known, self.options, where, group=group)

    def _labels(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Arrays with a row per structure (``frames``) or atom (``atoms``), and numbers that hold for all structures."""
        series: dict[str, str] = {}
        constants: dict[str, Any] = {}
        for key, array in self.arrays.items():
            shape = tuple(getattr(array, "shape", ()))
            if key in (self.layout.positions, self.layout.numbers, self.layout.ptr):
                continue
            if key == "pbc" and shape in ((), (1,), (3,)):
                constants[key] = np.broadcast_to(np.asarray(array[()]), (3,))
                continue
            if key == self.layout.cell:
                if shape in ((3, 3), (9,), (3,), (1, 3, 3)) and shape[0] != self.count:
                    constants[key] = np.asarray(array[()])
                    continue
                if shape == (3, 3) and self.count == 3:
                    constants[key] = np.asarray(array[()])
                    continue
            if (
                shape
                and shape[0] == self.count
                and (self.ptr is not None or not self.single or shape == (1,))
            ):
                series[key] = "frames"
            elif self.ptr is not None and shape and shape[0] == self.atoms:
                series[key] = "atoms"
            elif self.ptr is None and self.single:
                series[key] = "one" if shape else "scalar"
            elif (shape == () or array.size == 1) and not self._wanted(key):
                value = np.asarray(array[()]).reshape(-1)[0]
                constants[key] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            elif self._wanted(key):
                self._refuse(
                    f"{key!r} has shape {list(shape)}, expected {self.count} rows as {self.layout.positions!r} has"
                )
        for key in [k for k, kind in series.items() if kind == "scalar"]:
            del series[key]
            constants[key] = np.asarray(self.arrays[key][()]).item()
        if self.layout.cell in constants:
            cell = constants.pop(self.layout.cell)
            self.arrays = {**self.arrays, self.layout.cell: np.broadcast_to(cell, (self.count, *cell.shape))}
            series[self.layout.cell] = "frames"
        return series, constants

    def _wanted(self, key: str) -> bool:
        """Whether the array is a quantity or a target, of which every structure needs its own."""
        return key in {self.options.key(n) for n in (*VOCABULARY, *self.options.targets)}

    def _ptr(self, total: int) -> np.ndarray:
        ptr = np.asarray(self.arrays[self.layout.ptr][()])  # type: ignore[index]
        if ptr.ndim != 1 or ptr.dtype.kind not in "iu" or len(ptr) < 2:
            self._refuse(
                f"{self.layout.ptr!r} has shape {list(ptr.shape)} of {ptr.dtype}, expected [T + 1] whole numbers"
            )
        ptr = ptr.astype(np.int64)
        if ptr[0] != 0 or ptr[-1] != total or (np.diff(ptr) < 0).any():
            self._refuse(
                f"{self.layout.ptr!r} goes from {ptr[0]} to {ptr[-1]}, expected to rise from 0 to {total}"
            )
        return ptr

    def _refuse(self, message: str) -> None:
        raise InputError(message + self.inside, str(self.path))


def _per_atom(key: str, value: Any, atoms: int, options: ReadOptions) -> bool:
    """Whether rows of a padded label belong to atoms: known node quantities, else by shape."""
    name = next((n for n, k in options.map.items() if k == key), key)
    if name in VOCABULARY:
        return VOCABULARY[name].support == "node"
    return bool(np.ndim(value)) and np.shape(value)[0] == atoms


def known_value(value: Any) -> Any:
    """None for a label that is NaN throughout; bytes as text."""
    array = np.asarray(value)
    if array.dtype.kind == "f" and array.size and np.isnan(array).all():
        return None
    if array.dtype.kind in "SO" and array.ndim == 0:
        item = array.item()
        return item.decode("utf-8", "replace") if isinstance(item, bytes) else item
    return array[()] if array.ndim == 0 else array


def _filled(raw: np.ndarray) -> np.ndarray:
    """Which entries are atoms and not padding."""
    if raw.dtype.kind in "SUO":
        return np.array(
            [str(x.decode() if isinstance(x, bytes) else x).strip() not in ("", "0") for x in raw]
        )
    return np.nan_to_num(raw) > 0


def atomic_numbers_of(raw: np.ndarray, where: Provenance, inside: str = "") -> np.ndarray:
    """``[N]`` from numbers or symbols. Raises ``InputError`` that names the atom."""
    if raw.dtype.kind in "SUO":
        return np.array([atomic_number(x, i, where) for i, x in enumerate(raw.tolist())], dtype=np.int64)
    if raw.dtype.kind not in "iuf":
        raise InputError(f"atomic numbers are {raw.dtype}, expected whole numbers or symbols{inside}", where)
    if raw.dtype.kind == "f" and not (np.isfinite(raw).all() and (raw == np.round(raw)).all()):
        raise InputError(f"atomic numbers are not whole numbers{inside}", where)
    numbers = raw.astype(np.int64)
    wrong = np.flatnonzero((numbers < 1) | (numbers > 118))
    if len(wrong):
        raise InputError(
            f"atomic number of atom {wrong[0]} is {numbers[wrong[0]]}, expected 1 to 118{inside}", where
        )
    return numbers


def cell_of(value: Any, key: str | None, where: Provenance) -> np.ndarray | None:
    """Rows of the cell from nine or three numbers; None where they are all NaN."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiu" or array.size not in (3, 9):
        raise InputError(f"{key!r} has shape {list(array.shape)} of {array.dtype}, expected [3, 3]", where)
    array = array.astype(np.float64)
    if np.isnan(array).all():
        return None
    return np.diag(array.reshape(3)) if array.size == 3 else array.reshape(3, 3)
