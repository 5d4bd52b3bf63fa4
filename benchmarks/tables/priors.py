"""Which prior lowers the held-out error, and what it costs: two tasks of atoms, two of fields, at 10, 30 and 100 % of the data.

    python benchmarks/table.py priors                        first seeds of every cell first, 10 % before 30 % before 100 %
    python benchmarks/table.py priors --only "10 %"          only the cells at 10 %
    python benchmarks/table.py priors --source flows=my.h5   another file of the same quantities for a task

Tasks, priors and settings are in ``../priors.py``. Negative results stay in the table.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from cells import Cell, read
from page_text import table
from priors import APPLY, PRIORS, TASKS

PERCENTS, SEEDS, STEPS = (10, 30, 100), (0, 1, 2), 300
STUDENT = {2: 12.71, 3: 4.30}
"""Quantile 0.975 of Student's t for so many seeds."""
METRICS = {
    "error": "Held-out error: forces, MAE in eV/angstrom (atoms); rollout VRMSE of velocity or concentration (fields)",
    "error_trivial": "The same of zero forces, or of persistence",
    "processor_s": "Processor time of training and evaluation, s",
    "law_divergence": "Divergence of forecasts over the gradient of the velocity",
    "law_navier_stokes": "Navier-Stokes residual of forecasts over the rate",
    "law_advection_diffusion": "Advection-diffusion residual of forecasts over the rate",
    "physics_navier_stokes_switched_off": "Share of runs whose Navier-Stokes penalty was switched off",
    "physics_advection_diffusion_switched_off": "Share of runs whose advection-diffusion penalty was switched off",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--source", default="", help="TASK=FILE, several with commas")


def cells(options: argparse.Namespace) -> list[Cell]:
    """First seeds of all shares before second ones, and of those a smaller share before a larger one."""
    script = str(Path(__file__).parents[1] / "priors.py")
    sources = dict(pair.split("=", 1) for pair in options.source.split(",") if pair)
    out = []
    for stage, percent in enumerate(PERCENTS):
        for task in TASKS:
            for prior in PRIORS:
                if prior not in APPLY[task]:
                    continue
                for seed in SEEDS:
                    command = (
                        sys.executable, script, "--task", task, "--prior", prior, "--percent", str(percent),
                        "--seed", str(seed), "--steps", str(options.steps), "--threads", str(options.threads),
                        "--work", "{work}", "--result", "{result}",
                        *(("--source", str(Path(sources[task]).absolute())) if task in sources else ()),
                    )  # fmt: skip
                    column = f"{task}, {percent} %"
                    environment = {
                        "OMP_NUM_THREADS": str(options.threads),
                        "MKL_NUM_THREADS": str(options.threads),
                    }
                    out.append(
                        Cell(
                            prior,
                            column,
                            seed,
                            command,
                            options.threads,
                            3600,
                            environment,
                            stage + seed * len(PERCENTS),
                        )
                    )
    return out


def finish(cells: list[Cell], folder: Path, options: argparse.Namespace) -> None:
    """Adds to the page what each prior changes, seed by seed against the same seed without it."""
    page = options.results / f"{options.name}.md"
    lines = [
        "", "## What a prior changes, %", "",
        "Against the cell of the same seed without it, mean and standard deviation over seeds; bold where chance "
        "alone would give such a mean less than once in twenty times (Student's t).", "",
        *table(["task, share", "prior", "error", "processor time", "seeds"], changes(cells, folder)),
    ]  # fmt: skip
    page.write_text(page.read_text() + "\n".join(lines) + "\n")


def changes(cells: list[Cell], folder: Path) -> list[list[str]]:
    """Rows of column, prior, change of the error, change of the time, number of seeds that both have."""
    found = {
        (c.row, c.column, c.seed): r["values"] for c in cells if (r := read(folder, c)) and not r["failure"]
    }
    rows = []
    for row, column in dict.fromkeys((c.row, c.column) for c in cells if c.row != "none"):
        seeds = [s for s in SEEDS if (row, column, s) in found and ("none", column, s) in found]
        if seeds:
            shown = []
            for name in ("error", "processor_s"):
                pairs = [(found[row, column, s][name], found["none", column, s][name]) for s in seeds]
                shown.append(percent([100 * (a / b - 1) for a, b in pairs]))
            rows.append([column, row, *shown, str(len(seeds))])
    return sorted(rows, key=lambda r: r[0])


def percent(values: list[float]) -> str:
    """``+3.1 ± 0.4``, bold where the mean is certain."""
    text = f"{statistics.mean(values):+.1f}"
    if len(values) > 1:
        spread = statistics.stdev(values)
        text += f" ± {spread:.1f}"
        if abs(statistics.mean(values)) > STUDENT[len(values)] * spread / len(values) ** 0.5:
            return f"**{text}**"
    return text
