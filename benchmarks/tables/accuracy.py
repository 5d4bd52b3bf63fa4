"""Held-out errors after the same training time on two cores, from scratch: ours, MACE and NequIP on the same files.

    python benchmarks/table.py accuracy --data DIR --peers .peers [--threads 2]

Three seeds at 10 minutes, then one at 30. DIR holds ``ethanol_botnet``, ``3bpa_train`` and ``mlearn`` (public files, not part of
this repository). Columns, splits and the evaluator are in ``potentials.py``; settings of the peers in ``peers/*_train.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

ROWS = (
    ("atomfield", "s"),
    ("atomfield", "xs"),
    ("nequip", "S"),
    ("nequip", "S+cosine"),
    ("mace", "64x0e+64x1o"),
    ("mace", "64x0e"),
)
COLUMNS = ("ethanol", "Si", "3bpa", "Cu")
MINUTES = ((10, (0, 1, 2)), (30, (0,)))
METRICS = {
    "forces_mae_meV_per_A": "Forces, MAE, meV/angstrom",
    "forces_rmse_meV_per_A": "Forces, RMSE, meV/angstrom",
    "energy_mae_meV_per_atom": "Energy, MAE, meV/atom",
    "energy_rmse_meV_per_atom": "Energy, RMSE, meV/atom",
    "training_s": "Training time of the peers (MACE its loop, NequIP its whole command), s",
    "command_s": "Wall time of all commands, prediction included, s",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--threads", type=int, default=2)


def cells(options: argparse.Namespace) -> list[Cell]:
    """Those of 10 minutes come before those of 30, which have columns of their own."""
    script = str(Path(__file__).parents[1] / "accuracy.py")
    out = []
    for minutes, seeds in MINUTES:
        for package, size in ROWS:
            for name in COLUMNS:
                for seed in seeds:
                    seconds = 60 * minutes
                    command = (
                        sys.executable, script, "--package", package, "--size", size, "--set", name, "--seconds", str(seconds),
                        "--seed", str(seed), "--threads", str(options.threads), "--data", str(options.data.absolute()),
                        "--peers", str(options.peers.absolute()), "--work", "{work}", "--result", "{result}",
                    )  # fmt: skip
                    column = f"{name}, {minutes} min"
                    out.append(
                        Cell(f"{package} {size}", column, seed, command, options.threads, 2 * seconds + 900)
                    )
    return out
