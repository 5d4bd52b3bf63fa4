"""A structure whose cell relaxes along with its atoms: ASE's ``FrechetCellFilter`` without most of its cost.

The cell is A = log F, where F is the deformation of the first cell, and the force on A is the adjoint derivative of exp at A of
the gradient G by F: <G, dexp_A(E)> = <E, dexp_{A^T}(G)> (Higham, Functions of Matrices (2008), section 3.2), one derivative.
ASE takes nine and two logarithms each time that it is asked, four times a step; for a small crystal that takes longer than the
network by far. Here A is what the optimizer moves, and forces are kept until atoms or cell have moved. Forces are ASE's to
rounding; the coordinates of the cell are ASE's less a constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.filters import FrechetCellFilter
from ase.stress import full_3x3_to_voigt_6_stress
from scipy.linalg import expm, expm_frechet


class CellFilter(FrechetCellFilter):
    """hydrostatic_strain, constant_volume, scalar_pressure (eV/angstrom^3): as ASE's."""

    def __init__(
        self,
        atoms: Atoms,
        *,
        hydrostatic_strain: bool = False,
        constant_volume: bool = False,
        scalar_pressure: float = 0.0,
    ):
        super().__init__(
            atoms,
            hydrostatic_strain=hydrostatic_strain,
            constant_volume=constant_volume,
            scalar_pressure=scalar_pressure,
        )
        self._logarithm: tuple[bytes, np.ndarray] | None = None
        """The cell and its A."""
        self._kept: tuple[bytes, np.ndarray] | None = None
        """Positions and cell, and the forces there."""

    @property
    def logarithm(self) -> np.ndarray:
        """``[3, 3]`` A of the cell."""
        cell = self.atoms.cell.array.tobytes()
        if self._logarithm is None or self._logarithm[0] != cell:  # set by others
            self._logarithm = (cell, np.real(self.logm(self.deform_grad())))
        return self._logarithm[1]

    @logarithm.setter
    def logarithm(self, value: np.ndarray) -> None:
        self._logarithm = (self.atoms.cell.array.tobytes(), np.array(value))

    def get_positions(self) -> np.ndarray:
        """``[N + 3, 3]``: atoms in the first cell, and N times A."""
        undone = np.linalg.solve(self.deform_grad(), self.atoms.positions.T).T
        return np.concatenate([undone, len(undone) * self.logarithm])

    def set_positions(self, new: np.ndarray, **kwargs: Any) -> None:  # type: ignore[override]  # the bases disagree
        """Move atoms and cell to what :meth:`get_positions` gives."""
        count = len(self.atoms)
        logarithm = new[count:] / count
        deformation = expm(logarithm)
        self.atoms.set_cell(self.orig_cell @ deformation.T, scale_atoms=True)
        self.atoms.set_positions(new[:count] @ deformation.T, **kwargs)
        self.logarithm = logarithm

    def get_forces(self, **kwargs: Any) -> np.ndarray:
        """``[N + 3, 3]`` eV/angstrom, and eV per N for the cell."""
        place = self.atoms.positions.tobytes() + self.atoms.cell.array.tobytes() + repr(kwargs).encode()
        if self._kept is None or self._kept[0] != place:
            self._kept = (place, self._forces(**kwargs))
        return self._kept[1].copy()

    def _forces(self, **kwargs: Any) -> np.ndarray:
        atoms, deformation = self.atoms, self.deform_grad()
        stress = atoms.get_stress(voigt=False, **kwargs)
        virial = -atoms.get_volume() * (stress + self.scalar_pressure * np.eye(3))
        if self.hydrostatic_strain:
            virial = np.eye(3) * virial.trace() / 3
        gradient = virial @ np.linalg.inv(deformation.T)
        on_cell = expm_frechet(self.logarithm.T, gradient, compute_expm=False)
        pressing = -virial / atoms.get_volume()
        if self.constant_volume:
            on_cell -= np.eye(3) * on_cell.trace() / 3
            pressing -= np.eye(3) * pressing.trace() / 3
        self.stress = full_3x3_to_voigt_6_stress(pressing)  # what some of ASE's optimizers ask for
        return np.concatenate([atoms.get_forces(**kwargs) @ deformation, on_cell / len(atoms)])
