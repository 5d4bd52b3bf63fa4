"""MACE's own training command for a given time, then its predictions of the test file, in MACE's environment.

``mace_run_train`` counts epochs, not seconds, so its loop is entered with two changes: it stops at the time limit, and its second
stage (``--stage_two``, which its README advises for the last fifth of the epochs) starts after four fifths of the time. What
predicts is its best checkpoint by validation loss (with averaged weights), of the second stage where that has one, as its command
would choose.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from mace import data, tools
from mace.cli import run_train
from mace.tools import torch_geometric

SECOND_STAGE = 0.8
NEVER = 10**8


class TimeIsUp(Exception):
    """Raised from the model's forward pass."""


class TimedStage:
    """Stands in for the container of stage two: ``start`` is an epoch that comes when its time has come."""

    def __init__(self, stage: Any, when: float):
        self.model, self.scheduler, self.loss_fn, self.when = (
            stage.model,
            stage.scheduler,
            stage.loss_fn,
            when,
        )

    @property
    def start(self) -> int:
        return 0 if time.monotonic() > self.when else NEVER


def train_for(seconds: float, predict: Any) -> Any:
    """A replacement of ``mace.tools.train`` that ends the program after predicting."""
    original = tools.train

    def train(**arguments: Any) -> None:
        begun = time.monotonic()
        model, stage = arguments["model"], arguments["swa"]
        arguments["swa"] = TimedStage(stage, begun + SECOND_STAGE * seconds)
        steps = 0

        def check(*_: Any) -> None:
            nonlocal steps
            steps += model.training
            if time.monotonic() - begun > seconds:
                raise TimeIsUp

        hook = model.register_forward_pre_hook(check)
        with suppress(TimeIsUp):
            original(**arguments)
        hook.remove()
        took = time.monotonic() - begun
        handler = arguments["checkpoint_handler"]
        files = sorted(Path(handler.io.directory).glob("*.pt"), key=lambda p: int(p.stem.rsplit("-", 1)[1]))
        if not files:
            raise SystemExit("no epoch was finished in the time given")
        # MACE's own file, written a moment ago by this run in its own environment
        model.load_state_dict(torch.load(files[-1], map_location="cpu")["model"])
        predict(model, {"training_s": took, "training_steps": steps, "checkpoint": files[-1].name})
        sys.exit(0)

    return train


def predictions(model: torch.nn.Module, test: Path, out: Path, training: dict[str, Any]) -> None:
    table = tools.AtomicNumberTable([int(z) for z in model.atomic_numbers])
    frames = [data.config_from_atoms(a) for a in ase.io.read(test, index=":")]
    records = [data.AtomicData.from_config(c, z_table=table, cutoff=float(model.r_max)) for c in frames]
    model.eval().requires_grad_(False)
    energy, forces = [], []
    for batch in torch_geometric.dataloader.DataLoader(records, 32, shuffle=False, drop_last=False):
        answer = model(batch.to_dict(), training=False, compute_force=True)
        energy.append(answer["energy"].detach().double().numpy())
        forces.append(answer["forces"].detach().double().numpy())
    np.savez(out / "predictions.npz", energy=np.concatenate(energy), forces=np.concatenate(forces))
    training["parameters"] = sum(p.numel() for p in model.parameters())
    (out / "training.json").write_text(json.dumps(training))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("valid", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--size", required=True, help="hidden irreps")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    tools.train = train_for(
        options.seconds, lambda model, training: predictions(model, options.test, options.work, training)
    )
    # defaults of its command and of its README's example, in float32; batch 5 since the sets are small
    sys.argv = [
        "mace_run_train", "--name=mace", f"--work_dir={options.work}", f"--train_file={options.train}",
        f"--valid_file={options.valid}", "--E0s=average", "--model=MACE", f"--hidden_irreps={options.size}",
        "--r_max=5.0", "--num_interactions=2", "--max_ell=3", "--correlation=3",
        "--batch_size=5", "--valid_batch_size=10", f"--max_num_epochs={2 * NEVER}", f"--patience={NEVER}",
        "--stage_two", f"--start_stage_two={NEVER}", "--ema", "--ema_decay=0.99", "--amsgrad", "--default_dtype=float32",
        "--energy_key=REF_energy", "--forces_key=REF_forces", "--device=cpu", f"--seed={options.seed}", "--plot=False",
    ]  # fmt: skip
    run_train.main()


if __name__ == "__main__":
    main()
