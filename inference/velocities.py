"""Velocities at a temperature, and how many degrees of freedom that temperature is shared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms


def thermalize(atoms: Atoms, temperature: float, seed: int = 0) -> None:
    """Maxwell-Boltzmann velocities at exactly ``temperature`` without drift, and without rotation where not periodic."""
    from ase import units
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary, ZeroRotation

    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=np.random.default_rng(seed))
    freedom = degrees_of_freedom(atoms, "molecule")
    if not atoms.constraints:
        Stationary(atoms, preserve_temperature=False)
        if not atoms.pbc.any() and len(atoms) > 1:
            ZeroRotation(atoms, preserve_temperature=False)
    kinetic = atoms.get_kinetic_energy()
    if kinetic > 0:
        atoms.set_momenta(atoms.get_momenta() * np.sqrt(0.5 * freedom * units.kB * temperature / kinetic))


def degrees_of_freedom(atoms: Atoms, conserved: Literal["none", "crystal", "molecule"]) -> int:
    """Of the velocities: 3N less what constraints remove, less 3 where the total momentum is conserved (``"crystal"``), less the
    rotations of an isolated molecule too (``"molecule"``: 3, of a straight one 2, only where not periodic). At least 1."""
    if atoms.constraints:
        return max(1, int(atoms.get_number_of_degrees_of_freedom()))
    count = 3 * len(atoms)
    if conserved != "none":
        count -= 3
    if conserved == "molecule" and not atoms.pbc.any():
        moments = atoms.get_moments_of_inertia()
        count -= int((moments > 1e-6 * max(float(moments.max()), 1e-12)).sum())
    return max(1, count)
