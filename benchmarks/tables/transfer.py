"""Does pretraining pay? Nine downstream tasks from scratch, from a checkpoint of the task's world, from one of all worlds, and
from the shipped model.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/table.py transfer --checkpoints CKPTS [--cache runs/transfer/data] [--steps 400] [--samples 50,10,200,all]

CKPTS holds checkpoints ``molecules``, ``crystals``, ``fields`` and ``all`` (folders with ``model/``), all of one size. Only cells
of the first number of samples need them, which come first; the others start from scratch and from the shipped model. ``all``
samples have one seed, the others ``--seeds``. Every cell is one thread. Tasks are in ``transfer_tasks.py``, their settings, which
the table ``transfer_settings`` chose, in ``transfer_cell.py``. Writes ``docs/transfer.md`` and its pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1]))
from transfer_cell import SETTINGS, chosen, finetuning
from transfer_results import CURVES, OWN, ROWS, SCRATCH, SHIPPED, trials
from transfer_tasks import ALL, TASKS, TransferTask

HERE = Path(__file__).parents[1]
TOO_FEW = {("silicon", 200)}
"""Tasks whose pool is smaller."""
METRICS = {
    "error": "Test error",
    "trivial": "Test error of the trivial baseline",
    "valid_error": "Least validation error",
    "steps": "Steps",
    "training_processor_s": "Processor time of training, s",
    "processor_s": "Processor time of the whole command, s",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoints", type=Path, default=Path("runs/transfer/checkpoints"))
    parser.add_argument("--cache", type=Path, default=Path("runs/transfer/data"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--samples", default="50,10,200,all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", default="s")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")


def start_of(row: str, task: TransferTask, checkpoints: Path) -> str:
    if row in (SCRATCH, SHIPPED):
        return {SCRATCH: "scratch", SHIPPED: "atomfield-s"}[row]
    return str((checkpoints / (task.world if row == OWN else "all")).absolute())


def cells(options: argparse.Namespace) -> list[Cell]:
    out = []
    for stage, word in enumerate(options.samples.split(",")):
        samples = ALL if word == "all" else int(word)
        for task in TASKS:
            if (task.name, samples) in TOO_FEW:
                continue
            for row in ROWS if stage == 0 else CURVES:
                start = start_of(row, task, options.checkpoints)
                for seed in range(1 if samples == ALL else options.seeds):
                    out.append(
                        finetuning(
                            row, f"{task.name}, {word}", seed, task=task.name, start=start, samples=samples,
                            steps=options.steps, settings=chosen(start, task), cache=options.cache,
                            stage=min(stage, 1), more=("--size", options.size),
                        )
                    )  # fmt: skip
    return out


def finish(cells: list[Cell], folder: Path, options: argparse.Namespace) -> None:
    from transfer_page import About, write_page

    notes = folder / "notes.md"
    about = About(
        options.steps,
        options.samples.split(","),
        SETTINGS,
        trials(folder.parent / "transfer_settings"),
        notes.read_text() if notes.exists() else "",
    )
    write_page(cells, folder, options.docs, about)
