"""Where a run goes on: from its newest checkpoint when it starts again, from its last one after spikes that repeat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from atomfield.data.errors import InputError

from . import checkpoint
from .loop import Position, Run
from .ranks import barrier, from_main, is_main
from .record import Record

FREE_TO_CHANGE = {
    "out", "workers", "device", "save_every", "keep_last", "keep_best", "validate_every", "log_every",
    "wandb", "resume", "timeout", "zero_stage", "recompute", "max_time", "plan",
}  # fmt: skip
"""Settings without influence on the numbers; a change of any other one is told."""


def resume(run: Run, console: Console) -> None:
    """Put ``run`` where its newest checkpoint says, or at the beginning. Raises ``InputError`` if that checkpoint is damaged, and
    if there is one although ``resume`` is false."""
    found = checkpoint.complete(run.checkpoints)
    if found and not run.config.resume:
        raise InputError(
            f"holds {len(found)} checkpoints of an earlier run and `resume` is false; remove them or choose another `out`",
            str(run.checkpoints),
        )
    if is_main():
        checkpoint.remove_unfinished(run.checkpoints)
        if not found:
            for name in ("metrics.jsonl", "skipped.jsonl", "wandb_id"):
                (run.config.out / name).unlink(missing_ok=True)
    barrier()
    if not found:
        return
    state = _restore(run, found[-1])
    if is_main():
        console.print(f"Resuming from {found[-1]} (step {run.here.step})")
        if changed := _changed(state["config"], run.config.model_dump(mode="json")):
            console.print("Changed since this checkpoint was written: " + "; ".join(changed), highlight=False)


def roll_back(run: Run, record: Record, console: Console) -> None:
    """Back to the last checkpoint; the data go on where they are, so that what made the loss spike is not met again."""
    reached = run.here.step + run.here.data_ahead
    left = run.here.step
    newest = from_main(checkpoint.complete(run.checkpoints)[-1])
    _restore(run, newest)
    run.here.data_ahead = reached - run.here.step
    run.rollbacks += 1
    run.guard.spikes.clear()
    record.skipped({"step": left, "cause": "rollback", "to": run.here.step, "number": run.rollbacks})
    if is_main():
        console.print(f"The loss spiked repeatedly: back from step {left} to {newest}, with other data")


def _restore(run: Run, folder: Path) -> dict[str, Any]:
    state = checkpoint.load(folder, run.engine, run.ema)
    run.here = Position(**{name: state[name] for name in Position.__dataclass_fields__ if name in state})
    run.guard.load(state["guard"])
    run.saved = run.here.step
    if is_main():
        _drop_rows_after(run.config.out / "metrics.jsonl", run.here.step)
    return state


def _drop_rows_after(file: Path, step: int) -> None:
    """Rows that a run wrote after its last checkpoint are written again; a row that a kill cut short is dropped."""
    if not file.is_file():
        return
    kept = []
    for line in file.read_text().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except ValueError:
            continue
    # in place: a record that is open for appending goes on at the new end
    file.write_text("".join(kept))


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    return [
        f"{key} {before.get(key)} -> {now[key]}"
        for key in now
        if key not in FREE_TO_CHANGE and before.get(key) != now[key]
    ]
