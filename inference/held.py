"""Atoms that a structure file holds fixed: selective dynamics of a POSCAR, ``move_mask`` of extxyz, constraints in ASE's files.

A slab whose lowest layers are frozen is another calculation than one that is free, so what the file says is done, or refused
where it cannot be. ASE reads it; the structure itself is what our readers made of the file.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError, Provenance

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".xyz", ".extxyz", ".traj", ".vasp", ".poscar", ".json", ".db")
FREE = "all atoms have to move, and the file holds some of them fixed; free them"


def hold(atoms: Atoms, file: str | Path, record: int) -> int:
    """Put the constraints that ``file`` has for its structure ``record`` on ``atoms``; returns the number of atoms that are held,
    in all directions or in some. Raises ``InputError`` where nothing is left that could move."""
    found = constraints_of(file, record, atoms)
    if found:
        atoms.set_constraint(found)
    free = free_directions(found, len(atoms))
    if not free.any():
        raise InputError(
            "the file holds all atoms fixed, expected some that can move", Provenance(str(file), record)
        )
    return int((~free).any(axis=1).sum())


def constraints_of(file: str | Path, record: int, like: Atoms) -> list[Any]:
    """Those of ASE that fix positions, where it reads the same structure as ``like``."""
    for atoms in _read(file, record):
        if len(atoms) == len(like) and (atoms.numbers == like.numbers).all():
            return _fixing(atoms)
    return []


def free_directions(constraints: Sequence[Any], num_atoms: int) -> np.ndarray:
    """``[N, 3]`` bool: the directions (of space, or of the cell) in which atoms may move."""
    free = np.ones((num_atoms, 3), dtype=bool)
    for one in constraints:
        free[np.atleast_1d(one.get_indices())] &= ~np.broadcast_to(getattr(one, "mask", True), 3)
    return free


def refuse_held(atoms: Atoms, what: str) -> None:
    """Raises ``InputError`` where atoms are held that ``what`` has to move."""
    if atoms.constraints:
        raise InputError(f"{what}: {FREE}")


def refuse_any_held(file: str | Path, what: str) -> None:
    """As :func:`refuse_held`, of all structures in ``file``."""
    path = Path(file)
    if path.suffix.lower() in (".xyz", ".extxyz") and path.is_file() and not _mentions(path, b"move_mask"):
        return  # ASE takes a minute for 100,000 structures
    for number, atoms in enumerate(_read(file, ":")):
        if _fixing(atoms):
            raise InputError(f"{what}: {FREE}", Provenance(str(file), number))


def _mentions(path: Path, word: bytes) -> bool:
    with path.open("rb") as file:
        return any(word in line for line in file)


def _fixing(atoms: Atoms) -> list[Any]:
    from ase.constraints import FixAtoms, FixCartesian, FixScaled

    return [one for one in atoms.constraints if isinstance(one, (FixAtoms, FixCartesian, FixScaled))]


def _read(file: str | Path, index: int | str) -> Iterator[Atoms]:
    """The structures of a file of a kind that may hold atoms, as ASE reads them; none of another."""
    from ase.io import iread

    path = Path(file)
    named = path.name.upper().startswith(("POSCAR", "CONTCAR")) or path.suffix.lower() in SUFFIXES
    if not named or not path.is_file():
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from iread(path, index=index)
    except Exception:  # whatever ASE's readers raise; our own have read the file
        return
