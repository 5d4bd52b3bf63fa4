"""What the table ``transfer`` says: ratios to scratch, seeds, steps to the scratch error, one world against all.

Everything is paired by seed: the starts of one seed have the same records to train and validate on. The ratio of a task is the
median over seeds of error / error from scratch.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cells import Cell, read, state
from transfer_tasks import TASKS

SCRATCH, OWN, EVERY, SHIPPED = "scratch", "own world", "all worlds", "shipped"
ROWS = (SCRATCH, OWN, EVERY, SHIPPED)
CURVES = (SCRATCH, SHIPPED)
"""Starts that are compared at other numbers of samples than the first."""
Values = Mapping[str, Any]


@dataclass
class Results:
    """Finished values by (row, task, samples as written, seed)."""

    values: dict[tuple[str, str, str, int], Values] = field(default_factory=dict)
    days: dict[tuple[str, str, str, int], str] = field(default_factory=dict)
    """When each was measured, where the record says so."""
    wanted: int = 0
    finished: int = 0
    failed: int = 0
    earlier: Results | None = None
    """Of code and checkpoints that are no more, whole in itself: it stands for the rows that this run lacks."""

    def holding(self, row: str) -> Results:
        """This run, or the earlier one where only that has ``row``."""
        if self.earlier is not None and not any(r == row for r, *_ in self.values):
            return self.earlier
        return self

    def seeds(self, row: str, task: str, samples: str) -> list[int]:
        return sorted(s for r, t, n, s in self.values if (r, t, n) == (row, task, samples))

    def errors(self, row: str, task: str, samples: str) -> list[float]:
        return [self.values[row, task, samples, s]["error"] for s in self.seeds(row, task, samples)]

    def has(self, samples: str, task: str | None = None) -> bool:
        """Whether a cell with so many samples is finished, of ``task`` or of any."""
        return any(n == samples and task in (None, t) for _, t, n, _ in self.values)

    def ratios(self, row: str, task: str, samples: str, base: str = SCRATCH) -> list[float]:
        """Error over that of ``base``, seed by seed, where both are finished."""
        both = sorted(set(self.seeds(row, task, samples)) & set(self.seeds(base, task, samples)))
        get = lambda r, s: self.values[r, task, samples, s]["error"]  # noqa: E731
        return [get(row, s) / get(base, s) for s in both]

    def times(self, row: str, task: str, samples: str) -> list[float]:
        """Steps to the scratch error, seed by seed; infinite where it is not reached."""
        both = sorted(set(self.seeds(row, task, samples)) & set(self.seeds(SCRATCH, task, samples)))
        found = []
        for seed in both:
            scratch = self.values[SCRATCH, task, samples, seed]["curve"]
            found.append(time_to(self.values[row, task, samples, seed]["curve"], least(scratch)))
        return found


def collect(cells: Sequence[Cell], folder: Path) -> Results:
    """``folder/earlier``, where there is one, holds the cells of an earlier run."""
    results = Results(wanted=len(cells))
    if (folder / "earlier").is_dir():
        results.earlier = collect(cells, folder / "earlier")
    for cell in cells:
        record = read(folder, cell)
        here = state(record)
        results.failed += here == "failed"
        if record is not None and here in ("done", "busy"):
            results.finished += 1
            task, samples = cell.column.rsplit(", ", 1)
            results.values[cell.row, task, samples, cell.seed] = record["values"]
            if day := record.get("machine", {}).get("date", "")[:10]:
                results.days[cell.row, task, samples, cell.seed] = day
    return results


def trials(folder: Path) -> dict[tuple[str, str], int]:
    """(``scratch`` or ``pretrained``, task) -> how many settings were tried: cells of ``transfer_settings`` in ``folder``."""
    found: dict[tuple[str, str], int] = {}
    for file in sorted(folder.glob("*.json")):
        record = json.loads(file.read_text())
        if state(record) != "failed":
            key = record["row"].split(":")[0], record["column"]
            found[key] = found.get(key, 0) + 1
    return found


# ---------------------------------------------------------------- arithmetic
def least(curve: Sequence[Sequence[float]]) -> float:
    """The least validation error of a run: that of the weights it keeps, up to the weighing of several errors."""
    return min(error for _, error in curve)


def time_to(curve: Sequence[Sequence[float]], error: float) -> float:
    """Steps of the first validation at or below ``error``; infinite where none is."""
    return next((steps for steps, value in curve if value <= error), math.inf)


def median_ratio(results: Results, row: str, task: str, samples: str, base: str = SCRATCH) -> float | None:
    ratios = results.ratios(row, task, samples, base)
    return statistics.median(ratios) if ratios else None


def verdict(ratios: Sequence[float]) -> str:
    """Whether all seeds agree: ``helps``, ``hurts`` or ``undecided``; of one seed nothing is said."""
    if len(ratios) < 2:
        return "one seed" if ratios else "not run"
    if all(r < 1 for r in ratios):
        return "helps"
    return "hurts" if all(r > 1 for r in ratios) else "undecided"


def summary(results: Results, row: str, samples: str) -> str:
    """How many tasks are lower, and by how much in the median."""
    ratios = [r for t in TASKS if (r := median_ratio(results, row, t.name, samples)) is not None]
    if not ratios:
        return "not run"
    lower = sum(r < 1 for r in ratios)
    change = 1 - statistics.median(ratios)
    what = "reduction" if change >= 0 else "INCREASE"
    rest = "" if len(ratios) == len(TASKS) else f" ({len(ratios)} of {len(TASKS)} tasks are measured)"
    return f"lower in {lower} of {len(ratios)} tasks, median {what} {abs(change):.0%}{rest}"
