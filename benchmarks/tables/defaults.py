"""Which strategy and rate are the defaults of a finetuning from the shipped model: nothing but samples and steps of the command.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/table.py defaults [--cache runs/transfer/data] [--steps 1000]

Judged on 100 samples of the task's pool that neither train nor validate; test records are not touched. 1,000 steps are what
``atomfield finetune`` takes for so few records.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1]))
from transfer_cell import finetuning

TRIALS = {
    "full, 2e-3": "strategy=full,learning_rate=2e-3",
    "full, 4e-3": "strategy=full,learning_rate=4e-3",
    "lora, 4e-3": "strategy=lora,learning_rate=4e-3",
}
PROPERTIES = ("phonons", "ESOL", "supercon")
OTHERS = ("ethanol", "silicon", "flows")
COLUMNS = tuple((task, samples) for samples in (50, 200) for task in PROPERTIES) + tuple(
    (task, 50) for task in OTHERS
)
METRICS = {
    "error": "Error on 100 other samples (phonons 1/cm, ESOL log S, supercon meV/atom, ethanol and silicon meV/A, flows VRMSE)",
    "valid_error": "Least validation error",
    "trivial": "Trivial baseline",
    "training_processor_s": "Processor time of training, s",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, default=Path("runs/transfer/data"))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--start", default="atomfield-s", help="name or folder of the checkpoint")


def cells(options: argparse.Namespace) -> list[Cell]:
    """Seed 0 of every cell, then seed 1 of properties, whose samples scatter more."""
    out = []
    for task, samples in COLUMNS:
        for row, settings in TRIALS.items():
            for seed in (0, 1) if task in PROPERTIES else (0,):
                out.append(
                    finetuning(
                        row, f"{task}, {samples}", seed, task=task, start=options.start, samples=samples,
                        steps=options.steps, settings=settings, cache=options.cache, stage=0, more=("--judge", "pool"),
                    )
                )  # fmt: skip
    return out
