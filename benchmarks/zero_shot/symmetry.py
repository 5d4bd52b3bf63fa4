"""The laws of structure and symmetry, measured on the shipped weights: largest violations over a few molecules
and a crystal."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from ase import Atoms
from scipy.stats import ortho_group

from atomfield.inference.convert import graph_from_atoms
from atomfield.inference.levels import level_for
from atomfield.inference.predict import Prediction, predict_graphs
from atomfield.models.checkpoint import cast
from atomfield.models.network import AtomFieldNet

from .reference import Minimum

TURNS = 8
STEP = 1e-4
"""angstrom: of the numerical gradient."""


def laws(net: AtomFieldNet, minima: list[Minimum], crystal: Atoms | None) -> dict[str, Any]:
    """Largest violations in float32 and float64: energies in eV, forces in eV/angstrom."""
    rng = np.random.default_rng(0)
    structures = [m.atoms.copy() for m in minima] + ([crystal] if crystal is not None else [])
    for atoms in structures:
        atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
    out = {}
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        own = cast(copy.deepcopy(net), dtype)
        out[name] = _violations(own, structures)
    return out | {"structures": len(structures), "turns": TURNS}


def _violations(net: AtomFieldNet, structures: list[Atoms]) -> dict[str, float]:
    seen = {"energy_turned_eV": 0.0, "forces_turned_eV_per_A": 0.0, "force_sum_eV_per_A": 0.0, "torque_eV": 0.0,
            "energy_permuted_eV": 0.0, "energy_shifted_eV": 0.0, "gradient_eV_per_A": 0.0, "two_far_apart_eV": 0.0}  # fmt: skip

    def note(key: str, value: float) -> None:
        seen[key] = max(seen[key], abs(float(value)))

    turns = ortho_group.rvs(3, size=TURNS, random_state=1)  # rotations and reflections alike
    rng = np.random.default_rng(2)
    for atoms in structures:
        (own,) = _answers(net, [atoms])
        note("force_sum_eV_per_A", np.abs(own["forces"].sum(0)).max())
        if not atoms.pbc.any():
            note("torque_eV", np.abs(np.cross(atoms.positions, own["forces"]).sum(0)).max())
        for turn, found in zip(turns, _answers(net, [_turned(atoms, turn) for turn in turns]), strict=True):
            note("energy_turned_eV", found["energy"] - own["energy"])
            note("forces_turned_eV_per_A", np.abs(found["forces"] - own["forces"] @ turn).max())
        order = rng.permutation(len(atoms))
        shifted = atoms.copy()
        shifted.positions += np.array([3.1, -2.2, 0.7])
        permuted, moved = _answers(net, [atoms[order], shifted])
        note("energy_permuted_eV", permuted["energy"] - own["energy"])
        note("energy_shifted_eV", moved["energy"] - own["energy"])
        note("gradient_eV_per_A", _gradient_error(net, atoms, own))
        if not atoms.pbc.any() and not atoms.info.get("charge"):
            pair = atoms + _far(atoms)
            pair.info.update(atoms.info)
            note("two_far_apart_eV", _answers(net, [pair])[0]["energy"] - 2 * own["energy"])
    return seen


def _gradient_error(net: AtomFieldNet, atoms: Atoms, own: Prediction) -> float:
    """Central differences along each coordinate of the first atom."""
    moved = []
    for axis in range(3):
        for sign in (1, -1):
            one = atoms.copy()
            one.positions[0, axis] += sign * STEP
            moved.append(one)
    energies = np.array([float(p["energy"]) for p in _answers(net, moved)]).reshape(3, 2)
    return float(np.abs(own["forces"][0] + (energies[:, 0] - energies[:, 1]) / (2 * STEP)).max())


def _answers(net: AtomFieldNet, structures: list[Atoms]) -> list[Prediction]:
    graphs = []
    for atoms in structures:
        level = level_for(net, torch.from_numpy(atoms.numbers), bool(atoms.pbc.any()))
        graphs.append(graph_from_atoms(atoms, level=level))
    return predict_graphs(net, graphs)


def _turned(atoms: Atoms, turn: np.ndarray) -> Atoms:
    out = atoms.copy()
    out.positions = atoms.positions @ turn
    if atoms.pbc.any():
        out.set_cell(atoms.cell.array @ turn)
    return out


def _far(atoms: Atoms) -> Atoms:
    out = atoms.copy()
    out.positions += np.array([60.0, 0, 0])
    return out
