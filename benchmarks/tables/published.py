"""``atomfield finetune`` with its defaults on public sets, beside what others published on the same test records.

    python benchmarks/published.py data --data DIR --cache runs/published/data
    python benchmarks/table.py published [--cache runs/published/data] [--seconds 300]

DIR holds ``ethanol_botnet``, ``3bpa_train``, ``md17_ethanol_ccsdt``, ``mlearn``, ``nbmotaw``, ``matbench_phonons``,
``jarvis_supercon``, ``moleculenet`` and ``neuralop`` (public files, not part of this repository). Every cell trains for the same
processor time on one thread, from the shipped model and from scratch. Sets, splits and published numbers with their sources are
in ``../published_sets.py``. Writes a table of its own into ``docs/published.md``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

sys.path.insert(0, str(Path(__file__).parents[1]))
from published_sets import SETS

HERE = Path(__file__).parents[1]
ROWS = {"atomfield-s": "atomfield-s", "from scratch": "scratch"}
SEEDS = 3
METRICS = {
    "error": "Test error",
    "trivial": "Test error of the trivial forecast",
    "error_finer": "Test error at twice the resolution, not trained on",
    "error_finer_interleaved": "The same, read as interleaved grids of the trained spacing",
    "coverage_energy": "Share of test energies within their 90 % intervals",
    "coverage_forces": "Share of test forces within their 90 % intervals",
    "steps": "Steps",
    "training_s": "Processor time of training, s",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", type=Path, default=Path("runs/published/data"))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--docs", type=Path, default=HERE.parent / "docs")


def cells(options: argparse.Namespace) -> list[Cell]:
    """The shipped model on every set, then the control, then further seeds."""
    out = []
    for stage, (row, start) in enumerate(ROWS.items()):
        for public in SETS:
            for seed in range(SEEDS):
                command = (
                    sys.executable, str(HERE / "published.py"), "cell", "--set", public.name, "--start", start,
                    "--seconds", f"{options.seconds:g}", "--seed", str(seed), "--cache", str(options.cache.absolute()),
                    "--work", "{work}", "--result", "{result}",
                )  # fmt: skip
                limit = 4 * options.seconds + 1200
                out.append(Cell(row, public.name, seed, command, 1, limit, stage=len(ROWS) * seed + stage))
    return out


def finish(cells: list[Cell], folder: Path, options: argparse.Namespace) -> None:
    from published_page import write_page

    write_page(cells, folder, options.docs / "published.md", options.seconds)
