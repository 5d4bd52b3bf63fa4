"""Labels from extended tight binding by the ``tblite`` library, in our units: energy, forces, dipole, charges, stress, orbitals.

GFN2-xTB: Bannwarth, Ehlert and Grimme, J. Chem. Theory Comput. 15, 1652 (2019). GFN1-xTB: Grimme,
Bannwarth and Shushkov, ibid. 13,
1989 (2017). The labels of GFN2 contain D4 dispersion, those of GFN1 D3. Open shells need the spin-polarised form: without it
singlet O2 lies below the triplet. Periodic cells are sampled at the Gamma point only.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata, util
from typing import Literal

import numpy as np
from ase.units import Bohr, Hartree

from ..errors import InputError

Method = Literal["GFN1-xTB", "GFN2-xTB"]


class NotConverged(RuntimeError):
    """The self-consistent charges did not converge; the record has no label."""


@dataclass(frozen=True)
class Label:
    """energy eV; forces ``[N, 3]`` eV/angstrom; dipole ``[3]`` e*angstrom about the centre of mass; charges ``[N]`` e;
    stress ``[3, 3]``
    eV/angstrom^3 with ASE's sign (zeros without a cell); gap: HOMO-LUMO gap in eV (the smaller of both spins)."""

    energy: float
    forces: np.ndarray
    dipole: np.ndarray
    charges: np.ndarray
    stress: np.ndarray
    gap: float


@dataclass(frozen=True)
class SinglePoint:
    """energy, highest filled and lowest empty orbital of a closed shell, eV."""

    energy: float
    homo: float
    lumo: float


def require_tblite() -> str:
    """The version of tblite; raises ``InputError`` that names the extra where it is not installed."""
    if util.find_spec("tblite") is None:
        raise InputError(
            "tblite is not installed, and molecules and insulators are labelled by it; "
            "install the extra: pip install 'atomfield[generate]'"
        )
    return metadata.version("tblite")


def label(
    numbers: np.ndarray,
    positions: np.ndarray,
    *,
    method: Method = "GFN2-xTB",
    charge: int = 0,
    unpaired: int = 0,
    spin_polarised: bool = False,
    cell: np.ndarray | None = None,
) -> Label:
    """One single point. ``positions [N, 3]`` and ``cell [3, 3]`` (rows) in angstrom; a cell is periodic in all directions.

    Raises :class:`NotConverged`.
    """
    from tblite.exceptions import TBLiteRuntimeError
    from tblite.interface import Calculator

    periodic = None if cell is None else np.array([True, True, True])
    lattice = None if cell is None else cell / Bohr
    calculator = Calculator(
        method, numbers, positions / Bohr, float(charge), int(unpaired), lattice, periodic
    )
    calculator.set("verbosity", 0)
    if spin_polarised:
        calculator.add("spin-polarization", 1.0)
    try:
        result = calculator.singlepoint()
    except TBLiteRuntimeError as error:
        raise NotConverged(str(error)) from error
    charges = np.asarray(result.get("charges"))
    stress = np.zeros((3, 3))
    if cell is None:
        dipole = np.asarray(result.get("dipole")) * Bohr - charge * centre_of_mass(numbers, positions)
    else:
        dipole = np.zeros(3)  # of an infinite crystal it is not defined
        virial = np.asarray(result.get("virial")) * Hartree
        stress = (virial + virial.T) / 2 / abs(np.linalg.det(cell))
    out = Label(
        energy=float(result.get("energy")) * Hartree,
        forces=-np.asarray(result.get("gradient")) * (Hartree / Bohr),
        dipole=dipole,
        charges=charges,
        stress=stress,
        gap=_gap(np.asarray(result.get("orbital-energies")), np.asarray(result.get("orbital-occupations")))
        * Hartree,
    )
    if not (np.isfinite(out.energy) and np.isfinite(out.forces).all()):
        raise NotConverged("the result is not finite")
    return out


def closed_shell(
    numbers: np.ndarray, positions: np.ndarray, *, charge: int = 0, solvent: str | None = None
) -> SinglePoint:
    """GFN2-xTB of a closed shell, in the gas phase or in ``solvent`` by ALPB. ``positions [N, 3]`` in angstrom.

    ALPB: Ehlert, Stahn, Spicher and Grimme, J. Chem. Theory Comput. 17, 4250 (2021). Its energy is a free energy of solvation at
    equal concentrations in gas and solution (tblite's state ``gsolv``): from 1 bar of gas to 1 mol/l it were 1.9 kcal/mol more.
    Raises :class:`NotConverged`, also where no orbital is empty.
    """
    from tblite.exceptions import TBLiteRuntimeError
    from tblite.interface import Calculator

    calculator = Calculator("GFN2-xTB", numbers, positions / Bohr, float(charge), 0)
    calculator.set("verbosity", 0)
    if solvent is not None:
        calculator.add("alpb-solvation", solvent, "gsolv")
    try:
        result = calculator.singlepoint()
    except TBLiteRuntimeError as error:
        raise NotConverged(str(error)) from error
    levels = np.asarray(result.get("orbital-energies")) * Hartree
    filled = np.asarray(result.get("orbital-occupations")) >= 1
    if filled.all() or not filled.any():
        raise NotConverged("there is no empty or no filled orbital")
    out = SinglePoint(
        float(result.get("energy")) * Hartree, float(levels[filled].max()), float(levels[~filled].min())
    )
    if not np.isfinite([out.energy, out.homo, out.lumo]).all():
        raise NotConverged("the result is not finite")
    return out


def centre_of_mass(numbers: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """``[3]`` angstrom, with ASE's standard atomic masses."""
    from ase.data import atomic_masses

    masses = atomic_masses[numbers]
    return masses @ positions / masses.sum()


def _gap(energies: np.ndarray, occupations: np.ndarray) -> float:
    """Lowest empty minus highest filled level. Occupations count 2 electrons per level, or 1 in each row of the two spins."""
    if energies.ndim == 1:
        energies, occupations = energies[None], occupations[None] / 2
    gaps = [
        e[o < 0.5].min() - e[o >= 0.5].max()
        for e, o in zip(energies, occupations, strict=True)
        if (o < 0.5).any() and (o >= 0.5).any()
    ]
    return float(min(gaps, default=np.inf))
