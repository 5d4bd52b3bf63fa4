"""Vibrations of a crystal at the wave vectors of a small supercell, by central differences of forces.

The atoms of one cell are displaced in turn; translations give the rest of the force constants ``C[a, R, b]``, whose lattice sums
``D(q) = sum_R C[a, R, b] exp(-i q.R) / sqrt(m_a m_b)`` are exact at the wave vectors q that the supercell repeats, Gamma among
them. The field of a longitudinal wave at Gamma itself is left out (Ewald sums without k = 0): there polar modes are transverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .potentials import Potential
from .relaxation import label_in_pieces

if TYPE_CHECKING:
    from ase import Atoms

HEIGHT, MOST_ATOMS = 5.0, 16
"""Lattice directions less high than this (angstrom) are doubled, the lowest first, while the supercell has no more atoms: cells
of one to four atoms then reach the edge of their zone, where the highest modes of metals are, and longitudinal ones of polar
crystals."""
STEP = 0.01
"""Displacement, angstrom."""


def repeats(atoms: Atoms) -> tuple[int, int, int]:
    """How often the cell is repeated along each lattice vector, once or twice."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    times = [1, 1, 1]
    for axis in np.argsort(heights, kind="stable"):
        if heights[axis] < HEIGHT and 2 * np.prod(times) * len(atoms) <= MOST_ATOMS:
            times[axis] = 2
    return times[0], times[1], times[2]


def squared_wavenumbers(
    atoms: Atoms, chosen: Potential, times: tuple[int, int, int] | None = None
) -> np.ndarray:
    """``[q, 3 n]`` in 1/cm^2, ascending at each wave vector (the first is Gamma); negative where the crystal is unstable.

    ``times``: the supercell, :func:`repeats` by default. The three uniform translations are zero by the sum rule.
    """
    from ase import units

    times, n = times or repeats(atoms), len(atoms)
    whole = atoms.repeat(times)
    moved = []
    for atom in range(n):
        for axis in range(3):
            for sign in (1, -1):
                copy = whole.copy()
                copy.positions[atom, axis] += sign * STEP
                moved.append(copy)
    forces = np.stack([x.forces for x in label_in_pieces(chosen, moved)])
    constants = (forces[1::2] - forces[::2]) / (2 * STEP)  # [3 n, N, 3]
    constants = constants.reshape(3 * n, *times, 3 * n)
    total = constants.reshape(3 * n, -1, n, 3).sum((1, 2)).reshape(n, 3, 3)
    for atom in range(n):
        own = slice(3 * atom, 3 * atom + 3)
        constants[own, 0, 0, 0, own] -= total[atom]
    mass = np.repeat(atoms.get_masses(), 3)
    waves = np.fft.fftn(constants, axes=(1, 2, 3)).transpose(1, 2, 3, 0, 4).reshape(-1, 3 * n, 3 * n)
    dynamical = (waves + waves.conj().transpose(0, 2, 1)) / 2 / np.sqrt(np.outer(mass, mass))
    per_unit = units._e * 1e20 / units._amu / (2 * np.pi * units._c * 100) ** 2
    return np.linalg.eigvalsh(dynamical) * per_unit
