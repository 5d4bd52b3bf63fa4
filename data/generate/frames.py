"""Geometries of one molecule or pair, labelled: relaxed, rattled, bonds stretched or squeezed, contacts of two molecules.

A worker calls :func:`labelled_frames` with one :class:`Recipe`; the result depends on the recipe alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from .shapes import Shape, contact, embed, stretched
from .species import Species
from .xtb import Label, Method, NotConverged, label

Kind = Literal["relaxed", "rattled", "bond", "contact"]
GRID = 2.0**-12
"""Positions are multiples of this (angstrom) before they are labelled: float32 holds them without loss."""
MAX_FORCE = 30.0
"""Frames with a larger force (eV/angstrom) are dropped."""
MIN_GAP = 0.2
"""Closed-shell frames with a smaller HOMO-LUMO gap (eV) are dropped: one determinant of pairs does not describe them."""
MIN_APART = 0.4
"""Frames with two atoms closer than this (angstrom) are dropped."""


@dataclass(frozen=True)
class Recipe:
    """parts: one molecule, or two for contacts. kicks: one rattled frame for each standard deviation (angstrom, per component).
    scan: bond lengths or contacts, as factors of the relaxed length or of the sum of van der Waals radii."""

    parts: tuple[Species, ...]
    seed: int
    method: Method
    kicks: tuple[float, ...] = ()
    scan: tuple[float, ...] = ()
    keep_relaxed: bool = True
    relax_steps: int = 15


@dataclass(frozen=True)
class Frame:
    """One labelled geometry: numbers ``[N]``, positions ``[N, 3]`` angstrom."""

    numbers: np.ndarray
    positions: np.ndarray
    label: Label
    kind: str


def labelled_frames(recipe: Recipe) -> tuple[Recipe, list[Frame], Counter[str]]:
    """All frames of a recipe and how many were dropped, by reason."""
    dropped: Counter[str] = Counter()
    rng = np.random.default_rng(recipe.seed)
    charge = sum(s.charge for s in recipe.parts)
    unpaired = sum(s.unpaired for s in recipe.parts)
    shapes = []
    for species in recipe.parts:
        shape = embed(species, recipe.seed)
        if shape is None:
            return recipe, [], Counter({"not embedded": 1})
        try:
            positions = _relax(shape, species, recipe)
        except NotConverged:
            return recipe, [], Counter({"not converged while relaxing": 1})
        shapes.append(Shape(shape.numbers, positions, shape.bonds))
    numbers = np.concatenate([s.numbers for s in shapes])
    frames = []
    for kind, geometry in _geometries(shapes, recipe, rng):
        positions = np.round(geometry / GRID) * GRID
        reason, labelled = sound_label(numbers, positions, recipe.method, charge, unpaired)
        if labelled is None:
            dropped[reason] += 1
        else:
            frames.append(Frame(numbers, positions, labelled, kind))
    return recipe, frames, dropped


def _geometries(
    shapes: list[Shape], recipe: Recipe, rng: np.random.Generator
) -> Iterator[tuple[Kind, np.ndarray]]:
    if len(shapes) == 2:
        for factor in recipe.scan:
            yield "contact", contact(shapes[0], shapes[1], factor, rng)
        return
    (shape,) = shapes
    if recipe.keep_relaxed:
        yield "relaxed", shape.positions
    for kick in recipe.kicks:
        yield "rattled", shape.positions + kick * rng.standard_normal(shape.positions.shape)
    for factor in recipe.scan:
        if shape.bonds:
            yield "bond", stretched(shape, factor, rng)


def sound_label(
    numbers: np.ndarray, positions: np.ndarray, method: Method, charge: int, unpaired: int
) -> tuple[str, Label | None]:
    """The label of a geometry, positions ``[N, 3]`` in angstrom, or why it has none that is sound."""
    if len(numbers) > 1:
        apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
        if apart[np.triu_indices(len(numbers), 1)].min() < MIN_APART:
            return "atoms too close", None
    try:
        out = label(
            numbers, positions, method=method, charge=charge, unpaired=unpaired, spin_polarised=unpaired > 0
        )
    except NotConverged:
        return "not converged", None
    if np.linalg.norm(out.forces, axis=1).max() > MAX_FORCE:
        return f"force above {MAX_FORCE:g} eV/angstrom", None
    if unpaired == 0 and out.gap < MIN_GAP:
        return f"gap below {MIN_GAP:g} eV", None
    return "", out


def _relax(shape: Shape, species: Species, recipe: Recipe) -> np.ndarray:
    """A few BFGS steps by the recipe's method, until no force exceeds 0.1 eV/angstrom."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator, all_changes
    from ase.optimize import BFGS

    class Tight(Calculator):
        implemented_properties: ClassVar[list[str]] = ["energy", "forces"]  # type: ignore[misc]

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            out = label(
                atoms.numbers,
                atoms.positions,
                method=recipe.method,
                charge=species.charge,
                unpaired=species.unpaired,
                spin_polarised=species.unpaired > 0,
            )
            self.results = {"energy": out.energy, "forces": out.forces}

    if len(shape.numbers) == 1:
        return shape.positions
    atoms = Atoms(shape.numbers, shape.positions)
    atoms.calc = Tight()
    BFGS(atoms, logfile=None, maxstep=0.15).run(fmax=0.1, steps=recipe.relax_steps)
    return atoms.positions
