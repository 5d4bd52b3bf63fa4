"""Published interatomic potentials that label crystals: each is a level of theory of its own, with its citation.

They are models of bonding and not quantum chemistry: smooth, with exact derivatives, and each is only used for what
its paper fitted. ``potential_checks.py`` compares lattice constants and lattice energies with published ones; what fails is left
out. Constants are those of the papers as the named code distributions have them. Units: eV, angstrom, e.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from atomfield.physics_priors.embedded_atom import embedded_atom, table
from atomfield.physics_priors.ewald import ewald_energy
from atomfield.physics_priors.lennard_jones import lennard_jones
from atomfield.physics_priors.morse import morse
from atomfield.physics_priors.pairs import PairEdges, derivatives, of_pair, switch
from atomfield.physics_priors.stillinger_weber import BondConstants, stillinger_weber

from ..radius import radius_pairs
from .potential_constants import CHALCOGENIDES, HALIDES, KCAL, METALS, OXIDES, RARE_GASES

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

ACCURACY = 1e-8
"""Of the Ewald sums, relative."""


@dataclass(frozen=True)
class Potential:
    """One level of theory. ``energy``: ``[G]`` eV of pairs closer than ``cutoff`` angstrom. ``charges``: of ions in e, else
    empty."""

    level: str
    citation: str
    elements: tuple[str, ...]
    cutoff: float
    energy: Callable[[PairEdges], Tensor]
    charges: dict[str, float]


@dataclass(frozen=True)
class Labels:
    """``energy`` eV, ``forces [N, 3]`` eV/angstrom, ``stress [3, 3]`` eV/angstrom^3 with ASE's sign."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray


def label_all(potential: Potential, crystals: Sequence[Atoms]) -> list[Labels]:
    """Labels of each crystal, all calculated together in float64."""
    positions = torch.from_numpy(np.concatenate([a.positions for a in crystals]))
    cell = torch.from_numpy(np.stack([a.cell.array for a in crystals]))
    sizes = torch.tensor([len(a) for a in crystals])
    species = torch.from_numpy(np.concatenate([a.numbers for a in crystals]).astype(np.int64))
    periodic = torch.ones(len(crystals), 3, dtype=torch.bool)
    (sender, receiver), shift = radius_pairs(positions, sizes, cell, periodic, potential.cutoff)
    graph_index = torch.repeat_interleave(torch.arange(len(crystals)), sizes)
    pairs = PairEdges(positions, cell, species, graph_index, sender, receiver, shift)
    with torch.no_grad():
        found = derivatives(potential.energy, pairs)
    forces = found["forces"].split(sizes.tolist())
    return [
        Labels(float(e), f.numpy(), s.numpy())
        for e, f, s in zip(found["energy"], forces, found["stress"], strict=True)
    ]


def pressure(chosen: Potential, atoms: Atoms, factor: float) -> float:
    """eV/angstrom^3 of the crystal with its volume multiplied by ``factor``: minus a third of the stress's trace."""
    scaled = atoms.copy()
    scaled.set_cell(atoms.cell.array * factor ** (1 / 3), scale_atoms=True)
    return -float(np.trace(label_all(chosen, [scaled])[0].stress)) / 3


@cache
def potential(level: str) -> Potential:
    """The potential of that level of theory."""
    match level:
        case "eam-zhou-2004":
            constants = table({_number(s): c for s, c in METALS.items()})
            return Potential(
                level, "Zhou, Johnson and Wadley, Phys. Rev. B 69, 144113 (2004)", tuple(METALS), 8.0,
                lambda pairs: embedded_atom(pairs, constants, 8.0), {},
            )  # fmt: skip
        case "pedone-2006":
            return _oxides(level)
        case "joung-cheatham-2008":
            return _halides(level)
        case "sw-zhou-2013":
            bonds = BondConstants(
                *(_symmetric({p: c[k] for p, c in CHALCOGENIDES.items()}) for k in range(5))
            )
            return Potential(
                level, "Zhou et al., Phys. Rev. B 88, 085309 (2013)", ("Zn", "Cd", "Hg", "S", "Se", "Te"),
                bonds.cutoff() + 1e-6, lambda pairs: stillinger_weber(pairs, bonds, 32.5, 1.2), {},
            )  # fmt: skip
        case "lj-bernardes-1958":
            depth, length = (_mixed({s: c[k] for s, c in RARE_GASES.items()}, k == 0) for k in (0, 1))
            return Potential(
                level, "Bernardes, Phys. Rev. 112, 1534 (1958)", tuple(RARE_GASES), 12.0,
                lambda pairs: lennard_jones(pairs, depth, length, 12.0), {},
            )  # fmt: skip
    raise ValueError(f"{level!r} is no level of an interatomic potential")


