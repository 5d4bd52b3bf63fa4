"""Held-out molecules: minima of the model beside those of GFN2-xTB, errors of energies and forces, and whether
relaxations end."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms
from ase.build import minimize_rotation_and_translation

from atomfield.data.errors import InputError
from atomfield.data.generate.xtb import NotConverged, label
from atomfield.data.graph import Graph
from atomfield.inference.convert import graph_from_atoms
from atomfield.inference.predict import predict_graphs
from atomfield.inference.together import Relaxed, relax_many
from atomfield.models.network import AtomFieldNet

from .reference import REFERENCE, Minimum, minima

MODEL_FMAX, STEPS = 0.01, 500
AMPLITUDES = (0.03, 0.03, 0.06, 0.1)
"""angstrom: standard deviations of the displacements of the test frames of each molecule."""


def geometry(net: AtomFieldNet, count: int = 57) -> dict[str, Any]:
    """Relaxed by the model from the minima of GFN2-xTB: root mean square displacement of all atoms after the best fit, and bond
    lengths (angstrom)."""
    found = minima(count)
    graphs = [graph_from_atoms(m.atoms, level=REFERENCE) for m in found]
    relaxed = _relaxed(net, graphs)
    rows, lengths = [], []
    for minimum, ours in zip(found, relaxed, strict=True):
        if ours is None:
            rows.append({"smiles": minimum.smiles, "converged": False, "failed": "collapsed"})
            continue
        moved = minimum.atoms.copy()
        moved.positions = ours.positions
        errors = bond_lengths(minimum, ours.positions) - bond_lengths(minimum, minimum.atoms.positions)
        minimize_rotation_and_translation(minimum.atoms, moved)
        rmsd = float(np.sqrt(((moved.positions - minimum.atoms.positions) ** 2).sum(1).mean()))
        lengths.append(errors)
        rows.append({"smiles": minimum.smiles, "rmsd_A": rmsd, "bond_mae_A": float(np.abs(errors).mean()),
                     "bond_max_A": float(np.abs(errors).max()), "converged": ours.converged, "steps": ours.steps})  # fmt: skip
    moved_rows = [r for r in rows if "rmsd_A" in r]
    if not moved_rows:
        raise InputError(
            f"none of {len(rows)} molecules could be relaxed; the model is no potential", "geometry"
        )
    rmsd, bonds = np.array([r["rmsd_A"] for r in moved_rows]), np.abs(np.concatenate(lengths))
    starts = [graph_from_atoms(_moved(m, m.start), level=REFERENCE) for m in found]
    ends = [end for end in _relaxed(net, starts) if end is not None]
    steps = [e.steps for e in ends if e.converged]
    return {
        "molecules": len(rows), "rmsd_median_A": float(np.median(rmsd)), "rmsd_mean_A": float(rmsd.mean()),
        "rmsd_max_A": float(rmsd.max()), "rmsd_worst": moved_rows[int(rmsd.argmax())]["smiles"], "bonds": len(bonds),
        "bond_mae_A": float(bonds.mean()), "bond_max_A": float(bonds.max()),
        "converged": sum(r["converged"] for r in rows), "from_rdkit_converged": len(steps),
        "from_rdkit_steps_median": float(np.median(steps)) if steps else float("nan"), "fmax": MODEL_FMAX, "rows": rows,
    }  # fmt: skip


def errors(net: AtomFieldNet, count: int = 57) -> dict[str, Any]:
    """Displaced frames of the held-out molecules: energies (meV/atom; as they are, and relative to the frame's own minimum) and
    forces (eV/angstrom) against GFN2-xTB, beside forces of zero."""
    rng = np.random.default_rng(7)
    graphs, energies, forces, owner = [], [], [], []
    for number, minimum in enumerate(minima(count)):
        for amplitude in (0.0, *AMPLITUDES):
            moved = minimum.atoms.positions + amplitude * rng.standard_normal((len(minimum.atoms), 3))
            try:
                truth = label(minimum.atoms.numbers, moved)
            except NotConverged:
                continue
            graphs.append(graph_from_atoms(_moved(minimum, moved), level=REFERENCE))
            energies.append(truth.energy)
            forces.append(truth.forces)
            owner.append(number)
    predicted = predict_graphs(net, graphs, stress=False)
    sizes = np.array([g.num_nodes for g in graphs])
    wrong = np.array([float(p["energy"]) for p in predicted]) - np.array(energies)
    first = {n: k for k, n in reversed(list(enumerate(owner)))}
    relative = np.array([wrong[k] - wrong[first[n]] for k, n in enumerate(owner) if k != first[n]])
    moving = np.array([sizes[k] for k, n in enumerate(owner) if k != first[n]])
    apart = np.concatenate([(p["forces"] - f).ravel() for p, f in zip(predicted, forces, strict=True)])
    true = np.concatenate([f.ravel() for f in forces])
    return {
        "molecules": len(first), "frames": len(graphs), "energy_mae_meV_per_atom": float(1000 * np.abs(wrong / sizes).mean()),
        "relative_energy_mae_meV_per_atom": float(1000 * np.abs(relative / moving).mean()),
        "forces_mae_eV_per_A": float(np.abs(apart).mean()), "forces_rmse_eV_per_A": float(np.sqrt((apart**2).mean())),
        "zero_forces_mae_eV_per_A": float(np.abs(true).mean()), "amplitudes_A": list(AMPLITUDES),
    }  # fmt: skip


def _relaxed(net: AtomFieldNet, graphs: list[Graph]) -> list[Relaxed | None]:
    """All in one batch, or one by one where one of them collapses; None for those that do."""
    try:
        return list(relax_many(net, graphs, fmax=MODEL_FMAX, steps=STEPS))
    except InputError:
        out: list[Relaxed | None] = []
        for graph in graphs:
            try:
                out += relax_many(net, [graph], fmax=MODEL_FMAX, steps=STEPS)
            except InputError:
                out.append(None)
        return out


def bond_lengths(minimum: Minimum, positions: np.ndarray) -> np.ndarray:
    """``[B]`` angstrom."""
    a, b = minimum.bonds.T
    return np.linalg.norm(positions[a] - positions[b], axis=1)


def _moved(minimum: Minimum, positions: np.ndarray) -> Atoms:
    atoms = minimum.atoms.copy()
    atoms.positions = positions
    return atoms
