"""Potentials whose properties are known exactly, as ASE calculators."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lj import LennardJones

EPSILON, SIGMA = 0.0103, 3.405
"""eV and angstrom, of argon."""
A6, A12 = 14.45392, 12.13188
"""Lattice sums of the face-centred cubic crystal over all atoms, in units of the nearest distance."""


def argon(cutoff: float) -> LennardJones:
    """Lennard-Jones between atoms closer than ``cutoff``, cut sharply."""
    return LennardJones(sigma=SIGMA, epsilon=EPSILON, rc=cutoff)


class Chain(Calculator):
    """Springs along x between neighbours of a row that is periodic in x, at rest at the distance of the lattice points."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, stiffness: float, length: float) -> None:
        super().__init__()
        self.stiffness, self.length = stiffness, length

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:  # type: ignore[override]
        super().calculate(atoms, properties, system_changes)
        order = np.argsort(atoms.positions[:, 0])
        u = atoms.positions[order, 0] - np.arange(len(atoms)) * self.length
        stretch = np.roll(u, -1) - u
        forces = np.zeros((len(atoms), 3))
        forces[order, 0] = self.stiffness * (stretch - np.roll(stretch, 1))
        self.results = {"energy": float(0.5 * self.stiffness * (stretch**2).sum()), "forces": forces}


class Diatomic(Calculator):
    """E = k (r - r0)^2 / 2 between two atoms that carry the charges +q and -q."""

    implemented_properties = ["energy", "forces", "dipole"]  # noqa: RUF012

    def __init__(self, stiffness: float, length: float, charge: float) -> None:
        super().__init__()
        self.stiffness, self.length, self.charge = stiffness, length, charge

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:  # type: ignore[override]
        super().calculate(atoms, properties, system_changes)
        vector = atoms.positions[1] - atoms.positions[0]
        distance = np.linalg.norm(vector)
        force = self.stiffness * (distance - self.length) * vector / distance
        self.results = {
            "energy": 0.5 * self.stiffness * (distance - self.length) ** 2,
            "forces": np.stack([force, -force]),
            "dipole": self.charge * (atoms.positions[0] - atoms.positions[1]),
        }


class DoubleWell(Calculator):
    """E = h ((x/a)^2 - 1)^2 + k (y - b (1 - (x/a)^2))^2 / 2: minima at x = +-a, a saddle of height h on a curved path."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, height: float, reach: float, stiffness: float, bend: float) -> None:
        super().__init__()
        self.height, self.reach, self.stiffness, self.bend = height, reach, stiffness, bend

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str] = all_changes) -> None:  # type: ignore[override]
        super().calculate(atoms, properties, system_changes)
        (x, y, z), a = atoms.positions[0], self.reach
        off = y - self.bend * (1 - (x / a) ** 2)
        energy = self.height * ((x / a) ** 2 - 1) ** 2 + 0.5 * self.stiffness * (off**2 + z**2)
        slope = (
            4 * self.height * ((x / a) ** 2 - 1) * x / a**2 + self.stiffness * off * 2 * self.bend * x / a**2
        )
        forces = -np.array([[slope, self.stiffness * off, self.stiffness * z]])
        self.results = {"energy": float(energy), "forces": forces}
