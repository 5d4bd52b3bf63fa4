"""One cell of the table ``accuracy``: train a package from scratch for a given time, predict the test records, evaluate.

    python benchmarks/accuracy.py --package nequip --size S --set ethanol --seconds 600 --data DIR --work DIR --result FILE

Training time is wall time: of the whole ``atomfield finetune`` for ours, reading and report included; of their training loops for
the peers. Every package gets the same files, see ``potentials.py``, and one evaluator reads what it predicts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import potentials
from peers.client import HERE, SETTINGS, python_of


def atomfield(files: dict[str, Path], options: argparse.Namespace) -> list[list[str]]:
    """Finetune from scratch, then predict. ``--size s`` is the default."""
    run = options.work / "run"
    command = [sys.executable, "-m", "atomfield"]
    keys = ["--map", "energy=REF_energy,forces=REF_forces"]
    train = [
        *command, "finetune", "--from", "scratch", "--train", str(files["train"]), "--valid", str(files["valid"]),
        "--target", "energy,forces", *keys, "--max-time", f"{options.seconds}s", "--seed", str(options.seed),
        "--out", str(run), "--device", "cpu",
    ]  # fmt: skip
    if options.size != "s":
        train += ["--size", options.size]
    predict = [
        *command,
        "predict",
        str(run),
        str(files["test"]),
        "--out",
        str(options.work / "predictions.npz"),
        *keys,
    ]
    return [train, [*predict, "--device", "cpu"]]


def peer(files: dict[str, Path], options: argparse.Namespace) -> list[list[str]]:
    """The package's own training command with a limit of time, then its predictions, in its environment."""
    script = HERE / f"{options.package}_train.py"
    arguments = [str(files["train"]), str(files["valid"]), str(files["test"]), "--size", options.size]
    arguments += ["--seconds", str(options.seconds), "--seed", str(options.seed), "--work", str(options.work)]
    return [[str(python_of(options.package, options.peers)), str(script), *arguments]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", choices=["atomfield", "mace", "nequip"], required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--set", choices=list(potentials.SETS), required=True)
    parser.add_argument("--seconds", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peers", type=Path, default=Path(".peers"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    options.work = options.work.resolve()
    options.peers = options.peers.absolute()
    options.work.mkdir(parents=True, exist_ok=True)
    files = potentials.prepare(options.set, options.data, options.work, options.seed)
    threads = {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    environment = {**os.environ, **threads, **SETTINGS[options.package]}
    started = time.monotonic()
    for command in atomfield(files, options) if options.package == "atomfield" else peer(files, options):
        subprocess.run(command, check=True, env=environment, cwd=options.work)
    predictions = options.work / "predictions.npz"
    if options.package == "atomfield":
        predictions = flat(predictions)
    values = potentials.errors(files["test"], predictions)
    extra = options.work / "training.json"
    if extra.exists():
        values |= json.loads(extra.read_text())
    values["command_s"] = time.monotonic() - started
    options.result.write_text(json.dumps(values, indent=1))


def flat(path: Path) -> Path:
    """Our own file of predictions as ``energy [G]`` and ``forces [N, 3]``."""
    with np.load(path) as file:
        print({name: file[name].shape for name in file.files})
        np.savez(path.with_name("flat.npz"), energy=file["energy"], forces=file["forces"])
    return path.with_name("flat.npz")


if __name__ == "__main__":
    main()
