"""DeePMD-kit systems: a folder with ``type.raw``, ``type_map.raw`` and ``set.*/coord.npy``, ``box.npy``, ``energy.npy``, ...

Units are DeePMD's own: angstrom, eV, eV/angstrom; ``virial.npy`` in eV is positive under compression, and becomes the stress
``-virial / volume``. A folder with ``nopbc`` (or without boxes) holds molecules. The mixed type of several compositions in one
system (``real_atom_types.npy``, padded with -1) is understood. Every ``set.*`` is read, in order; a folder of systems gives all.

Reference: https://docs.deepmodeling.com/projects/deepmd/en/stable/data/system.html.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance

from .conventions import assumed
from .frames import Layout, read_frames
from .labels import logger
from .options import Outcomes, ReadOptions
from .parsing import atomic_number, parsed
from .text import read_text

_NAMES = {
    "energy": "energy",
    "force": "forces",
    "virial": "stress",
    "dipole": "dipole",
    "polarizability": "polarizability",
}
_ROWS = {"force": 3, "atomic_dipole": 3}


def is_deepmd(path: Path) -> bool:
    """Whether the folder is a system, or holds systems one level below."""
    return bool(systems_of(path))


def systems_of(path: Path) -> list[Path]:
    """The folders of systems in ``path``: itself, or those directly below it."""
    if (path / "type.raw").is_file():
        return [path]
    return sorted(p.parent for p in path.glob("*/type.raw"))


def read_deepmd(path: Path, options: ReadOptions) -> Outcomes:
    """All frames of the systems in a folder."""
    for system in systems_of(path):
        yield from _read_system(system, options)


def _read_system(path: Path, options: ReadOptions) -> Outcomes:
    types = _types(path)
    elements = _elements(path, types)
    sets = sorted(p for p in path.glob("set.*") if p.is_dir())
    if not sets:
        raise InputError("has type.raw but no set.000, expected at least one set of frames", str(path))
    count = 0
    said: ReadOptions | None = None
    for folder in sets:
        arrays = {p.stem: _load(p) for p in sorted(folder.glob("*.npy"))}
        frames = _frames(arrays, elements, types, path, folder)
        if said is None:
            keys = {ours: key for key, ours in _NAMES.items() if key in arrays}
            said = assumed(
                options,
                path,
                {"stress": "virial"} if "virial" in arrays else {},
                "DeePMD-kit's convention",
                keys,
            )
            others = sorted(set(arrays) - {"coord", "box", "real_atom_types", *_NAMES})
            if others:
                logger.info(
                    "%s: arrays not read: %s; name those to be read with --target", path, ", ".join(others)
                )
        layout = Layout("coord", "numbers", "box" if "box" in frames else None, None)
        for outcome in read_frames(frames, layout, said, folder, first=count):
            count += 1
            yield outcome


def _frames(
    arrays: dict[str, np.ndarray], elements: np.ndarray, types: np.ndarray, path: Path, folder: Path
) -> dict[str, Any]:
    """Arrays of one set, with frames first and atoms second."""
    if "coord" not in arrays:
        raise InputError("has no coord.npy, expected the positions of the set", str(folder))
    atoms = len(types)
    coord = arrays["coord"]
    if coord.ndim < 2 or coord.size != len(coord) * atoms * 3 or not len(coord):
        raise InputError(
            f"has shape {list(coord.shape)}, expected [frames, {atoms * 3}] for the {atoms} atoms of type.raw",
            str(folder / "coord.npy"),
        )
    count = len(coord)
    frames: dict[str, Any] = {"coord": coord.reshape(count, atoms, 3), "numbers": elements[types]}
    if "real_atom_types" in arrays:
        real = arrays["real_atom_types"]
        if real.shape != (count, atoms) or real.max() >= len(elements):
            raise InputError(
                f"has shape {list(real.shape)} and types up to {real.max()}, expected {[count, atoms]} and below {len(elements)}",
                str(folder / "real_atom_types.npy"),
            )
        frames["numbers"] = np.where(real < 0, 0, elements[real.astype(np.int64)])
    for name, array in arrays.items():
        if name in ("coord", "real_atom_types") or (name == "box" and (path / "nopbc").exists()):
            continue
        if array.ndim == 0 or len(array) != count:
            raise InputError(
                f"has shape {list(array.shape)}, expected {count} rows as coord.npy has",
                str(folder / f"{name}.npy"),
            )
        width = _ROWS.get(name)
        if width and array.size != count * atoms * width:
            raise InputError(
                f"has shape {list(array.shape)}, expected {[count, atoms * width]}",
                str(folder / f"{name}.npy"),
            )
        frames[name] = array.reshape(count, atoms, width) if width else array
        if name in ("virial", "box", "polarizability"):
            if array.size != count * 9:
                raise InputError(
                    f"has shape {list(array.shape)}, expected {[count, 9]}", str(folder / f"{name}.npy")
                )
            frames[name] = array.reshape(count, 3, 3)
    return frames


def _types(path: Path) -> np.ndarray:
    file = path / "type.raw"
    words = read_text(file).split()
    try:
        types = np.array([int(w) for w in words], dtype=np.int64)
    except ValueError:
        wrong = next(w for w in words if not w.lstrip("-").isdecimal())
        raise InputError(f"has {wrong[:20]!r}, expected whole numbers", str(file)) from None
    if not len(types) or types.min() < 0:
        raise InputError("has no types, or negative ones, expected one number from 0 per atom", str(file))
    return types


def _elements(path: Path, types: np.ndarray) -> np.ndarray:
    file = path / "type_map.raw"
    if not file.is_file():
        raise InputError(
            "has no type_map.raw, so the elements are not known; write their symbols into it", str(path)
        )
    symbols = read_text(file).split()
    if types.max() >= len(symbols):
        raise InputError(
            f"names {len(symbols)} elements, expected {types.max() + 1} as type.raw says", str(file)
        )
    where = Provenance(str(file))
    used = set(types.tolist())
    dummy = 0  # a name of the map that no atom has may be anything, such as the padding of mixed types
    return np.array([atomic_number(s, i, where) if i in used or (s.isalpha() and len(s) < 3 and s != "X") else dummy
                     for i, s in enumerate(symbols)])  # fmt: skip


def _load(file: Path) -> np.ndarray:
    with parsed("is not a npy file of plain numbers, or not a whole one", str(file)):
        array: np.ndarray = np.load(file, allow_pickle=False)
    if array.dtype.kind not in "fiub":
        raise InputError(f"holds {array.dtype}, expected numbers", str(file))
    return array
