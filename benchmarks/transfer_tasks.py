"""The nine tasks of the table ``transfer``, three of each world: what is predicted, how it is measured, and what tests it.

Where the records come from is in ``transfer_sources.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

World = Literal["molecules", "crystals", "fields"]
Kind = Literal["surface", "property", "evolution", "steady"]
WORLDS: tuple[World, ...] = ("molecules", "crystals", "fields")
ALL = 0
"""In the place of a number of samples: as many as there are."""
WAKE_NODES = 500


@dataclass(frozen=True)
class TransferTask:
    """``metric``: the key of the test error; the same under ``baseline_`` (fields: ``baseline_persistence_``) needs no network.
    ``valid``: the key of the validation error in the log of the training. ``kind``: tasks of one kind share their settings."""

    name: str
    world: World
    kind: Kind
    target: tuple[str, ...]
    metric: str
    baseline: str
    valid: str
    scale: float
    """Factor from the unit of ``metric`` to that of ``unit``."""
    unit: str
    about: str


def _surface(name: str, world: World, about: str) -> TransferTask:
    key = "forces_mae_eV_per_A"
    target = ("energy", "forces")
    return TransferTask(
        name, world, "surface", target, key, f"baseline_{key}", f"valid/{key}", 1e3, "meV/Å", about
    )


def _property(name: str, world: World, target: str, scale: float, unit: str, about: str) -> TransferTask:
    key = f"{target}_mae"
    return TransferTask(
        name, world, "property", (target,), key, f"baseline_{key}", f"valid/{key}", scale, unit, about
    )


def _evolution(name: str, target: tuple[str, ...], about: str) -> TransferTask:
    key, valid = "velocity_rollout_vrmse", "valid/velocity_step_error_over_persistence"
    return TransferTask(
        name, "fields", "evolution", target, key, f"baseline_persistence_{key}", valid, 1.0, "VRMSE", about
    )


TASKS: tuple[TransferTask, ...] = (
    _surface("ethanol", "molecules", "forces, PBE; 200 frames of `test_MD` test"),
    _surface("3BPA", "molecules", "forces, trained at 300 K; 100 frames of mixed temperatures that the 300 K file lacks test"),
    _property("ESOL", "molecules", "log_S", 1.0, "log S", "solubility, scaffold split, one conformer each; its 113 test records"),
    _surface("silicon", "crystals", "forces (mlearn): strained, vacant, surfaces, hot; its 25 test frames"),
    _property("phonons", "crystals", "phonon_peak", 1.0, "1/cm", "last phonon peak (Matbench); the 253 of official fold 0 test"),
    _property("supercon", "crystals", "formation_energy", 1e3, "meV/atom",
              "formation energy (JARVIS superconductors); a fifth of the compositions tests, which training lacks"),
    _evolution("flows", ("velocity", "vorticity", "pressure"),
               "Navier-Stokes at unseen viscosities, 24 x 24 points; rollouts of 12 steps of 12 flows test"),
    _evolution("wake", ("velocity",),
               f"cylinder wake, {WAKE_NODES} points of its mesh; four rollouts of 20 steps in a later block of time test"),
    TransferTask("Darcy", "fields", "steady", ("solution",), "solution_relative_l2", "baseline_solution_relative_l2",
                 "valid/solution_relative_rmse", 1.0, "relative L2",
                 "steady Darcy flow, 16 x 16 points, from permeability to pressure; the 50 problems of its test file"),
)  # fmt: skip


def task_named(name: str) -> TransferTask:
    return next(t for t in TASKS if t.name == name)
