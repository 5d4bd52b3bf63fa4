"""What a pretrained model is compared with: GFN2-xTB through ASE, minima of small molecules, and published lattice constants.

The molecules are those that ``data/generate/species.py`` holds out of every corpus (``TASK``). Nothing here is ever trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

from atomfield.data.generate.potentials import as_calculator, potential
from atomfield.data.generate.species import task_species
from atomfield.data.generate.xtb import label
from atomfield.data.readers.smiles import embed_smiles

REFERENCE = "gfn2-xtb"
FMAX = 0.003
"""eV/angstrom: the reference minima."""


class Xtb(Calculator):
    """GFN2-xTB energies (eV) and forces (eV/angstrom) of closed-shell molecules."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012 (ASE's way)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: Any = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        found = label(self.atoms.numbers, self.atoms.positions, charge=int(self.atoms.info.get("charge", 0)))
        self.results = {"energy": found.energy, "forces": found.forces}


@dataclass(frozen=True)
class Minimum:
    """A molecule at rest at GFN2-xTB. start: the positions that RDKit gave. bonds ``[B, 2]``: numbers of bonded atoms."""

    smiles: str
    atoms: Atoms
    start: np.ndarray
    bonds: np.ndarray


@cache
def minima(count: int) -> list[Minimum]:
    """The first ``count`` held-out molecules, relaxed; those that do not converge are left out."""
    out = []
    for species in task_species()[:count]:
        graph = embed_smiles(species.smiles, seed=0)[0]
        assert graph.bonds is not None
        start = graph.positions.numpy().copy()
        atoms = Atoms(graph.species.numpy(), start, info={"charge": species.charge, "spin": 0})
        atoms.calc = Xtb()
        if BFGS(atoms, logfile=None).run(fmax=FMAX, steps=300):
            atoms.calc = None
            out.append(Minimum(species.smiles, atoms, start, graph.bonds.index.numpy().T))
    return out


@dataclass(frozen=True)
class Crystal:
    """name, what ``ase.build.bulk`` is told, and the measured lattice constant ``a`` (angstrom, near room temperature)."""

    name: str
    structure: str
    a: float
    c_over_a: float = 0.0

    def atoms(self) -> Atoms:
        extra = {"covera": self.c_over_a} if self.c_over_a else {}
        return bulk(self.name, self.structure, a=self.a, **extra)


CRYSTALS = (
    Crystal("Al", "fcc", 4.050), Crystal("Ni", "fcc", 3.524), Crystal("Cu", "fcc", 3.615), Crystal("Pd", "fcc", 3.891),
    Crystal("Ag", "fcc", 4.086), Crystal("Pt", "fcc", 3.924), Crystal("Au", "fcc", 4.078), Crystal("Fe", "bcc", 2.867),
    Crystal("W", "bcc", 3.165), Crystal("Mo", "bcc", 3.147), Crystal("Mg", "hcp", 3.209, 1.624),
    Crystal("Ti", "hcp", 2.951, 1.587),
    Crystal("MgO", "rocksalt", 4.212), Crystal("CaO", "rocksalt", 4.811), Crystal("LiF", "rocksalt", 4.026),
    Crystal("NaCl", "rocksalt", 5.640), Crystal("NaBr", "rocksalt", 5.973), Crystal("NaI", "rocksalt", 6.473),
    Crystal("KCl", "rocksalt", 6.293), Crystal("RbBr", "rocksalt", 6.889), Crystal("CuCl", "zincblende", 5.416),
    Crystal("ZnS", "zincblende", 5.409), Crystal("ZnSe", "zincblende", 5.668), Crystal("CdTe", "zincblende", 6.482),
    Crystal("Ne", "fcc", 4.464), Crystal("Ar", "fcc", 5.311), Crystal("Kr", "fcc", 5.646), Crystal("Xe", "fcc", 6.132),
)  # fmt: skip
"""Lattice constants: C. Kittel, Introduction to Solid State Physics, 8th edition, and R. W. G. Wyckoff, Crystal Structures; of
rare gases near 0 K."""


def level_calculator(level: str, symbols: set[str]) -> Calculator | None:
    """The level of theory itself where it is cheap and at hand, for the elements given; None otherwise."""
    if level == "emt":
        from ase.calculators.emt import EMT, parameters

        return EMT() if symbols <= set(parameters) else None
    try:
        chosen = potential(level)
    except ValueError:
        return None
    return as_calculator(chosen) if symbols <= set(chosen.elements) else None


def citation(level: str) -> str:
    """Of an interatomic potential of the corpus; "" for other levels."""
    try:
        return potential(level).citation
    except ValueError:
        return ""
