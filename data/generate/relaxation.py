"""Many crystals brought to their minima together: atoms and cell, by BFGS, one call of the potential for a step of all.

Of each crystal the variables are the positions ``p = x F^-T`` in the undeformed frame and ``n F``, the deformation of its first
cell times the number of atoms (Tadmor et al., Phys. Rev. B 59, 235 (1999)), so that both have similar stiffness. Each has its own
inverse Hessian, begun as a multiple of one; a step that raises the energy is taken back and halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .potentials import Labels, Potential, label_all

if TYPE_CHECKING:
    from ase import Atoms

LONGEST = 0.12
"""angstrom that a variable may move in a step."""
TOGETHER = 400
"""Atoms labelled in one call."""


def label_in_pieces(chosen: Potential, crystals: Sequence[Atoms]) -> list[Labels]:
    """As ``label_all``, some ``TOGETHER`` atoms at a time, so that memory stays small."""
    found: list[Labels] = []
    piece: list[Atoms] = []
    for atoms in crystals:
        if piece and sum(map(len, piece)) + len(atoms) > TOGETHER:
            found += label_all(chosen, piece)
            piece = []
        piece.append(atoms)
    return found + (label_all(chosen, piece) if piece else [])


def relax_all(
    crystals: Sequence[Atoms], chosen: Potential, steps: int = 150, tolerance: float = 1e-3
) -> list[bool]:
    """Relax atoms and cells in place. True where every component of the forces and of the virial per atom came below
    ``tolerance`` (eV/angstrom, eV) within ``steps`` calls; False also where a cell leaves half to twice its volume."""
    tasks = [_Descent(atoms, tolerance) for atoms in crystals]
    for _ in range(steps):
        open_ = [t for t in tasks if t.state == "open"]
        if not open_:
            break
        for task, labels in zip(open_, label_in_pieces(chosen, [t.atoms for t in open_]), strict=True):
            task.take(labels)
    return [t.state == "done" for t in tasks]


class _Descent:
    """One crystal on its way down. ``state``: open, done or lost."""

    def __init__(self, atoms: Atoms, tolerance: float):
        self.atoms, self.tolerance, self.state = atoms, tolerance, "open"
        self.first_cell, self.first_volume = atoms.cell.array.copy(), atoms.get_volume()
        self.point = np.concatenate([atoms.positions, len(atoms) * np.eye(3)])
        self.energy, self.gradient = np.inf, np.zeros(0)
        self.inverse = np.eye(self.point.size) / 70.0
        self.step, self.fresh = np.zeros_like(self.point), True

    def take(self, labels: Labels) -> None:
        """Labels of the present positions: accept or take back, then step."""
        n = len(self.atoms)
        forward = self.point[n:] / n
        virial = self.atoms.get_volume() * labels.stress
        if max(abs(labels.forces).max(), abs(virial).max() / n) < self.tolerance:
            self.state = "done"
            return
        gradient = np.concatenate([-labels.forces @ forward, np.linalg.solve(forward, virial).T / n])
        if not np.isfinite(labels.energy) or labels.energy > self.energy + 1e-7 * n:
            self._move(self.step / 2, self.point - self.step)
            return
        if self.gradient.size:
            self._learn(gradient - self.gradient)
        self.energy, self.gradient = labels.energy, gradient
        step = -(self.inverse @ gradient.ravel()).reshape(-1, 3)
        self._move(step * min(1.0, LONGEST / abs(step).max()), self.point)

    def _learn(self, change: np.ndarray) -> None:
        """The BFGS update of the inverse Hessian by the last step and the change of the gradient; none where the curvature
        along the step is not positive."""
        s, y = self.step.ravel(), change.ravel()
        along = float(s @ y)
        if along <= 1e-10 * float(s @ s):
            return
        if self.fresh:
            self.inverse, self.fresh = np.eye(s.size) * along / float(y @ y), False
        left = np.eye(s.size) - np.outer(s, y) / along
        self.inverse = left @ self.inverse @ left.T + np.outer(s, s) / along

    def _move(self, step: np.ndarray, start: np.ndarray) -> None:
        n = len(self.atoms)
        self.step, self.point = step, start + step
        forward = self.point[n:] / n
        if not 0.5 < np.linalg.det(forward) < 2.0 or abs(step).max() < 1e-9:
            self.state = "lost"
            return
        self.atoms.set_cell(self.first_cell @ forward.T)
        self.atoms.positions = self.point[:n] @ forward.T
