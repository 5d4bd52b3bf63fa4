"""The sets of the accuracy table as three files with the same keys for every package, and the one evaluator of predictions.

Energies are total (eV) under ``REF_energy``, forces (eV/angstrom) under ``REF_forces``. Molecules lose their box. A tenth of the
training records, drawn by the seed, is the validation part of every package.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

VALIDATION = 0.1
SETS = {
    "ethanol": ("ethanol_botnet/train.xyz", "ethanol_botnet/test_MD.xyz"),
    "3bpa": ("3bpa_train/train_300K.xyz", "3bpa_train/train_mixedT.xyz"),
    "Si": ("mlearn/Si_train.xyz", "mlearn/Si_test.xyz"),
    "Cu": ("mlearn/Cu_train.xyz", "mlearn/Cu_test.xyz"),
}
"""Training and test file. 3BPA is not the published table: 300 K trains; what is not in it of the mixed temperatures tests."""


def read(path: Path) -> list[Atoms]:
    """Structures with canonical keys and nothing else."""
    out = []
    for atoms in ase.io.read(path, index=":"):
        results = atoms.calc.results if atoms.calc is not None else {}
        energy = atoms.info.get("REF_energy", results.get("energy"))
        forces = atoms.arrays.get("REF_forces", results.get("forces"))
        periodic = bool(atoms.pbc.any())
        clean = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell if periodic else None, pbc=periodic)
        clean.info["REF_energy"] = float(energy)
        clean.arrays["REF_forces"] = np.array(forces, dtype=float)
        out.append(clean)
    return out


def prepare(name: str, data: Path, work: Path, seed: int) -> dict[str, Path]:
    """Write ``train``, ``valid`` and ``test`` as extended XYZ under ``work``."""
    train, test = (read(data / x) for x in SETS[name])
    if name == "3bpa":
        known = {round(x.info["REF_energy"], 6) for x in train}
        test = [x for x in test if round(x.info["REF_energy"], 6) not in known]
    order = np.random.default_rng(seed).permutation(len(train))
    held = max(1, round(VALIDATION * len(train)))
    parts = {
        "valid": [train[i] for i in order[:held]],
        "train": [train[i] for i in sorted(order[held:])],
        "test": test,
    }
    files = {}
    for part, structures in parts.items():
        files[part] = work / f"{part}.xyz"
        ase.io.write(files[part], structures, format="extxyz")
    return files


def errors(test: Path, predictions: Path) -> dict[str, float]:
    """Of ``energy [G]`` (eV) and ``forces [N, 3]`` (eV/angstrom) in an npz, in the order of ``test``; meV and meV/angstrom."""
    structures = read(test)
    with np.load(predictions) as file:
        energy, forces = file["energy"].astype(float), file["forces"].astype(float)
    sizes = np.array([len(x) for x in structures])
    per_atom = (energy.reshape(len(sizes)) - np.array([x.info["REF_energy"] for x in structures])) / sizes
    apart = forces - np.concatenate([x.arrays["REF_forces"] for x in structures])
    if not (np.isfinite(per_atom).all() and np.isfinite(apart).all()):
        raise SystemExit("predictions are not finite")
    return {
        "energy_mae_meV_per_atom": 1e3 * float(np.abs(per_atom).mean()),
        "energy_rmse_meV_per_atom": 1e3 * float(np.sqrt((per_atom**2).mean())),
        "forces_mae_meV_per_A": 1e3 * float(np.abs(apart).mean()),
        "forces_rmse_meV_per_A": 1e3 * float(np.sqrt((apart**2).mean())),
        "test_structures": float(len(sizes)),
    }
