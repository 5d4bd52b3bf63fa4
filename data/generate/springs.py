"""A molecule as a network of springs: a rough Hessian without quantum chemistry, for thermal displacements and to start
relaxation.

Bonds, pairs with a common neighbour (angles), and bonds turned (planes, torsions) have one constant each; values are those of
typical organic molecules, within a factor of two. In the spirit of model Hessians (Lindh et al., Chem. Phys. Lett. 241, 423
(1995)), but without its dependence on distance.
"""

from __future__ import annotations

import numpy as np
from ase.units import kB

from .shapes import Shape, neighbours

BOND, ANGLE, TURN, GROUND = 32.0, 5.0, 2.0, 0.3
"""eV/angstrom^2: along a bond; between atoms with a common neighbour; across a bond; each atom to its place."""


def spring_hessian(shape: Shape) -> np.ndarray:
    """``[3N, 3N]`` eV/angstrom^2, positive definite."""
    count, near = len(shape.numbers), neighbours(shape)
    blocks = np.zeros((count, count, 3, 3))
    for i, j in shape.bonds:
        _add(blocks, shape.positions, i, j, BOND, TURN)
    angles = {(a, b) for around in near for a in around for b in around if a < b and b not in near[a]}
    for a, b in sorted(angles):
        _add(blocks, shape.positions, a, b, ANGLE, 0.0)
    for i in range(count):
        blocks[i, i] += GROUND * np.eye(3)
    return blocks.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count)


def _add(blocks: np.ndarray, positions: np.ndarray, i: int, j: int, along: float, across: float) -> None:
    vector = positions[j] - positions[i]
    unit = vector / max(float(np.linalg.norm(vector)), 1e-6)
    line = np.outer(unit, unit)
    spring = along * line + across * (np.eye(3) - line)
    blocks[i, i] += spring
    blocks[j, j] += spring
    blocks[i, j] -= spring
    blocks[j, i] -= spring


def thermal_displacement(hessian: np.ndarray, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """``[N, 3]`` angstrom: one draw of the classical harmonic distribution, covariance ``kT H^-1``, at ``temperature`` K."""
    lower = np.linalg.cholesky(hessian)
    drawn = np.linalg.solve(lower.T, rng.standard_normal(len(hessian)))
    return (np.sqrt(kB * temperature) * drawn).reshape(-1, 3)
