"""Which settings of finetuning serve at 50 samples: as many trials from scratch as from a checkpoint, on two tasks
of surfaces, one of properties and one of evolution.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/table.py transfer_settings --checkpoints DIR [--steps 400]

Judged on 100 samples of the task's pool that neither train nor validate; test records are not touched. What was chosen stands in
``transfer_cell.py``. DIR/all is the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1]))
from transfer_cell import finetuning

COLUMNS = ("ethanol", "silicon", "phonons", "flows")
TRIALS = {
    "scratch": (
        "learning_rate=4e-3",
        "learning_rate=8e-3",
        "learning_rate=2e-3",
    ),
    "pretrained": (
        "strategy=full,learning_rate=2e-3",
        "strategy=full,learning_rate=4e-3",
        "strategy=lora,learning_rate=4e-3",
    ),
}
METRICS = {
    "error": "Error on 100 other samples (ethanol and silicon meV/A, phonons 1/cm, flows VRMSE)",
    "valid_error": "Least validation error",
    "trivial": "Trivial baseline",
    "steps": "Steps",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/transfer/data"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--samples", type=int, default=50)


def cells(options: argparse.Namespace) -> list[Cell]:
    """The first trials of both come first."""
    out = []
    for kind, trials in TRIALS.items():
        start = "scratch" if kind == "scratch" else str((options.checkpoints / "all").absolute())
        for stage, settings in enumerate(trials):
            for task in COLUMNS:
                out.append(
                    finetuning(
                        f"{kind}: {settings}", task, 0, task=task, start=start, samples=options.samples,
                        steps=options.steps, settings=settings, cache=options.cache, stage=stage,
                        more=("--judge", "pool"),
                    )
                )  # fmt: skip
    return out
