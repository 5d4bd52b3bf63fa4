"""Atoms that a structure file holds fixed: selective dynamics of a POSCAR, ``move_mask`` of extxyz, constraints in ASE's files.

A slab whose lowest layers are frozen is another calculation than one that is free, so what the file says is done, or refused
where it cannot be. ASE reads it; the structure itself is what our readers made of the file.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".xyz", ".extxyz", ".traj", ".vasp", ".poscar", ".json", ".db")


def hold(atoms: Atoms, file: str | Path, record: int) -> int:
    """Put the constraints that ``file`` has for its structure ``record`` on ``atoms``; returns the number of atoms that are held,
    in all directions or in some."""
    found = constraints_of(file, record, atoms)
    if found:
        atoms.set_constraint(found)
    return len({int(index) for one in found for index in np.atleast_1d(one.get_indices())})


def constraints_of(file: str | Path, record: int, like: Atoms) -> list[Any]:
    """Those of ASE that fix positions, where it reads the same structure as ``like``."""
    from ase.constraints import FixAtoms, FixCartesian, FixScaled
    from ase.io import read

    path = Path(file)
    named = path.name.upper().startswith(("POSCAR", "CONTCAR")) or path.suffix.lower() in SUFFIXES
    if not named or not path.is_file():
        return []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            atoms: Any = read(path, index=record)
    except Exception:  # whatever ASE's readers raise; our own have read the file
        return []
    if len(atoms) != len(like) or (atoms.numbers != like.numbers).any():
        return []
    return [one for one in atoms.constraints if isinstance(one, (FixAtoms, FixCartesian, FixScaled))]


def refuse_held(atoms: Atoms, what: str) -> None:
    """Raises ``InputError`` where atoms are held that ``what`` has to move."""
    if atoms.constraints:
        raise InputError(f"{what}: all atoms have to move, and the file holds some of them fixed; free them")
