"""Elastic constants and phonons as second differences of energies: no forces, no stress, none of the code that is being checked.

With the fourth-order stencil of five points, E'' = (-E(2h) + 16 E(h) - 30 E(0) + 16 E(-h) - E(-2h)) / 12 h^2. Elastic constants
of a cubic crystal are E'' / V with the atoms relaxed at each strain; a phonon at a wave vector q whose double is a reciprocal
lattice vector has omega^2 = E'' / sum_a m_a u_a^2, with the atoms of a supercell displaced along its eigenvector u.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ase import Atoms

TO_THZ = 15.633302
"""sqrt(eV / (angstrom^2 amu)) / 2 pi in THz."""
STRAIN = 0.005
STEP = 0.01
"""angstrom: the largest displacement of an atom at the inner points."""


def second_difference(energy: Callable[[float], float], step: float) -> float:
    """E''(0) by five points, the outer ones at twice ``step``."""
    e = {k: energy(k * step) for k in (-2, -1, 0, 1, 2)}
    return (-e[2] + 16 * e[1] - 30 * e[0] + 16 * e[-1] - e[-2]) / (12 * step**2)


def elastic_constants(
    atoms: Atoms, fmax: float = 1e-4, relax: bool = True, strain: float = STRAIN
) -> dict[str, float]:
    """``C11 C12 C44`` in GPa of a relaxed cubic crystal, axes along x, y, z. relax: the atoms within each strained cell. strain:
    of the inner points, engineering strain of a shear."""
    from ase import units
    from ase.optimize import FIRE

    def along(pattern: np.ndarray) -> float:
        def energy(size: float) -> float:
            one = atoms.copy()
            one.calc = atoms.calc
            one.set_cell(atoms.cell.array @ (np.eye(3) + size * pattern), scale_atoms=True)
            if relax and not FIRE(one, logfile=None).run(fmax=fmax, steps=2000):
                raise RuntimeError(f"the atoms did not relax to {fmax} eV/angstrom under strain")
            return float(one.get_potential_energy())

        return second_difference(energy, strain) / atoms.get_volume() / units.GPa

    one, two = along(np.diag([1.0, 0, 0])), along(np.diag([1.0, 1, 0]))
    shear = np.zeros((3, 3))
    shear[1, 2] = shear[2, 1] = 0.5
    return {"C11": one, "C12": two / 2 - one, "C44": along(shear)}


def frozen_phonons(
    engine: Any, q: tuple[float, float, float], calculator: Any, repeats: tuple[int, int, int]
) -> np.ndarray:
    """``[B]`` THz, in the order of phonopy's bands at ``q`` (of the primitive cell; 2q must be a reciprocal lattice vector),
    with energies of ``calculator`` in ``repeats`` of the unit cell of ``engine`` (a Phonopy object with force constants)."""
    from ase import Atoms

    cell = engine.unitcell
    unit = Atoms(numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
    big = unit * repeats
    reciprocal = np.linalg.inv(engine.primitive.cell).T  # rows; without 2 pi
    wave = np.asarray(q) @ reciprocal
    phase = np.exp(2j * np.pi * big.positions @ wave)
    if not np.allclose(np.exp(2j * np.pi * big.cell.array @ wave), 1, atol=1e-6):
        raise ValueError(f"q = {q} does not fit into {repeats}")
    kind = _places(engine, big)
    found = engine.run_qpoints([q], with_eigenvectors=True)
    vectors = np.asarray(found.eigenvectors[0]).T.reshape(-1, len(engine.primitive), 3)
    out = []
    for vector in vectors:
        moves = vector[kind] * phase[:, None] / np.sqrt(big.get_masses())[:, None]
        turned = [np.real(moves * np.exp(1j * angle)) for angle in (0, 0.5 * np.pi, 0.25 * np.pi)]
        move = max(turned, key=lambda m: float(np.linalg.norm(m)))
        move = move / np.linalg.norm(move, axis=1).max()
        inertia = float((big.get_masses()[:, None] * move**2).sum())

        def energy(size: float, move: np.ndarray = move) -> float:
            one = big.copy()
            one.positions += size * move
            one.calc = calculator
            return float(one.get_potential_energy())

        squared = second_difference(energy, STEP) / inertia
        out.append(float(np.sign(squared) * np.sqrt(abs(squared)) * TO_THZ))
    return np.array(out)


def _places(engine: Any, big: Atoms) -> np.ndarray:
    """Which atom of the primitive cell each atom of ``big`` is a copy of."""
    primitive = engine.primitive
    fraction = (big.positions[:, None] - primitive.positions) @ np.linalg.inv(primitive.cell)
    away = np.abs(fraction - np.round(fraction)).max(axis=2)
    if not (away.min(axis=1) < 1e-4).all():
        raise ValueError("an atom of the supercell is no copy of one of the primitive cell")
    return away.argmin(axis=1)
