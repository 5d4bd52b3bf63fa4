"""Constant-energy dynamics of a small molecule for 50 ps: whether it holds together and how its total energy drifts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase.io import read

from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.simulate import Output, nve, relax
from atomfield.models.network import AtomFieldNet

from .geometry import bond_lengths
from .reference import Minimum

STEP_FS, KELVIN = 0.5, 300.0
BROKEN = 1.6
"""A bond longer than this times its length at rest is broken."""


def dynamics(
    net: AtomFieldNet, minimum: Minimum, picoseconds: float, folder: Path, identity: str
) -> dict[str, Any]:
    """float64, from the model's own minimum and velocities of 300 K. It goes on from ``folder`` after a break."""
    atoms = minimum.atoms.copy()
    atoms.calc = AtomFieldCalculator(net, dtype="float64")
    folder.mkdir(parents=True, exist_ok=True)
    relax(atoms, fmax=0.005, steps=500)
    steps = round(1000 * picoseconds / STEP_FS)
    interval = max(1, min(100, steps // 20))
    rest = bond_lengths(minimum, atoms.positions)
    output = Output(
        trajectory=folder / "trajectory.extxyz",
        log=folder / "log.csv",
        figure=folder / "energy.png",
        interval=interval,
        restart=folder / "restart.safetensors",
        resume=True,
        identity=identity,
    )
    run = nve(atoms, steps=steps, timestep=STEP_FS, temperature=KELVIN, output=output)
    frames = read(folder / "trajectory.extxyz", index=":")
    longest = max(float((bond_lengths(minimum, frame.positions) / rest).max()) for frame in frames)
    total = np.genfromtxt(folder / "log.csv", delimiter=",", names=True)["etot"]
    return {
        "molecule": minimum.smiles, "atoms": len(atoms), "picoseconds": picoseconds, "step_fs": STEP_FS,
        "start_K": KELVIN, "frames": len(frames), "longest_bond_over_rest": longest, "held_together": longest < BROKEN,
        "drift_meV_per_atom_per_ps": run.drift,
        "fluctuation_meV_per_atom": float(1000 * np.std(total) / len(atoms)),
    }  # fmt: skip