def _oxides(level: str) -> Potential:
    cutoff = 8.0

    def with_oxygen(k: int) -> Tensor:
        return _symmetric({(s, "O"): c[k] for s, c in OXIDES.items()}, 0.0 if k in (1, 4) else 1.0)

    depth, steepness, length, repulsion = (with_oxygen(k) for k in (1, 2, 3, 4))
    charges = {s: c[0] for s, c in OXIDES.items()}
    by_number = _by_number(charges)

    def energy(pairs: PairEdges) -> Tensor:
        distance = pairs.distances()
        wall = of_pair(repulsion, pairs) / distance**12 * switch(distance, 0.8 * cutoff, cutoff)
        short = morse(pairs, depth, steepness, length, cutoff) + pairs.sum_pairs(wall)
        return short + ewald_energy(pairs, by_number[pairs.species], cutoff, accuracy=ACCURACY)

    citation = "Pedone et al., J. Phys. Chem. B 110, 11780 (2006)"
    return Potential(level, citation, tuple(OXIDES), cutoff, energy, charges)


def _halides(level: str) -> Potential:
    cutoff = 10.0
    depth = _mixed({s: c[2] * KCAL for s, c in HALIDES.items()}, geometric=True)
    length = _mixed({s: 2 ** (5 / 6) * c[1] for s, c in HALIDES.items()}, geometric=False)
    charges = {s: c[0] for s, c in HALIDES.items()}
    by_number = _by_number(charges)

    def energy(pairs: PairEdges) -> Tensor:
        coulomb = ewald_energy(pairs, by_number[pairs.species], cutoff, accuracy=ACCURACY)
        return lennard_jones(pairs, depth, length, cutoff) + coulomb

    citation = "Joung and Cheatham, J. Phys. Chem. B 112, 9020 (2008)"
    return Potential(level, citation, tuple(HALIDES), cutoff, energy, charges)


# ---------------------------------------------------------------------- tables by atomic number
def _number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def _by_number(values: dict[str, float]) -> Tensor:
    found = torch.full((119,), float("nan"), dtype=torch.float64)
    for symbol, value in values.items():
        found[_number(symbol)] = value
    return found


def _symmetric(values: dict[tuple[str, str], float], default: float = float("nan")) -> Tensor:
    """``[119, 119]``."""
    found = torch.full((119, 119), default, dtype=torch.float64)
    for (a, b), value in values.items():
        found[_number(a), _number(b)] = found[_number(b), _number(a)] = value
    return found


def _mixed(values: dict[str, float], geometric: bool) -> Tensor:
    """``[119, 119]`` by the rule of Lorentz (mean) or Berthelot (geometric mean)."""
    pairs = {
        (a, b): (x * y) ** 0.5 if geometric else (x + y) / 2
        for a, x in values.items()
        for b, y in values.items()
    }
    return _symmetric(pairs)


# ---------------------------------------------------------------------- ASE
def as_calculator(chosen: Potential) -> Calculator:
    """The potential as an ASE calculator, for relaxations."""
    from ase.calculators.calculator import Calculator, all_changes

    class Labeller(Calculator):
        implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]  # type: ignore[misc]

        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            found = label_all(chosen, [atoms])[0]
            self.results = {
                "energy": found.energy,
                "forces": found.forces,
                "stress": found.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]],
            }

    return Labeller()


def relax(atoms: Atoms, chosen: Potential, steps: int = 60, tolerance: float = 0.03) -> bool:
    """Relax atoms and cell in place; False if a force is above 0.2 eV/angstrom at the end."""
    import warnings

    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms.calc = as_calculator(chosen)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="logm result may be inaccurate")  # by 1e-13
        both: Any = FrechetCellFilter(atoms)  # atoms and cell, which BFGS takes for atoms
        BFGS(both, logfile=None, maxstep=0.1).run(fmax=tolerance, steps=steps)
    worst = float(abs(atoms.get_forces()).max())
    atoms.calc = None
    return worst < 0.2
