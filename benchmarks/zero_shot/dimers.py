"""Interaction energies of rigid pairs of molecules along a distance, beside GFN2-xTB, and a picture of the curves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule

from atomfield.data.generate.xtb import label
from atomfield.inference.convert import graph_from_atoms
from atomfield.inference.predict import predict_graphs
from atomfield.models.network import AtomFieldNet

from .reference import REFERENCE

DISTANCES = np.concatenate([np.arange(2.4, 4.0, 0.1), np.arange(4.0, 6.01, 0.25)])
"""angstrom, between the two named atoms."""
WALL = 0.5
"""eV: above it a curve is the wall, which no figure is about."""


def pairs() -> dict[str, tuple[Atoms, int, Atoms, int, float]]:
    """Name -> (first, its atom, second, its atom, shortest distance): the second comes along x, the first looks towards it."""
    water, ammonia, methane = molecule("H2O"), molecule("NH3"), molecule("CH4")
    donor = water.copy()
    donor.rotate(donor.get_distance(0, 1, vector=True), "x", center=donor.positions[0])
    acceptor = water.copy()
    acceptor.rotate(
        acceptor.positions[1:].mean(0) - acceptor.positions[0], (0.5, 0, 0.87), center=acceptor.positions[0]
    )
    lone = ammonia.copy()
    lone.rotate(lone.positions[1:].mean(0) - lone.positions[0], "x", center=lone.positions[0])
    face = methane.copy()
    face.rotate(-face.get_distance(0, 1, vector=True), "x", center=face.positions[0])
    other = face.copy()
    other.rotate(180, "y", center=other.positions[0])
    return {
        "water, water (O-O)": (donor, 0, acceptor, 0, 2.4),
        "water, ammonia (O-N)": (donor, 0, lone, 0, 2.5),
        "methane, methane (C-C)": (face, 0, other, 0, 3.1),
    }


def curves(net: AtomFieldNet) -> dict[str, Any]:
    """Per pair: distances (angstrom), interaction energies (eV) of the model and of GFN2-xTB, both minima, and the mean error
    where the reference is below the wall."""
    out = {}
    for name, (first, a, second, b, shortest) in pairs().items():
        distances = DISTANCES[shortest - 1e-9 <= DISTANCES]
        structures = [_placed(first, a, second, b, d) for d in distances] + [first, second]
        graphs = [graph_from_atoms(_neutral(s), level=REFERENCE) for s in structures]
        ours = np.array([float(p["energy"]) for p in predict_graphs(net, graphs, forces=False, stress=False)])
        theirs = np.array([label(s.numbers, s.positions).energy for s in structures])
        model, reference = (e[:-2] - e[-2] - e[-1] for e in (ours, theirs))
        apart = reference < WALL
        out[name] = {
            "distance_A": distances.tolist(), "model_eV": model.tolist(), "reference_eV": reference.tolist(),
            "mae_meV": float(1000 * np.abs(model - reference)[apart].mean()),
            "model_minimum": _minimum(distances, model), "reference_minimum": _minimum(distances, reference),
        }  # fmt: skip
    return out


def picture(found: dict[str, Any], file: Path, title: str) -> Path:
    """A PNG with one panel per pair."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.4 * len(found), 3.1), layout="constrained")
    for axes, (name, one) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True):
        axes.axhline(0, color="#c8c8c8", lw=0.8)
        axes.plot(one["distance_A"], one["reference_eV"], color="#8a8a8a", lw=2.5, label="GFN2-xTB")
        axes.plot(
            one["distance_A"], one["model_eV"], color="#1f5fa8", lw=1.4, marker="o", ms=2.5, label=title
        )
        low = min(*one["reference_eV"], *(e for e in one["model_eV"] if np.isfinite(e)), -0.02)
        axes.set_ylim(max(1.25 * low, -1.0), 0.3)
        axes.set_xlabel("distance (angstrom)")
        axes.set_title(name, fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("interaction energy (eV)")
    figure.axes[0].legend(frameon=False, fontsize=8)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    return file


def _placed(first: Atoms, a: int, second: Atoms, b: int, distance: float) -> Atoms:
    one, two = first.copy(), second.copy()
    one.translate(-one.positions[a])
    two.translate(-two.positions[b] + np.array([distance, 0, 0]))
    return one + two


def _neutral(atoms: Atoms) -> Atoms:
    atoms = atoms.copy()
    atoms.info = {"charge": 0, "spin": 0}
    return atoms


def _minimum(distances: np.ndarray, energies: np.ndarray) -> dict[str, float]:
    """Of a parabola through the lowest point and its neighbours; at an end of the curve that end."""
    k = int(energies.argmin())
    if 0 < k < len(energies) - 1:
        c, b, a = np.polynomial.polynomial.polyfit(distances[k - 1 : k + 2], energies[k - 1 : k + 2], 2)
        at = float(-b / (2 * a))
        return {"distance_A": at, "energy_eV": float(c + b * at + a * at * at)}
    return {"distance_A": float(distances[k]), "energy_eV": float(energies[k])}
