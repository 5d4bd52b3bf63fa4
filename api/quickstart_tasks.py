"""The held-out tasks of the quickstart, one of each world, and how each is split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atomfield.data.graph import Graph

SPLIT_SEED = 1


@dataclass(frozen=True)
class Task:
    """A held-out task of one world and the metrics that its table shows: (key, label, unit)."""

    name: str
    title: str
    target: str
    metrics: tuple[tuple[str, str, str], ...]
    baseline: str


TASKS = (
    Task(
        "task_molecules",
        "Potential energy surface of unseen molecules at a new level of theory (GFN1-xTB)",
        "energy,forces",
        (
            ("energy_mae_meV_per_atom", "energy, MAE", "meV/atom"),
            ("forces_mae_eV_per_A", "forces, MAE", "eV/A"),
        ),
        "baseline_",
    ),
    Task(
        "task_crystals",
        "Bulk modulus of unseen alloys",
        "bulk_modulus",
        (
            ("bulk_modulus_mae_GPa", "bulk modulus, MAE", "GPa"),
            ("bulk_modulus_rmse_GPa", "bulk modulus, RMSE", "GPa"),
        ),
        "baseline_",
    ),
    Task(
        "task_fields",
        "Rollout of flows at unseen viscosities",
        "velocity,vorticity,pressure",
        (
            ("velocity_rollout_vrmse", "velocity, rollout VRMSE", "1"),
            ("vorticity_rollout_vrmse", "vorticity, rollout VRMSE", "1"),
        ),
        "baseline_persistence_",
    ),
)


def write_parts(task: Task, out: Path) -> None:
    """Train, validation and test stores of a task, split by groups (never by frame). Flows are tested at viscosities
    that neither pretraining nor the task's own training part has."""
    from atomfield.data.generate.fields import VISCOSITY, VISCOSITY_GAP
    from atomfield.data.source import open_source
    from atomfield.data.splits import split_groups
    from atomfield.data.store import is_store, write_store

    graphs = list(open_source(f"starter/{task.name}"))
    if task.name == "task_fields":

        def unseen(g: Graph) -> bool:
            nu = g.conditions["viscosity"]
            return VISCOSITY_GAP[0] <= nu <= VISCOSITY_GAP[1] or nu > VISCOSITY[1]

        test = [g for g in graphs if unseen(g)]
        rest = [g for g in graphs if not unseen(g)]
    else:
        kept, held = split_groups([g.group for g in graphs], 0.3, SPLIT_SEED)
        rest, test = [graphs[i] for i in kept], [graphs[i] for i in held]
    kept, held = split_groups([g.group for g in rest], 0.15, SPLIT_SEED + 1)
    for name, part in (
        ("train", [rest[i] for i in kept]),
        ("valid", [rest[i] for i in held]),
        ("test", test),
    ):
        if not is_store(out / name):
            write_store(part, out / name)
