"""Rollout errors on fields after the same training time, from scratch: ours and a Fourier neural operator.

    python benchmarks/table.py fields --data DIR --peers .peers [--threads 2]

Three seeds of each. DIR holds ``cylinder_wake_nek5000`` (a public file); flows and obstacles are generated. Sets and evaluator
are in ``field_sets.py``, the models in ``field_models.py``: sizes s and xs, size s without Fourier space and without symmetry, a
Fourier neural operator, and what is fitted without training. The same errors are given for the test set after a quarter turn.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cells import Cell

ROWS = ("s", "fno", "local", "control", "xs", "pod", "persistence")
COLUMNS = ("flows", "obstacles", "wake")
FITTED = ("pod", "persistence")
METRICS = {
    "rollout_vrmse": "Rollout VRMSE, mean over times",
    "turned_rollout_vrmse": "The same after a quarter turn of the test set",
    "first_step_vrmse": "VRMSE of the first step",
    "last_step_vrmse": "VRMSE at the end of the rollout",
    "parameters": "Parameters",
    "command_s": "Wall time of all commands, rollouts included, s",
}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=600)


def cells(options: argparse.Namespace) -> list[Cell]:
    script = str(Path(__file__).parents[1] / "field_models.py")
    out = []
    for row in ROWS:
        for column in COLUMNS:
            for seed in (0,) if row in FITTED else (0, 1, 2):
                command = (
                    sys.executable, script, "--model", row, "--set", column, "--seconds", str(options.seconds),
                    "--seed", str(seed), "--threads", str(options.threads), "--data", str(options.data.absolute()),
                    "--peers", str(options.peers.absolute()), "--work", "{work}", "--result", "{result}",
                )  # fmt: skip
                out.append(Cell(row, column, seed, command, options.threads, options.seconds + 900))
    return out
