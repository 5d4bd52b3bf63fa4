"""Several short runs in one launch of torchrun, since imports are what it costs; faults are injected by step.

Each entry of the plan is a configuration with, besides, ``inject``: ``{"FAULT": [steps]}``, in the last micro-batch of the first
stream, on whatever rank, or on the last rank for what happens to a process; and ``report``: a file for what ended the run.
``eager`` (no compiled convolutions), ``scattered`` (ZeRO 3 keeps no weight whole, however small) and ``uncentred`` (fields are
read as they are, as in older versions) hold for the whole run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

WORKER = r"""
import errno, json, os, signal, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
import torch
import torch.distributed as dist
from atomfield.data.errors import InputError, RunError
from atomfield.models.convolution import EdgeConvolution
from atomfield.pretrain import checkpoint, engine, loop, normalize, penalties, record
from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain.run import pretrain

plan = json.loads(sys.argv[1])
real_destroy, real_batches, real_errors = dist.destroy_process_group, loop.micro_batches_of, loop.validate
real_write, real_complete = record.Record.write, checkpoint.complete
real_settings, real_compiled = engine.deepspeed_json, EdgeConvolution.compiled
real_offsets = normalize.Statistics.offsets
dist.destroy_process_group = lambda: None
penalties.SHORTEST = 4
torch.nn.Dropout.forward = lambda self, x: x  # ranks would draw other numbers than one process
last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1

for options in plan:
    faults, report = options.pop("inject", {}), options.pop("report", None)
    count = {"step": 0}

    def injected(run, batches):
        micro = real_batches(run, batches)
        step = run.here.step + 1
        if step in faults.get("crash", []):
            raise KeyboardInterrupt  # on all ranks
        first = run.streams[0]
        hit = [m for m in micro if m.stream == first.name and (m.number + 1) % first.micro_batches == 0]
        for fault, steps in faults.items():
            if step not in steps:
                continue
            match fault:
                case "sigterm" if last:
                    os.kill(os.getpid(), signal.SIGTERM)
                case "ctrl-c" if last:
                    os.kill(os.getpid(), signal.SIGINT)
                case "die" if last:
                    os._exit(9)
                case "position" if hit:
                    hit[0].batch.positions[0] = float("nan")
                case "label" if hit:
                    hit[0].batch.quantities["forces"][0] = float("nan")
                case "loss" if hit:
                    hit[0].weight = float("nan")
                case "gradient" if hit:  # finite in float64, not in the network's float32
                    hit[0].weight = 1e200
                case "spike" if hit and (not run.here.rollbacks or "again" in str(run.config.out)):
                    hit[0].weight = 1e4
        return micro

    def validating(*given):
        if last and given[0] is not None and "validation" in faults and not count["step"]:
            count["step"] = 1
            os.kill(os.getpid(), signal.SIGUSR1)
        return real_errors(*given)

    def writing(self, row):
        if row["step"] in faults.get("full", []):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real_write(self, row)

    def settings(*given, **options):
        found = real_settings(*given, **options)
        if "scattered" in faults:
            found["zero_optimization"]["stage3_param_persistence_threshold"] = 0
        return found

    engine.deepspeed_json = settings
    normalize.Statistics.offsets = (lambda self: {}) if "uncentred" in faults else real_offsets
    EdgeConvolution.compiled = (lambda *given: False) if "eager" in faults else real_compiled
    loop.micro_batches_of, loop.validate, record.Record.write = injected, validating, writing
    checkpoint.complete = (lambda folder: []) if last and "blind" in faults else real_complete
    said = "done"
    try:
        pretrain(PretrainConfig(**options))
    except KeyboardInterrupt:
        said = "crash"
    except (RunError, InputError) as error:
        if not report:
            raise
        said = f"{type(error).__name__}: {error}"
    if "die" in faults:  # torchrun tells the other ranks to end, here at the worst moment
        os.kill(os.getpid(), signal.SIGTERM)
    if report:
        Path(f"{report}-{os.environ['RANK']}").write_text(said)
real_destroy()
"""


def launch(processes: int, plan: list[dict[str, Any]], folder: Path, check: bool = True) -> None:
    script = folder / "worker.py"
    script.write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = subprocess.run(
        [*command, str(script), json.dumps(plan)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0 or not check, done.stderr[-4000:]


def rows(out: Path) -> list[dict[str, Any]]:
    """The training rows of a run."""
    return [r for r in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "train_loss" in r]


NETWORK = {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}
OPTIONS: dict[str, Any] = {
    "network": NETWORK,
    "log_every": 1,
    "validate_every": 100,
    "wandb": "disabled",
    "device": "cpu",
    # a low rate: Adam turns rounding into differences of order one when gradients are near zero
    "optimizer": {"learning_rate": 1e-3},
}
