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
    """One periodic cell of ``atoms`` silicon atoms, 8 a b c of them, as near to a cube as whole numbers allow."""
    shape = _SHAPES.get(atoms) or shape_of(atoms)
    structure = bulk("Si", "diamond", a=5.43, cubic=True) * shape
    structure.rattle(0.05, seed=1)
    return [structure]


def shape_of(atoms: int) -> tuple[int, int, int]:
    """a, b, c with 8 a b c = ``atoms`` and the least surface."""
    cells = atoms // 8
    found = [
        (a, b, cells // (a * b))
        for a in divisors(cells)
        for b in divisors(cells // a)
        if a <= b <= cells // (a * b)
    ]
    if atoms % 8 or not found:
        raise SystemExit(
            f"si{atoms} is no block of 8-atom cells, expected si216, si1000 or another multiple of 8"
        )
    return min(found, key=lambda abc: abc[0] * abc[1] + abc[1] * abc[2] + abc[0] * abc[2])


def divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def ethanol(count: int = 32) -> list[Atoms]:
    """``count`` molecules of ethanol, each in free space."""
    out = []
    for number in range(count):
        one = molecule("CH3CH2OH")
        one.rattle(0.05, seed=number)
        out.append(one)
    return out


def salt(atoms: int = 1000) -> list[Atoms]:
    """One periodic cube of rock salt with ``atoms`` atoms, 8 k^3 of them (1000, 8000, 21952); a = 5.64 angstrom."""
    repeats = round((atoms / 8) ** (1 / 3))
    if 8 * repeats**3 != atoms:
        raise SystemExit(
            f"nacl{atoms} is no cube of 8-atom cells, expected nacl1000, nacl8000 or another 8 k^3"
        )
    structure = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (repeats, repeats, repeats)
    structure.rattle(0.05, seed=1)
    return [structure]


def named(name: str) -> list[Atoms]:
    """``si216``, ``ethanol32``, ``nacl1000``, or the same with another number."""
    if name.startswith("ethanol"):
        return ethanol(int(name.removeprefix("ethanol")))
    if name.startswith("nacl"):
        return salt(int(name.removeprefix("nacl")))
    if name.startswith("si"):
        return silicon(int(name.removeprefix("si")))
    raise SystemExit(
        f"structure {name!r} is unknown, expected si216 (or another of {LADDER}), ethanol32 or nacl1000"
    )


def write(structures: list[Atoms], path: Path) -> None:
    """As extended XYZ, which every package's environment reads, or as ASE's binary format where the suffix is ``.traj``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ase.io.write(path, structures, format="traj" if path.suffix == ".traj" else "extxyz")
