"""The laws that the quickstart's networks obey, as one table of its report."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from atomfield.finetune.laws import LABELS
from atomfield.finetune.report import Table, number
from atomfield.inference.drift import nve_drift

CAPTION = (
    "Of the finetuned networks on test records, in single precision but for the drift. Laws of fields are relative residuals of "
    "one step: 0 for a solution, 1 where nothing cancels; those of the data hold what time step and grid leave."
)
ROWS = (
    ("forces_net_eV_per_A", "sum of forces", "eV/Å"),
    ("forces_net_torque_eV", "sum of torques", "eV"),
    *((f"law_{name}", label, "–") for name, label in LABELS.items()),
    ("equivariance_error_rotation", "answer to a rotated record, relative error", "–"),
    ("equivariance_error_reflection", "answer to a reflected record, relative error", "–"),
)
"""Key of an evaluation's metrics, what it says, unit."""


def laws(
    metrics: Mapping[str, float], tasks: Sequence[str], dynamics: Path, start: str = "pretrained"
) -> Table:
    """What the evaluation of each of ``tasks`` measured of the network that began at ``start``, and the drift of the energy along
    the run in the folder ``dynamics``."""
    rows = [
        [
            "energy drift at constant energy, double precision",
            "molecules",
            number(drift(dynamics)),
            "–",
            "meV/atom/ps",
        ]
    ]
    for task in tasks:
        for key, label, unit in ROWS:
            found = metrics.get(f"{task}/{start}/{key}")
            if found is not None:
                data = metrics.get(f"{task}/{start}/{key}_of_data", float("nan"))
                rows.append([label, task.removeprefix("task_"), number(found), number(data), unit])
    columns = ["law", "task", "network", "data", "unit"]
    return Table(columns, rows, CAPTION, text_columns=frozenset({0, 1, 4}))


def drift(folder: Path) -> float:
    """meV/atom/ps of a run at constant energy: its ``log.csv``, started from ``relaxed.xyz``."""
    from ase import Atoms
    from ase.io import read

    with (folder / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    time_fs, energy = (np.array([float(row[name]) for row in rows]) for name in ("time_fs", "etot"))
    atoms = read(folder / "relaxed.xyz")
    assert isinstance(atoms, Atoms)
    return nve_drift(time_fs, energy, len(atoms))
