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
    """A held-out task of one world."""

    name: str
    """Of its store in the starter corpus."""
    title: str
    target: str
    """What ``--target`` takes."""
    metrics: tuple[tuple[str, str, str], ...]
    """Errors that the table shows: (key in metrics.json, label, unit)."""
    baseline: str = "baseline_"
    """What stands before the key of the same error of the trivial baseline."""


TASKS = (
    Task(
        name="task_molecules",
        title="Potential energy surface of unseen molecules at a new level of theory (GFN1-xTB)",
        target="energy,forces",
        metrics=(
            ("energy_mae_meV_per_atom", "energy, MAE", "meV/atom"),
            ("forces_mae_eV_per_A", "forces, MAE", "eV/A"),
        ),
    ),
    Task(
        name="task_crystals",
        title="Bulk modulus of unseen alloys",
        target="bulk_modulus",
        metrics=tuple(
            (f"bulk_modulus_{e}_GPa", f"bulk modulus, {e.upper()}", "GPa") for e in ("mae", "rmse")
        ),
    ),
    Task(
        name="task_fields",
        title="Rollout of flows at unseen viscosities",
        target="velocity,vorticity,pressure",
        metrics=tuple((f"{q}_rollout_vrmse", f"{q}, rollout VRMSE", "1") for q in ("velocity", "vorticity")),
        baseline="baseline_persistence_",
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
