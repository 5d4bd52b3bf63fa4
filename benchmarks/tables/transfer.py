"""Does pretraining pay? Nine downstream tasks from scratch, from a checkpoint of the task's world, and from one of all worlds.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/table.py transfer --checkpoints CKPTS [--cache runs/transfer/data] [--seconds 60] [--samples 50,10,200,all]

CKPTS holds checkpoints ``molecules``, ``crystals``, ``fields`` and ``all`` (folders with ``model/``), all of one size. Cells of
the first number of samples come first, each with three seeds; the others have ``--curve-seeds``. Every cell is one thread. Tasks
are in ``transfer_tasks.py``; the settings below were chosen by the table ``transfer_settings``. Writes ``docs/transfer.md`` and
its pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1]))
from transfer_tasks import ALL, TASKS, TransferTask

HERE = Path(__file__).parents[1]
ROWS = ("scratch", "own world", "all worlds")
TOO_FEW = {("silicon", 200)}
"""Tasks whose pool is smaller."""
SETTINGS: dict[tuple[str, str], str] = {
    ("pretrained", "property"): "strategy=full,learning_rate=4e-3",
    ("pretrained", "evolution"): "learning_rate=4e-3",
    ("scratch", "evolution"): "learning_rate=8e-3",
}
"""(``scratch`` or ``pretrained``, kind of task) -> settings of the finetuning; others are its defaults."""
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
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--samples", default="50,10,200,all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--curve-seeds", type=int, default=1)
    parser.add_argument("--size", default="s")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")


def start_of(row: str, task: TransferTask, checkpoints: Path) -> str:
    match row:
        case "scratch":
            return "scratch"
        case "own world":
            return str((checkpoints / task.world).absolute())
        case _:
            return str((checkpoints / "all").absolute())


def cells(options: argparse.Namespace) -> list[Cell]:
    out = []
    for stage, word in enumerate(options.samples.split(",")):
        samples = ALL if word == "all" else int(word)
        for task in TASKS:
            if (task.name, samples) in TOO_FEW:
                continue
            for row in ROWS:
                settings = SETTINGS.get(("scratch" if row == "scratch" else "pretrained", task.kind), "")
                for seed in range(options.seeds if stage == 0 else options.curve_seeds):
                    command = (
                        sys.executable, str(HERE / "transfer.py"), "cell", "--task", task.name,
                        "--start", start_of(row, task, options.checkpoints), "--size", options.size,
                        "--samples", str(samples), "--seconds", f"{options.seconds:g}", "--seed", str(seed),
                        "--cache", str(options.cache.absolute()), "--set", settings, "--work", "{work}", "--result", "{result}",
                    )  # fmt: skip
                    limit = 10 * options.seconds + 600
                    out.append(
                        Cell(row, f"{task.name}, {word}", seed, command, 1, limit, stage=min(stage, 1))
                    )
    return out


def finish(cells: list[Cell], folder: Path, options: argparse.Namespace) -> None:
    from transfer_page import write_page

    write_page(cells, folder, options.docs, options.samples.split(","), SETTINGS)
