"""Which settings of finetuning serve at 50 samples: as many trials from scratch as from a checkpoint, on one task of each world.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/table.py transfer_settings --checkpoints DIR [--seconds 60]

Judged on 100 samples of the task's pool that neither train nor validate; test records are not touched. What was chosen stands in
``tables/transfer.py``. DIR/all is the checkpoint.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

COLUMNS = ("ethanol", "phonons", "flows")
TRIALS = {
    "scratch": (
        "learning_rate=4e-3",
        "learning_rate=8e-3",
        "learning_rate=2e-3",
        "learning_rate=1.6e-2",
        "learning_rate=8e-3,ema_decay=0.98",
        "learning_rate=4e-3,ema_decay=0.98",
    ),
    "pretrained": (
        "strategy=full,learning_rate=2e-3",
        "strategy=full,learning_rate=4e-3",
        "strategy=lora,learning_rate=4e-3",
        "strategy=full,learning_rate=8e-3",
        "strategy=full,learning_rate=4e-3,layer_decay=1",
        "strategy=full,learning_rate=1e-3",
    ),
}
METRICS = {
    "error": "Error on 100 other samples (ethanol meV/A, phonons 1/cm, flows VRMSE)",
    "valid_error": "Least validation error",
    "trivial": "Trivial baseline",
    "steps": "Steps",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoints", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/transfer/data"))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--samples", type=int, default=50)


def cells(options: argparse.Namespace) -> list[Cell]:
    """The first trials of both come first."""
    script = str(Path(__file__).parents[1] / "transfer.py")
    out = []
    for start, trials in TRIALS.items():
        folder = "scratch" if start == "scratch" else str((options.checkpoints / "all").absolute())
        for stage, settings in enumerate(trials):
            for task in COLUMNS:
                command = (
                    sys.executable, script, "cell", "--task", task, "--start", folder, "--samples", str(options.samples),
                    "--seconds", str(options.seconds), "--cache", str(options.cache.absolute()), "--set", settings,
                    "--judge", "pool", "--work", "{work}", "--result", "{result}",
                )  # fmt: skip
                limit = 10 * options.seconds + 600
                out.append(Cell(f"{start}: {settings}", task, 0, command, 1, limit, stage=stage))
    return out
