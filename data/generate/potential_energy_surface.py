"""A potential energy surface that is walked in small steps: loose and quick, for relaxation and dynamics, never for labels.

The calculator is kept, and each self-consistency starts from the charges of the last, which is quicker than a fresh single
point.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from ase.units import Bohr, Hartree, fs, kB

from .xtb import Method, NotConverged

LOOSE = 30.0
"""tblite's accuracy, 1 by default: forces within about 1e-3 eV/angstrom."""
MOST_ITERATIONS = 80
"""Of a self-consistency; what needs more has no gap, as a rule."""
LONGEST_STEP = 0.15
"""Of one atom in one step of relaxation, angstrom."""
TIME_STEP = 1.0 * fs
FRICTION = 0.02 / fs


class PotentialEnergySurface:
    """GFN of one set of atoms with a charge and unpaired electrons (spin-polarised where there are any)."""

    def __init__(
        self, numbers: np.ndarray, positions: np.ndarray, method: Method, charge: int, unpaired: int
    ):
        from tblite.interface import Calculator

        self._calculator = Calculator(method, numbers, positions / Bohr, float(charge), int(unpaired))
        self._calculator.set("verbosity", 0)
        self._calculator.set("accuracy", LOOSE)
        self._calculator.set("max-iter", MOST_ITERATIONS)
        if unpaired:
            self._calculator.add("spin-polarization", 1.0)
        self._last: Any = None  # a Result of tblite

    def __call__(self, positions: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy in eV and forces ``[N, 3]`` in eV/angstrom. Raises :class:`NotConverged`."""
        from tblite.exceptions import TBLiteRuntimeError

        self._calculator.update(positions / Bohr)
        try:
            result = (
                self._calculator.singlepoint(self._last) if self._last else self._calculator.singlepoint()
            )
        except TBLiteRuntimeError as error:
            self._last = None
            raise NotConverged(str(error)) from error
        self._last = result
        forces = -np.asarray(result.get("gradient")) * (Hartree / Bohr)
        if not np.isfinite(forces).all():
            raise NotConverged("the result is not finite")
        return float(result.get("energy")) * Hartree, forces


def relaxed(
    surface: PotentialEnergySurface, positions: np.ndarray, hessian: np.ndarray, steps: int, calm: float = 0.1
) -> np.ndarray:
    """``[N, 3]`` after at most ``steps`` quasi-Newton steps (BFGS from ``hessian``), less where no force exceeds ``calm``.

    Raises :class:`NotConverged`.
    """
    h, x = hessian.copy(), positions.copy()
    _, forces = surface(x)
    for _ in range(steps):
        if np.linalg.norm(forces, axis=1).max() < calm:
            break
        step = np.linalg.solve(h, forces.ravel()).reshape(-1, 3)
        step *= min(1.0, LONGEST_STEP / float(np.linalg.norm(step, axis=1).max()))
        x = x + step
        _, new = surface(x)
        s, y = step.ravel(), (forces - new).ravel()
        forces = new
        hs = h @ s
        if s @ y > 0.05 * (s @ hs):  # keeps the Hessian positive definite
            h += np.outer(y, y) / (s @ y) - np.outer(hs, hs) / (s @ hs)
    return x


def trajectory(
    surface: PotentialEnergySurface,
    positions: np.ndarray,
    masses: np.ndarray,
    temperature: float,
    rng: np.random.Generator,
    stops: tuple[int, ...],
) -> Iterator[np.ndarray]:
    """``[N, 3]`` after each number of steps of 1 fs in ``stops`` (growing): Langevin dynamics, BAOAB (Leimkuhler and Matthews
    2013), velocities of ``temperature`` K at the start. masses ``[N]`` in amu. Raises :class:`NotConverged`."""
    spread = np.sqrt(kB * temperature / masses)[:, None]
    velocities = spread * rng.standard_normal(positions.shape)
    kept = np.exp(-FRICTION * TIME_STEP)
    noise = np.sqrt(1 - kept**2)
    x = positions.copy()
    _, forces = surface(x)
    for number in range(1, stops[-1] + 1):
        velocities += 0.5 * TIME_STEP * forces / masses[:, None]
        x = x + 0.5 * TIME_STEP * velocities
        velocities = kept * velocities + noise * spread * rng.standard_normal(positions.shape)
        x = x + 0.5 * TIME_STEP * velocities
        _, forces = surface(x)
        velocities += 0.5 * TIME_STEP * forces / masses[:, None]
        if number in stops:
            yield x.copy()
