"""Lattice constants and bulk moduli of simple crystals, at every level of theory that knows their elements, beside
experiment."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.equation_of_state import equation_of_state
from atomfield.inference.levels import unknown_to
from atomfield.inference.simulate import relax
from atomfield.models.network import AtomFieldNet

from .reference import CRYSTALS, Crystal, level_calculator

FMAX, STEPS = 0.005, 300
FAR = 0.25
"""A lattice constant that is off by more than this share is called lost, and not averaged."""


def lattices(net: AtomFieldNet) -> dict[str, Any]:
    """One row per crystal and level: the constant of the model (from the relaxed volume, at the measured c/a or its own), of the
    level itself where it is at hand, and of experiment (angstrom); bulk moduli (GPa)."""
    rows = []
    for crystal in CRYSTALS:
        for level in levels_of_crystals(net):
            symbols = set(crystal.atoms().get_chemical_symbols())
            if not _knows(net, crystal.atoms(), level):
                continue
            ours = at_rest(crystal, AtomFieldCalculator(net, level=level, dtype="float64"))
            truth = level_calculator(level, symbols)
            theirs = None if truth is None else at_rest(crystal, truth)
            rows.append({"crystal": crystal.name, "structure": crystal.structure, "level": level,
                         "experiment_A": crystal.a, "model": ours, "reference": theirs})  # fmt: skip
    return {
        "rows": rows,
        "levels": {level: _summary(rows, level) for level in dict.fromkeys(r["level"] for r in rows)},
    }


def at_rest(crystal: Crystal, calculator: Calculator) -> dict[str, Any]:
    """Relax atoms and cell from the measured lattice; ``a_A``, ``bulk_modulus_GPa``, ``converged``, and
    ``failed`` with a reason."""
    atoms = crystal.atoms()
    start = atoms.get_volume()
    atoms.calc = calculator
    try:
        run = relax(atoms, fmax=FMAX, steps=STEPS, cell="full")
        out = {"a_A": crystal.a * float(atoms.get_volume() / start) ** (1 / 3), "converged": bool(run.converged),
               "steps": run.steps}  # fmt: skip
        if not run.converged:
            return out | {"failed": "not converged"}
        state = equation_of_state(atoms, strain=0.04, points=7, fmax=FMAX)
    except InputError as error:
        return {"failed": error.message[:120]}
    return out | {"bulk_modulus_GPa": float(state.bulk_modulus)}


def relaxations(net: AtomFieldNet) -> dict[str, Any]:
    """Rattled and strained supercells of the first crystals that each level knows, relaxed with their cells."""
    rows = []
    rng = np.random.default_rng(3)
    for level in levels_of_crystals(net):
        known = [c for c in CRYSTALS if _knows(net, c.atoms(), level)][:2]
        for crystal in known:
            atoms = crystal.atoms().repeat(2)
            atoms.set_cell(
                atoms.cell.array @ (np.eye(3) + 0.02 * rng.standard_normal((3, 3))), scale_atoms=True
            )
            atoms.positions += 0.08 * rng.standard_normal(atoms.positions.shape)
            atoms.calc = AtomFieldCalculator(net, level=level)
            try:
                run = relax(atoms, fmax=0.02, steps=500, cell="full")
                rows.append({"crystal": crystal.name, "level": level, "atoms": len(atoms), "converged": bool(run.converged),
                             "steps": run.steps})  # fmt: skip
            except InputError as error:
                rows.append({"crystal": crystal.name, "level": level, "atoms": len(atoms), "converged": False,
                             "failed": error.message[:120]})  # fmt: skip
    return {"fmax": 0.02, "rows": rows, "converged": sum(r["converged"] for r in rows)}


def levels_of_crystals(net: AtomFieldNet) -> list[str]:
    """Those that choose by themselves first, then others whose records were crystals."""
    others = [name for name, _ in net.config.element_pairs]
    return list(dict.fromkeys((*net.config.crystal_levels, *others)))


def _knows(net: AtomFieldNet, atoms: Atoms, level: str) -> bool:
    has_energies = bool(net.atom_head.reference[net.config.levels.index(level)].ne(0).any())
    return has_energies and not unknown_to(net, level, torch.from_numpy(atoms.numbers))


def _summary(rows: list[dict[str, Any]], level: str) -> dict[str, Any]:
    """Over the crystals of one level: shares of experiment and of the level itself, those that were lost counted apart."""
    ours = [r for r in rows if r["level"] == level]
    good = [
        r for r in ours if "failed" not in r["model"] and abs(r["model"]["a_A"] / r["experiment_A"] - 1) < FAR
    ]
    beside = [r for r in good if r["reference"] is not None and "failed" not in r["reference"]]
    off = [abs(r["model"]["a_A"] / r["experiment_A"] - 1) for r in good]
    own = [abs(r["model"]["a_A"] / r["reference"]["a_A"] - 1) for r in beside]
    stiff = [abs(r["model"]["bulk_modulus_GPa"] / r["reference"]["bulk_modulus_GPa"] - 1) for r in beside
             if "bulk_modulus_GPa" in r["model"] and "bulk_modulus_GPa" in r["reference"]]  # fmt: skip
    mean = lambda values: float(100 * np.mean(values)) if values else None  # noqa: E731
    return {"crystals": len(ours), "lost": len(ours) - len(good), "a_off_experiment_percent": mean(off),
            "a_off_level_percent": mean(own), "bulk_modulus_off_level_percent": mean(stiff)}  # fmt: skip
