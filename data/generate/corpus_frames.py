"""Geometries of the pretraining corpus: relaxed, thermal, driven along bonds, angles and torsions, in contact, passing a
hydrogen on.

A worker calls :func:`labelled_sample` with one :class:`Sample`; the result depends on the sample alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt

from .distortions import bent, in_contact, packed, passed_on, stretched_bonds, turned
from .frames import GRID, Frame, sound_label
from .potential_energy_surface import PotentialEnergySurface, relaxed, trajectory
from .shapes import Shape, embed
from .species import Species
from .springs import spring_hessian, thermal_displacement
from .xtb import NotConverged

RELAX_STEPS, RELAX_STEPS_TOGETHER = 10, 8
COLD = 100.0
"""Temperature of the displacement (K) that is added to what is moved by hand."""
WARM = (300.0, 1200.0)
STOPS = (24, 40, 56, 72, 88, 104)
"""Steps of dynamics after which a frame is taken."""
BROKEN = 1.7
"""Bonds longer than so many times their length may be labelled as triplets."""


class Plan(BaseModel):
    """How many frames of each kind one sample gives, before unsound ones are dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relaxed: NonNegativeInt = 0
    """After a few steps by GFN2-xTB: 1 or 0."""
    embedded: NonNegativeInt = 0
    """As the force field (MMFF94 or UFF) left it: 1 or 0."""
    thermal: NonNegativeInt = 0
    """Displaced as springs are at 300 to 1200 K."""
    dynamics: NonNegativeInt = 0
    """Snapshots of Langevin dynamics by GFN2-xTB at 300 to 1200 K."""
    noise: NonNegativeInt = 0
    """White noise of 0.02 to 0.07 angstrom."""
    bond: NonNegativeInt = 0
    """One bond 0.8 to 2.6 times as long, those beyond 1.7 half of the time as triplets."""
    bonds: NonNegativeInt = 0
    """Two bonds at once, 0.85 to 2 times as long."""
    angle: NonNegativeInt = 0
    """One angle bent by 10 to 40 degrees."""
    torsion: NonNegativeInt = 0
    """One torsion turned to any angle."""
    contact: NonNegativeInt = 0
    """Two molecules, turned at random, at 0.65 to 3 times the van der Waals contact."""
    transfer: NonNegativeInt = 0
    """A hydrogen on its way from one molecule to another."""


class Sample(NamedTuple):
    """parts: one molecule or several. sort: its heading in the config."""

    sort: str
    parts: tuple[Species, ...]
    seed: int
    plan: Plan


class Geometry(NamedTuple):
    """kind: of the frame; unpaired: electrons, where they differ from those of the parts."""

    kind: str
    positions: np.ndarray
    unpaired: int


def labelled_sample(sample: Sample) -> tuple[list[tuple[Frame, int]], Counter[str]]:
    """Frames with their unpaired electrons, and how many were dropped, by reason."""
    dropped: Counter[str] = Counter()
    frames: list[tuple[Frame, int]] = []
    charge = sum(s.charge for s in sample.parts)
    numbers: np.ndarray | None = None
    try:
        for numbers, geometry in _geometries(sample, charge):
            positions = np.round(geometry.positions / GRID) * GRID
            reason, found = sound_label(numbers, positions, "GFN2-xTB", charge, geometry.unpaired)
            if found is None:
                dropped[reason] += 1
                if geometry.kind == "relaxed":
                    dropped["sample given up after its relaxed frame"] += 1
                    break
            else:
                frames.append((Frame(numbers, positions, found, geometry.kind), geometry.unpaired))
        if numbers is None:
            dropped["not embedded"] += 1
    except NotConverged:
        dropped["not converged on the way"] += 1
    return frames, dropped


