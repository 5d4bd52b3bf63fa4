"""Where a run goes on: from its newest checkpoint when it starts again, from its last one after spikes that repeat."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.models.network import AtomFieldNet

from . import checkpoint
from .loop import Position, Run
from .normalize import centre
from .ranks import barrier, from_main, is_main
from .record import Record

FREE_TO_CHANGE = frozenset({
    "out", "workers", "device", "compile", "cuda_graphs", "save_every", "keep_last", "keep_best", "validate_every", "log_every",
    "wandb", "resume", "timeout", "zero_stage", "recompute", "max_time", "plan",
})  # fmt: skip
"""Settings without influence on the numbers; a change of any other one is told."""
FREE_IN_NETWORK = {
    "format_version",
    "default_level_atoms",
    "default_level_field",
    "crystal_levels",
    "centred",
}
"""Of the network's configuration: what may be another one than the checkpoint's."""


def refuse_another_folder(out: Path) -> None:
    """``InputError`` where ``out`` is that of a finetuning, or of a run whose checkpoints are gone: it would be overwritten."""
    if (out / "model").exists() and not checkpoint.complete(out / "checkpoints"):
        raise InputError(
            "holds a model and no training checkpoint, so it is the folder of another run, which would be overwritten; choose "
            "another `out`, or remove it",
            str(out),
        )


def resume(run: Run, console: Console) -> None:
    """Put ``run`` where its newest checkpoint says, or at the beginning. Raises ``InputError`` if that checkpoint is damaged, and
    if there is one although ``resume`` is false."""
    found = from_main(checkpoint.complete(run.checkpoints))  # nodes may not see a shared folder alike
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
    state, others = _restore(run, found[-1])
    settings = changed(state["config"], run.config.model_dump(mode="json"))
    over, more = _nothing_left(run)
    if over and (ignored := [line for line in settings if not line.startswith("steps ")]):
        raise InputError(
            f"the run in this folder has come to its end ({over}), so nothing would be trained with what changed since: "
            f"{'; '.join(ignored)}. Give more `{more}`, or another `out`",
            str(run.config.out),
        )
    if is_main():
        console.print(f"Resuming from {found[-1]} (step {run.here.step})")
        if over:
            console.print(
                f"Nothing is left to train ({over}); with more `{more}` it goes on", highlight=False
            )
        for line in _other_records(state, others, run):
            console.print(line, highlight=False)
        if settings:
            console.print(
                "Changed since this checkpoint was written: " + "; ".join(settings), highlight=False
            )


def _nothing_left(run: Run) -> tuple[str, str]:
    """What says that the schedule is over, and the setting that ends it; "" while it is not."""
    config, here = run.config, run.here
    if here.step >= config.steps:
        return f"step {here.step} of {config.steps}", "steps"
    if config.max_time is not None and here.seconds >= config.max_time:
        return f"{here.seconds:.0f} of {config.max_time:.0f} s", "max_time"
    return "", ""


def _other_records(state: dict[str, Any], others: list[str], run: Run) -> list[str]:
    """Sentences where the records are not those from before."""
    said = [
        f"Stream {name} has {now} items and had {before} when this checkpoint was written: other samples follow"
        for (name, now), before in zip(run.items.items(), state.get("items", {}).values(), strict=False)
        if now != before
    ]
    if others:
        said.append(
            f"The records give other constants than those of the checkpoint ({', '.join(others)}), which stay: the weights were "
            "trained with them"
        )
    return said


def roll_back(run: Run, record: Record, console: Console) -> None:
    """Back to the last checkpoint; the data go on where they are, so that what made the loss spike is not met again, and so does
    the time."""
    left = run.here
    newest = from_main(checkpoint.complete(run.checkpoints)[-1])
    _restore(run, newest)
    run.here.data_ahead = left.step + left.data_ahead - run.here.step
    run.here.rollbacks, run.here.seconds = left.rollbacks + 1, left.seconds
    run.guard.spikes.clear()
    record.skipped(
        {"step": left.step, "cause": "rollback", "to": run.here.step, "number": run.here.rollbacks}
    )
    if is_main():
        console.print(f"The loss spiked repeatedly: back from step {left.step} to {newest}, with other data")


def _restore(run: Run, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Everything as it was; the state that the checkpoint has of the run, and constants that are others than those fitted now."""
    state = checkpoint.opened(folder)
    _refuse_another_network(state.get("network"), run, folder)
    _refuse_another_optimizer(state["config"].get("optimizer", {}), run, folder)
    _read_alike(state.get("network"), run)
    others = checkpoint.load(folder, state, run.engine, run.ema)
    run.here = Position(**{name: state[name] for name in Position.__dataclass_fields__ if name in state})
    run.guard.load(state["guard"])
    run.saved = run.here.step
    if is_main():
        drop_rows_after(run.config.out / "metrics.jsonl", run.here.step)
    return state, others


