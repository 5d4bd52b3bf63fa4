"""One cell of the table ``transfer``: finetune a start on so many samples of a task, and measure it on the task's test records.

    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data
    python benchmarks/transfer.py cell --task ethanol --start CHECKPOINT --samples 50 --seed 0 --steps 400 --cache DIR \
        --work W --result FILE

``data`` reads the public files in DIR once and keeps each task as stores (minutes). ``--start`` is the folder of a checkpoint, or
``scratch``: a network of ``--size`` from random weights. ``--samples 0`` takes all. Every start gets the same number of steps of
the same network on the same records, which is the same compute on any machine. ``--set KEY=VALUE,...`` changes settings of the
finetuning; to choose them, ``--judge pool`` measures on records of the pool that take no part, and leaves the test alone.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import yaml

BORN = time.monotonic()
JUDGED = 100
"""Samples of the pool that settings are chosen on."""


def cell(options: argparse.Namespace) -> dict[str, Any]:
    """Test error beside the trivial baseline, the validation errors over time, and what was spent."""
    import torch
    from rich.console import Console
    from transfer_parts import first, in_order, split
    from transfer_tasks import task_named

    import atomfield
    from atomfield.data.store import Store, is_store
    from atomfield.finetune.assess import assess
    from atomfield.finetune.config import FinetuneConfig
    from atomfield.finetune.parts import Parts
    from atomfield.finetune.run import trained

    torch.set_num_threads(1)
    task = task_named(options.task)
    folder = options.cache / task.name
    pool, test = (list(Store(folder / name)) for name in ("pool", "test"))
    held = list(Store(folder / "valid")) if is_store(folder / "valid") else []
    parts = split(pool, options.samples, options.seed, held)
    if parts is None:
        raise SystemExit(f"{task.name} has fewer than {options.samples} samples to train on")
    train, valid = parts
    if options.judge == "pool":
        taken = {(g.provenance, g.group) for g in (*train, *valid)}
        rest = [g for g in in_order(pool, options.seed) if (g.provenance, g.group) not in taken]
        test = first(rest, JUDGED)
    settings = settings_of(options.set)
    config = FinetuneConfig.model_validate(
        {
            "from": options.start, "train": (str(folder / "pool"),), "target": task.target, "out": options.work / "run",
            "steps": options.steps, "clock": "processor", "least_records": 1, "seed": options.seed, "device": "cpu",
            **({"network": options.size} if options.start == "scratch" else {}), **settings,
        }
    )  # fmt: skip
    console = Console(width=160)
    ready = time.monotonic()
    done = trained(config, Parts(train, valid, test), console)
    found_s = time.monotonic()
    curve = [(row["step"], row[task.valid]) for row in done.history if task.valid in row]
    steps, seconds = done.history[-1]["step"], done.history[-1]["seconds"]
    values: dict[str, Any] = {
        "valid_error": task.scale * min(error for _, error in curve),
        "curve": [[step, task.scale * error] for step, error in curve],
        "steps": steps, "training_processor_s": seconds, "settings": settings, "start": start_of(options.start),
        "parameters": sum(p.numel() for p in done.net.parameters()),
        "samples": {"train": number_of(train), "valid": number_of(valid), "test": number_of(test)},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "atomfield": atomfield.__version__},
    }  # fmt: skip
    quiet = Console(file=io.StringIO())
    flat = assess(done.net, done.parts.test, task.target, train=done.parts.train, console=quiet).flat()
    values |= {"error": task.scale * flat[task.metric], "trivial": task.scale * flat[task.baseline]}
    ended = time.monotonic()
    values |= {
        "read_s": ready - BORN, "training_wall_s": found_s - ready, "evaluation_s": ended - found_s,
        "processor_s": sum(resource.getrusage(resource.RUSAGE_SELF)[:2]),
    }  # fmt: skip
    return values


def number_of(graphs: list[Any]) -> int:
    """Samples of all records."""
    from transfer_parts import samples_in

    return sum(samples_in(g) for g in graphs)


def settings_of(text: str) -> dict[str, Any]:
    """``learning_rate=2e-3,strategy=full`` as a dictionary."""
    pairs = (pair.split("=", 1) for pair in text.split(",") if pair)
    return {key: yaml.safe_load(value) for key, value in pairs}


def start_of(start: str) -> str:
    """``scratch``, or the first 16 digits of the sha256 of the weights."""
    if start == "scratch":
        return start
    from atomfield.models.checkpoint import find

    return hashlib.sha256((find(start) / "model.safetensors").read_bytes()).hexdigest()[:16]


def data(options: argparse.Namespace) -> None:
    from transfer_sources import prepare
    from transfer_tasks import TASKS

    logging.getLogger("atomfield").setLevel(logging.ERROR)  # rows without the label, one warning each
    for task in TASKS:
        began = time.monotonic()
        prepare(task, options.data, options.cache / task.name)
        about = (options.cache / task.name / "about.json").read_text()
        print(f"{task.name}: {' '.join(about.split())} ({time.monotonic() - began:.1f} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["data", "cell"])
    parser.add_argument("--data", type=Path, help="folder with the public sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the tasks' stores")
    parser.add_argument("--task")
    parser.add_argument("--start", default="scratch")
    parser.add_argument("--size", default="s")
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", default="")
    parser.add_argument("--judge", choices=["test", "pool"], default="test")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--result", type=Path)
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before torch is imported
    if options.stage == "data":
        data(options)
        return
    values = cell(options)
    options.result.write_text(json.dumps(values, indent=1))


if __name__ == "__main__":
    main()