def _geometries(sample: Sample, charge: int) -> Iterator[tuple[np.ndarray, Geometry]]:
    rng, plan = np.random.default_rng(sample.seed), sample.plan
    unpaired = sum(s.unpaired for s in sample.parts)
    if len(sample.parts) == 1:
        shape = embed(sample.parts[0], sample.seed)
        if shape is None:
            return
    else:
        shapes = [relaxed_part(species) for species in sample.parts]
        parts = [s for s in shapes if s is not None]
        if len(parts) < len(sample.parts):
            return
        if len(parts) == 2:
            both = np.concatenate([s.numbers for s in parts])
            for positions in in_contact(parts[0], parts[1], plan.contact, rng):
                yield both, Geometry("contact", positions, unpaired)
            for positions in passed_on(parts[0], parts[1], plan.transfer, rng):
                yield both, Geometry("transfer", positions, unpaired)
        if not (plan.relaxed or plan.dynamics or plan.thermal):
            return
        shape = packed(parts, rng)
    for geometry in _walked(shape, sample, charge, unpaired, rng):
        yield shape.numbers, geometry


def _walked(
    shape: Shape, sample: Sample, charge: int, unpaired: int, rng: np.random.Generator
) -> Iterator[Geometry]:
    """What begins at a relaxed geometry."""
    from ase.data import atomic_masses

    plan, numbers = sample.plan, shape.numbers
    if plan.embedded:
        yield Geometry("embedded", shape.positions, unpaired)
    surface = PotentialEnergySurface(numbers, shape.positions, "GFN2-xTB", charge, unpaired)
    hessian = spring_hessian(shape)
    steps = RELAX_STEPS if len(sample.parts) == 1 else RELAX_STEPS_TOGETHER
    shape = shape._replace(positions=relaxed(surface, shape.positions, hessian, steps))
    if plan.relaxed:
        yield Geometry("relaxed", shape.positions, unpaired)
    hessian = spring_hessian(shape)
    for _ in range(plan.thermal):
        yield Geometry("thermal", shape.positions + thermal_displacement(hessian, _warm(rng), rng), unpaired)
    for _ in range(plan.noise):
        kick = rng.uniform(0.02, 0.07)
        yield Geometry("noise", shape.positions + kick * rng.standard_normal(shape.positions.shape), unpaired)

    def cold() -> np.ndarray:
        return thermal_displacement(hessian, COLD, rng)

    if shape.bonds:
        for number in [1] * plan.bond + [2] * plan.bonds:
            positions, longest = stretched_bonds(shape, number, rng)
            triplet = unpaired == 0 and longest > BROKEN and rng.random() < 0.5
            kind = ("bond" if number == 1 else "two bonds") + (", triplet" if triplet else "")
            yield Geometry(kind, positions + cold(), 2 if triplet else unpaired)
        for _ in range(plan.angle):
            if (moved := bent(shape, rng)) is not None:
                yield Geometry("angle", moved + cold(), unpaired)
        for _ in range(plan.torsion):
            if (moved := turned(shape, rng)) is not None:
                yield Geometry("torsion", moved + cold(), unpaired)
    if plan.dynamics:
        stops = STOPS[: plan.dynamics]
        masses = atomic_masses[numbers]
        for positions in trajectory(surface, shape.positions, masses, _warm(rng), rng, stops):
            yield Geometry("dynamics", positions, unpaired)


def _warm(rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(WARM))))


@lru_cache(maxsize=4096)
def relaxed_part(species: Species) -> Shape | None:
    """One molecule to be put beside others: depends on its SMILES alone, and is kept. Raises :class:`NotConverged`."""
    seed = int.from_bytes(hashlib.sha256(species.smiles.encode()).digest()[:4], "big")
    shape = embed(species, seed)
    if shape is None or len(shape.numbers) == 1:
        return shape
    surface = PotentialEnergySurface(
        shape.numbers, shape.positions, "GFN2-xTB", species.charge, species.unpaired
    )
    hessian = spring_hessian(shape)
    return shape._replace(positions=relaxed(surface, shape.positions, hessian, 15))
