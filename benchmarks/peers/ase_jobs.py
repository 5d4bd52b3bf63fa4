"""Whole steps through an ASE calculator, alike for every package: dynamics, relaxation and screening."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import FIRE

RELAX_STEPS = 10


def md_steps(atoms: int) -> int:
    """Steps in one call of ``md`` and ``model``."""
    return 10 if atoms < 20_000 else 3


def jobs_of(structures: list[Atoms], calculator: Any) -> dict[str, Callable[[], Any]]:
    """``md``: steps of velocity Verlet of the first structure at 50 K and 0.1 fs (weights are random, and must not explode).
    Where there are several: ``relax``: FIRE of each for ten steps, one after the other; ``screen``: energy and forces of each."""
    first = structures[0].copy()
    first.calc = calculator
    import numpy as np

    MaxwellBoltzmannDistribution(first, temperature_K=50, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(first, 0.1 * units.fs)
    jobs: dict[str, Callable[[], Any]] = {"md": lambda: dynamics.run(md_steps(len(first)))}
    if len(structures) == 1:
        return jobs

    def relax() -> None:
        for atoms in structures:
            one = atoms.copy()
            one.calc = calculator
            FIRE(one, logfile=None, maxstep=0.01).run(fmax=1e-12, steps=RELAX_STEPS)

    def screen() -> None:
        for atoms in structures:
            one = atoms.copy()
            one.calc = calculator
            one.get_forces()

    return {**jobs, "relax": relax, "screen": screen}