def _refuse_another_network(before: dict[str, Any] | None, run: Run, folder: Path) -> None:
    """``InputError`` where the network is not that of the checkpoint. Its levels are in the order of the sources: exchanged
    streams would give the rows of one level to another, in tensors of the same shapes."""
    now = run.net.config.model_dump(mode="json")
    for name, value in (before or {}).items():
        if name in now and name not in FREE_IN_NETWORK and now[name] != value:
            raise InputError(
                f"its network has {name} {value}, that of this configuration and its records {now[name]}; give the "
                "configuration and the data of the run that wrote it, or another `out` (with `start: RUN/model` its weights go "
                "on beside new levels)",
                str(folder),
            )


def _read_alike(before: dict[str, Any] | None, run: Run) -> None:
    """Numbers of fields are read as the checkpoint's weights learnt them: as their distance from a mean, or, in those of older
    versions, as they are."""
    centred = (before or {}).get("centred", [])
    averaged: AtomFieldNet = run.ema.module  # type: ignore[assignment]
    for net in (run.net, averaged):  # one and the same, but for ZeRO 3
        if list(net.config.centred) != centred:
            centre(net, centred)


def _refuse_another_optimizer(before: dict[str, Any], run: Run, folder: Path) -> None:
    """``InputError`` where the averages of the checkpoint are those of another optimiser."""
    then, now = before.get("name", "adamw"), run.config.optimizer.name
    if then != now:
        raise InputError(
            f"it was written with optimizer.name {then}, this configuration has {now}; give {then}, or another `out` (with "
            "`start: RUN/model` its weights go on under another optimiser)",
            str(folder),
        )


def drop_rows_after(file: Path, step: int) -> None:
    """Rows that a run wrote after its last checkpoint are written again; a row that a kill cut short is dropped.

    Both are at the end, which is cut off: nothing is written, so that neither a kill nor a full disk can take the rest, and a
    record that is open for appending goes on at the new end.
    """
    if not file.is_file():
        return
    end = place = 0
    for line in file.read_bytes().splitlines(keepends=True):
        place += len(line)
        if line.endswith(b"\n") and _step_of(line) <= step:
            end = place
    os.truncate(file, end)


def _step_of(line: bytes) -> float:
    """That of a row; infinity where it cannot be read."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def changed(before: dict[str, Any], now: dict[str, Any], free: frozenset[str] = FREE_TO_CHANGE) -> list[str]:
    """``streams.0.weight 1.0 -> 2.0`` for each setting that is another one and not ``free``."""
    old, new = _leaves(before), _leaves(now)
    return [
        f"{key} {old.get(key, 'not there')} -> {new.get(key, 'not there')}"
        for key in new | old
        if key.split(".", 1)[0] in now.keys() - free and old.get(key) != new.get(key)
    ]


def _leaves(tree: Any, where: str = "") -> dict[str, Any]:
    """Values of nested dictionaries and lists by their places, with dots between."""
    match tree:
        case dict():
            pairs = list(tree.items())
        case list():
            pairs = list(enumerate(tree))
        case _:
            return {where: tree}
    return {
        k: v for key, part in pairs for k, v in _leaves(part, f"{where}.{key}" if where else str(key)).items()
    }
