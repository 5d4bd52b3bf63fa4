"""Loss and downstream error against the size of the network and of the corpus, at the same compute of pretraining.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/scaling.py data --config configs/pretrain_corpus.yaml --corpus DIR \\
        --exclude runs/transfer/data --cache runs/scaling/data
    python benchmarks/table.py scaling --config configs/pretrain_corpus.yaml [--pretrain-seconds 600] [--steps 400]

Sizes s with half its channels, s and m; 1/16, 1/4 and all of the corpus. Each checkpoint is finetuned on 50 samples of one
task of each world, as in the table ``transfer``. Writes a section of ``docs/scaling.md``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1]))
from scaling import SHARES
from transfer_cell import chosen, finetuning
from transfer_tasks import task_named

HERE = Path(__file__).parents[1]
SIZES = {"half s": "{size: s, channels: 16, channels_unnatural: 4}", "s": "s", "m": "m"}
"""Size xs has no place for the vorticity of flows, so the smallest is s with half its channels."""
TASKS = ("ethanol", "phonons", "flows")
METRICS = {
    "error": "Downstream test error at 50 samples (ethanol meV/Å, phonons 1/cm, flows VRMSE)",
    "parameters": "Parameters",
    "records": "Records of the share",
    "steps": "Steps",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=HERE.parent / "configs" / "pretrain_corpus.yaml")
    parser.add_argument("--cache", type=Path, default=Path("runs/scaling/data"))
    parser.add_argument("--runs", type=Path, default=Path("runs/scaling"))
    parser.add_argument("--tasks", type=Path, default=Path("runs/transfer/data"), help="cache of the tasks")
    parser.add_argument("--pretrain-seconds", type=float, default=600.0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=2, help="of finetuning")
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")


def share_name(share: int) -> str:
    return "all" if share == 1 else f"1/{share}"


def cells(options: argparse.Namespace) -> list[Cell]:
    """All pretraining comes before any finetuning."""
    out = []
    for size, network in SIZES.items():
        for share in SHARES:
            run = str((options.runs / f"{size.replace(' ', '_')}-{share}").absolute())
            command = (
                sys.executable, str(HERE / "scaling.py"), "pretrain", "--config", str(options.config.absolute()),
                "--size", network, "--share", str(share), "--seconds", f"{options.pretrain_seconds:g}",
                "--cache", str(options.cache.absolute()), "--run", run, "--result", "{result}",
            )  # fmt: skip
            limit = 10 * options.pretrain_seconds + 1800
            out.append(Cell(size, f"{share_name(share)}, pretraining", 0, command, 1, limit))
            for task in TASKS:
                for seed in range(options.seeds):
                    out.append(
                        finetuning(
                            size, f"{share_name(share)}, {task}", seed, task=task, start=run, samples=50,
                            steps=options.steps, settings=chosen(run, task_named(task)), cache=options.tasks, stage=1,
                        )
                    )  # fmt: skip
    return out


def finish(cells: list[Cell], folder: Path, options: argparse.Namespace) -> None:
    from scaling_page import write_section

    file = options.docs / "scaling.md"
    write_section(cells, folder, file, options.pretrain_seconds, options.steps, options.config)
