"""One launch of two processes that proves much: ZeRO 0, 1 and 2 follow plain torch although the ranks hold different tasks, both
worlds train in one run, an interrupted run resumes to the same bits, and one process sees the same samples."""

import json
import os
import subprocess
import sys

import pytest

from atomfield.data.store import write_store
from tests.small import morse_clusters, waves

pytest.importorskip("deepspeed", reason="needs the extra atomfield[train]")

WORKER = """
import json, sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain import run, loop
from atomfield.pretrain.run import pretrain
import torch.distributed as dist

plan = json.loads(sys.argv[1])
torch_destroy = dist.destroy_process_group
dist.destroy_process_group = lambda: None  # several runs in one launch: imports are the cost
for options in plan:
    stop = options.pop("stop_after", None)
    original = loop.Progress.at
    if stop is not None:
        real = loop.training_step
        def interrupted(*a, count=[0]):
            if count[0] == stop:
                raise KeyboardInterrupt
            count[0] += 1
            return real(*a)
        loop.training_step = interrupted
    try:
        pretrain(PretrainConfig(**options))
    except KeyboardInterrupt:
        pass
    if stop is not None:
        loop.training_step = real
torch_destroy()
"""


def rows(out):
    return [r for r in map(json.loads, (out / "metrics.jsonl").read_text().splitlines()) if "train_loss" in r]


def launch(processes, plan):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        "-c",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu", "PYTHONWARNINGS": "ignore"}
    script = plan[0]["out"] + "-worker.py"
    with open(script, "w") as file:
        file.write(WORKER)
    command[-1:] = [script, json.dumps(plan)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    atoms = [*morse_clusters(24, 0, "level-a"), *morse_clusters(24, 1, "level-b")]
    write_store(atoms, folder / "atoms")
    write_store(waves(12), folder / "fields")
    base = {
        "streams": [
            {
                "source": str(folder / "atoms"),
                "micro_batches": 2,
                "max_edges": 20,
            },  # one graph: the ranks' levels differ
            {
                "source": str(folder / "fields"),
                "objective": "next_step",
                "micro_batches": 2,
                "max_edges": 520,
                "noise": 0.01,
            },
        ],
        "network": {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8},
        "steps": 8,
        "save_every": 4,
        "log_every": 1,
        "validate_every": 100,
        "wandb": "disabled",
        "device": "cpu",
    }
    # a short ramp: Adam turns rounding into differences of order one when gradients are near zero
    base["optimizer"] = {"learning_rate": 1e-3}
    plan = [{**base, "out": str(folder / f"zero{s}"), "zero_stage": s} for s in (0, 1, 2)]
    plan += [
        {**base, "out": str(folder / "cut"), "zero_stage": 1, "stop_after": 6},
        {**base, "out": str(folder / "cut"), "zero_stage": 1},
    ]
    launch(2, plan)
    launch(1, [{**base, "out": str(folder / "alone"), "zero_stage": 0}])
    return folder


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_two_ranks_with_different_tasks_follow_one_process(runs, stage):
    """Every term of every step: a head's gradient that landed in another head's row would show at once."""
    for ours, theirs in zip(rows(runs / f"zero{stage}"), rows(runs / "alone"), strict=True):
        assert ours.keys() == theirs.keys()
        for key in ours.keys() - {"seconds"}:
            # float32 sums in another order, amplified by Adam over the steps so far
            assert ours[key] == pytest.approx(theirs[key], rel=2e-3, abs=1e-6), (key, ours["step"])


def test_the_first_steps_agree_to_rounding(runs):
    for stage in (0, 1, 2):
        for ours, theirs in list(zip(rows(runs / f"zero{stage}"), rows(runs / "alone"), strict=True))[:2]:
            assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)


def test_an_interrupted_run_resumes_to_the_same_bits(runs):
    whole, cut = rows(runs / "zero1"), rows(runs / "cut")
    assert [r["step"] for r in cut] == [r["step"] for r in whole] == list(range(1, 9))
    for a, b in zip(whole, cut, strict=True):
        assert a["train_loss"].hex() == b["train_loss"].hex()
    weights = [(runs / name / "model" / "model.safetensors").read_bytes() for name in ("zero1", "cut")]
    assert weights[0] == weights[1]


def test_the_run_folder_says_what_was_done(runs):
    settings = json.loads((runs / "zero2" / "deepspeed.json").read_text())
    assert settings["gradient_clipping"] == 10.0 and settings["zero_optimization"]["stage"] == 2
    assert {"config.yaml", "metrics.jsonl", "model", "checkpoints"} <= {
        p.name for p in (runs / "zero2").iterdir()
    }
