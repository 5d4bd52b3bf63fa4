"""Cells that finetune a start on a task, with their settings: tables ``transfer``, ``transfer_settings`` and ``scaling``."""

from __future__ import annotations

import sys
from pathlib import Path

from cells import Cell
from transfer_tasks import TransferTask

SCRIPT = Path(__file__).with_name("transfer.py")
SETTINGS: dict[tuple[str, str], str] = {
    ("pretrained", "surface"): "learning_rate=4e-3",
    ("pretrained", "property"): "strategy=full,learning_rate=4e-3",
    ("pretrained", "evolution"): "learning_rate=4e-3",
    ("pretrained", "steady"): "learning_rate=2e-3",
    ("scratch", "property"): "learning_rate=8e-3",
    ("scratch", "evolution"): "learning_rate=8e-3",
}
"""(``scratch`` or ``pretrained``, kind of task) -> what the table ``transfer_settings`` chose, and for steady
fields the default of the time; others are the defaults."""


def chosen(start: str, task: TransferTask) -> str:
    """Settings of the finetuning of ``start``, a checkpoint or ``scratch``, on ``task``; "" for the defaults."""
    return SETTINGS.get(("scratch" if start == "scratch" else "pretrained", task.kind), "")


def finetuning(
    row: str,
    column: str,
    seed: int,
    *,
    task: str,
    start: str,
    samples: int,
    steps: int,
    settings: str,
    cache: Path,
    stage: int,
    more: tuple[str, ...] = (),
) -> Cell:
    """A command of ``transfer.py``. start: folder of a checkpoint, or ``scratch``. cache: the
    stores of the tasks. more: further words of the command."""
    command = (
        sys.executable, str(SCRIPT), "cell", "--task", task, "--start", start, "--samples", str(samples),
        "--steps", str(steps), "--seed", str(seed), "--cache", str(cache.absolute()), "--set", settings, *more,
        "--work", "{work}", "--result", "{result}",
    )  # fmt: skip
    return Cell(row, column, seed, command, 1, limit_s=2 * steps + 600, stage=stage)
