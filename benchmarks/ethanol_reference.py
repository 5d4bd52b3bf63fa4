"""Harmonic frequencies of ethanol by PBE/def2-SVP itself, the level that ``ethanol_botnet`` is labelled with.

    pip install pyscf        in an environment of its own, with numpy, scipy and ase
    python benchmarks/ethanol_reference.py --labelled DIR/ethanol_botnet/train.xyz --out FILE.json [--near FOLDER]

Both conformers are relaxed to 2e-3 eV/angstrom (below that the grid is noise) and the Hessian is analytic (PySCF; no atomfield in
this process). The labels are of ORCA 4.2; three labelled frames are computed again here, and how far energies (relative to the
first) and forces differ is written beside the frequencies. ``--near`` saves steps: FOLDER holds trans.xyz and gauche.xyz,
geometries from anywhere close to the minima. Frequencies are those of the projected Hessian with the masses of ASE, in 1/cm.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.io import read
from ase.optimize import BFGS

TO_WAVENUMBER = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
"""sqrt(eV / (angstrom^2 amu)) in 1/cm."""


FINE, COARSE = 3, 1
"""Levels of PySCF's grids: of every result, and of the way to the minimum."""


def mean_field(atoms: Atoms, grid: int = FINE, density: Any = None) -> Any:
    """Converged PBE/def2-SVP; ``density``: where to begin."""
    from pyscf import dft, gto

    made = gto.M(
        atom=list(zip(atoms.symbols, atoms.positions.tolist(), strict=True)), basis="def2-svp", verbose=0
    )
    field = dft.RKS(made, xc="pbe")
    field.grids.level = grid
    field.conv_tol = 1e-10
    field.kernel(dm0=density)
    assert field.converged
    return field


class Pbe(Calculator):
    """Energies and forces for ASE's optimiser."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces"]  # type: ignore[misc]

    def __init__(self, grid: int = FINE) -> None:
        super().__init__()
        self.grid, self.density = grid, None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        field = mean_field(self.atoms, self.grid, self.density)
        self.density = field.make_rdm1()
        slope = field.nuc_grad_method()
        slope.grid_response = self.grid == FINE  # else the weights of the grid leave net forces
        force = -slope.kernel() * units.Hartree / units.Bohr
        self.results = {"energy": field.e_tot * units.Hartree, "forces": force}


def conformer(name: str) -> Atoms:
    """trans, as ASE has it, or gauche: the hydrogen of OH turned by 120 degrees about C-O."""
    atoms = molecule("CH3CH2OH")
    assert atoms.get_chemical_symbols()[:4] == ["C", "C", "O", "H"]
    atoms.set_dihedral(0, 1, 2, 3, 60 if name == "gauche" else 180, indices=[3])
    return atoms


def frequencies(atoms: Atoms) -> np.ndarray:
    """``[21]`` 1/cm, ascending."""
    hessian = mean_field(atoms).Hessian().kernel().transpose(0, 2, 1, 3).reshape(3 * len(atoms), -1)
    hessian *= units.Hartree / units.Bohr**2
    weight = np.repeat(atoms.get_masses(), 3) ** -0.5
    centred = atoms.positions - atoms.get_center_of_mass()
    rigid = [np.tile(axis, (len(atoms), 1)).ravel() for axis in np.eye(3)]
    rigid += [np.cross(axis, centred).ravel() for axis in np.eye(3)]
    inner = np.linalg.svd(np.array(rigid) / weight)[2][6:]
    values = np.linalg.eigvalsh(inner @ (hessian * np.outer(weight, weight)) @ inner.T)
    return np.sign(values) * np.sqrt(np.abs(values)) * TO_WAVENUMBER


def agreement(path: Path) -> dict[str, float]:
    """Three labelled frames computed again."""
    energies, forces = [], []
    for frame in read(path, ":401:200"):
        one = Atoms(frame.numbers, frame.positions, calculator=Pbe())
        energies.append(one.get_potential_energy() - frame.get_potential_energy())
        forces.append(one.get_forces() - frame.get_forces())
    return {
        "frames": len(energies),
        "relative_energy_largest_meV": 1000 * float(np.abs(np.array(energies) - energies[0]).max()),
        "forces_mae_meV_per_A": 1000 * float(np.abs(forces).mean()),
        "forces_largest_meV_per_A": 1000 * float(np.abs(forces).max()),
    }


def main() -> None:
    import pyscf

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labelled", type=Path, required=True, help="frames with the labels, extended xyz")
    parser.add_argument("--near", type=Path, help="where to begin, instead of a textbook geometry")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    result: dict[str, Any] = {"level": "PBE/def2-SVP", "program": f"PySCF {pyscf.__version__}"}
    for name in ("trans", "labels", "gauche"):
        result[name] = agreement(options.labelled) if name == "labels" else relaxed_modes(name, options.near)
        print(name, result[name], flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n")


def relaxed_modes(name: str, near: Path | None) -> dict[str, Any]:
    """The minimum of one conformer and its frequencies."""
    atoms = conformer(name) if near is None else read(near / f"{name}.xyz")
    for grid, fmax in ((COARSE, 0.005), (FINE, 2e-3))[near is not None :]:
        atoms.calc = Pbe(grid)
        assert BFGS(atoms, logfile="-").run(fmax=fmax, steps=100)
    return {
        "energy_eV": atoms.get_potential_energy(), "frequencies_per_cm": frequencies(atoms).round(2).tolist(),
        "symbols": atoms.get_chemical_symbols(), "positions_A": atoms.positions.round(6).tolist(),
    }  # fmt: skip


if __name__ == "__main__":
    main()
