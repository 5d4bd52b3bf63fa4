"""Structures that every package is timed on, as plain arrays, and the file that carries them to other environments.

Silicon: diamond, a = 5.43 angstrom, rattled by a normal deviate of 0.05 angstrom. Ethanol: copies of one molecule, each rattled
alike with its own numbers. Seeds are fixed, so that every run times the same arrays.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
from ase import Atoms
from ase.build import bulk, molecule

LADDER = (216, 1_000, 4_096, 13_824, 32_768, 99_944)
"""Atoms of the silicon cells between which the cost should grow linearly: cubes of 8-atom cells, the last 31 x 31 x 13."""
_SHAPES = {
    216: (3, 3, 3), 1_000: (5, 5, 5), 4_096: (8, 8, 8), 13_824: (12, 12, 12), 32_768: (16, 16, 16), 99_944: (31, 31, 13),
}  # fmt: skip


def silicon(atoms: int = 216) -> list[Atoms]:
    """One periodic cell of ``atoms`` silicon atoms, a number of :data:`LADDER`."""
    structure = bulk("Si", "diamond", a=5.43, cubic=True) * _SHAPES[atoms]
    structure.rattle(0.05, seed=1)
    return [structure]


def ethanol(count: int = 32) -> list[Atoms]:
    """``count`` molecules of ethanol, each in free space."""
    out = []
    for number in range(count):
        one = molecule("CH3CH2OH")
        one.rattle(0.05, seed=number)
        out.append(one)
    return out


def named(name: str) -> list[Atoms]:
    """``si216``, ``ethanol32``, or ``si`` and ``ethanol`` with another number."""
    if name.startswith("ethanol"):
        return ethanol(int(name.removeprefix("ethanol")))
    if name.startswith("si"):
        return silicon(int(name.removeprefix("si")))
    raise SystemExit(f"structure {name!r} is unknown, expected si216 (or another of {LADDER}) or ethanol32")


def write(structures: list[Atoms], path: Path) -> None:
    """As extended XYZ, which every package's environment reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, structures, format="extxyz")
