"""What a simulation came to, and the checks that all of them share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

    from .recorder import Recorder


@dataclass
class Run:
    """What a simulation came to. ``columns``: name -> ``[S]`` samples, as in the CSV. ``converged``: relaxations only.

    ``steps``: those made now, without those before a restart. ``drift``: slope of the total energy in meV/atom/ps (NVE with at
    least three samples), else None. ``stopped``: why it was stopped early by :mod:`.watch`, else empty.
    """

    atoms: Atoms
    columns: dict[str, np.ndarray]
    steps: int
    seconds: float
    converged: bool | None = None
    drift: float | None = None
    stopped: str = ""
    files: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.steps / self.seconds if self.seconds > 0 else 0.0
        text = f"{self.steps} steps in {self.seconds:.1f} s ({rate:.1f} steps/s)"
        if self.converged is not None:
            found = "converged" if self.converged else "NOT converged"
            force, energy = self.columns["fmax"][-1], self.columns["energy"][-1]
            text += f"; {found}: largest force {force:.4f} eV/angstrom, energy {energy:.6f} eV"
        if self.drift is not None:
            text += f"; drift of the total energy {self.drift:+.5f} meV/atom/ps"
        return f"{text}; STOPPED: {self.stopped}" if self.stopped else text


def run_of(atoms: Atoms, recorder: Recorder, steps: int, converged: bool | None = None) -> Run:
    """The run that ``recorder`` saw."""
    columns = {name: recorder.column(name) for name in recorder.columns}
    out = recorder.output
    files = [Path(p) for p in (out.trajectory, out.log, out.restart) if p is not None]
    return Run(atoms, columns, steps, recorder.seconds, converged=converged, files=files)


# ---------------------------------------------------------------- checks
def check_atoms(atoms: Atoms) -> None:
    """At least one atom, with a calculator."""
    if atoms.calc is None:
        raise InputError("the atoms have no calculator; set atoms.calc = model.calculator() first")
    if len(atoms) == 0:
        raise InputError("there are no atoms, expected at least one")


def check_solid(atoms: Atoms, why: str) -> None:
    """Periodic in three directions; ``why`` opens the message."""
    if not atoms.pbc.all():
        raise InputError(
            f"for {why}: expected a structure that is periodic in three directions, found pbc {atoms.pbc.tolist()}"
        )


def check_molecule(atoms: Atoms, why: str) -> None:
    """Not periodic at all."""
    if atoms.pbc.any():
        raise InputError(
            f"for {why}: expected a structure that is not periodic, found pbc {atoms.pbc.tolist()}"
        )


def positive(name: str, value: float) -> None:
    """A finite number above zero."""
    if not (value > 0 and np.isfinite(value)):
        raise InputError(f"{name} is {value}, expected a positive number")


def finite(name: str, value: float) -> None:
    """A finite number."""
    if not np.isfinite(value):
        raise InputError(f"{name} is {value}, expected a finite number")


def one_of(name: str, value: str, expected: tuple[str, ...]) -> None:
    """One of the words ``expected``."""
    if value not in expected:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(expected)}")
