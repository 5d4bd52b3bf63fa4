"""A training that was ended midway goes on from its last state, in ``out/unfinished``; a finished run keeps none.

A state is a checkpoint as pretraining writes it (``pretrain/checkpoint.py``): weights, optimiser, average, constants and
generators, with the best weights so far and with what tells this run from another: its settings and the sha256 of what it was
given. The log of the training, ``metrics.jsonl``, is cut back to it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from atomfield.data.errors import InputError, Interrupted, RunError
from atomfield.data.graph import Graph
from atomfield.models import checkpoint as public
from atomfield.pretrain import checkpoint
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine
from atomfield.pretrain.record import Record
from atomfield.pretrain.resume import changed, drop_rows_after
from atomfield.pretrain.stopping import StopRequest

from .config import FinetuneConfig
from .parts import Parts
from .selection import Weights

EVERY = 30.0
"""Seconds between two states at least."""
SHARE = 0.02
"""Of the time that goes into writing states, at most."""
KEEP_LAST = 2
BATCH = ("max_edges ", "max_graphs ")
"""How a change of the size of batches begins."""
FREE = frozenset(
    {
        "from", "train", "valid", "test", "out", "device", "recompute", "control", "search", "folds", "by_id", "learning_curve",
        "on_bad", "max_bad", "on_leak", "on_wrong", "least_records", "uncertainty", "piece_edges",
    }
)  # fmt: skip
"""Settings that a training goes on under whatever they are: the records and the checkpoint are known by their content."""
FOLLOWED = ("max_time ",)
"""How a change begins that the schedule follows from where the training is, which is said."""


@dataclass
class Position:
    """How far a training is; part of its state."""

    step: int = 0
    seconds: float = 0.0
    next_validation: float = 0.0
    """Fraction of the schedule."""
    not_before: int = 0
    """Step of the next validation at least."""
    best_score: float | None = None
    best_step: int = 0
    running: float | None = None
    """Loss, smoothed."""
    rows: int = 0
    """Of the log."""
    tried: int = 0
    """Trials of penalties."""
    switched_off: list[str] = field(default_factory=list)


class States:
    """The states of the training in ``out``. ``here`` is how far it is, ``best`` are its best weights so far (empty before the
    first state), ``history`` is its log.

    Raises ``InputError`` where the newest state is damaged, or is of other settings, records or another checkpoint, and where
    ``out`` is the folder of a pretraining, whose model and log would be replaced.
    """

    def __init__(self, out: Path, config: FinetuneConfig, parts: Parts):
        if checkpoint.complete(out / "checkpoints"):
            raise InputError("is the folder of a pretraining; choose another --out", str(out))
        self.out, self.folder = out, folder_of(out)
        self.given = given(config, parts)
        self.here, self.best = Position(), dict[str, Tensor]()
        self.history: list[dict[str, float]] = []
        self._since, self._pause = time.monotonic(), EVERY
        checkpoint.remove_unfinished(self.folder)
        found = checkpoint.complete(self.folder)
        self.newest = found[-1] if found else None
        self._state: dict[str, Any] = {}
        self._news: list[str] = []
        if self.newest is not None:
            self._state = checkpoint.opened(self.newest)
            self._compare(self._state["given"])

    def _compare(self, before: dict[str, Any]) -> None:
        found = differences(before, self.given)
        self._news = [line for line in found if line.startswith(FOLLOWED)]
        others = [line for line in found if line not in self._news]
        if others:
            cure = (
                "For less memory leave the size of batches as it was and give --set piece_edges=N, which cuts the same batches "
                "into pieces of N pairs"
                if any(line.startswith(BATCH) for line in others)
                else "To go on with it give what it was given"
            )
            raise InputError(
                f"a training that was interrupted here was given something else: {'; '.join(others)}. {cure}; to begin anew "
                "choose another --out, or remove this folder",
                str(self.folder),
            )

    def restore(self, engine: TorchEngine, ema: Ema, console: Console) -> None:
        """Put the training where the newest state says, or at its beginning."""
        log = self.out / "metrics.jsonl"
        if self.newest is None:
            log.unlink(missing_ok=True)
            return
        checkpoint.load(self.newest, self._state, engine, ema)
        known = Position.__dataclass_fields__
        self.here = Position(**{k: v for k, v in self._state["here"].items() if k in known})
        self.best = {
            k: v.to(ema.average[k].device) for k, v in load_file(self.newest / "best.safetensors").items()
        }
        drop_rows_after(log, self.here.step)
        rows = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        if len(rows) != self.here.rows:
            raise InputError(
                f"has {len(rows)} rows up to step {self.here.step}, the state has {self.here.rows}: the log was changed or lost; "
                f"put it back, or remove {self.folder} to begin anew",
                str(log),
            )
        self.history = [json.loads(row) for row in rows]
        said = f"Going on from {self.newest} (step {self.here.step})"
        if self._news:
            self.here.next_validation = 0.0
            said += f"; the schedule follows what changed: {'; '.join(self._news)}"
        console.print(
            said,
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def keep(
        self, engine: TorchEngine, ema: Ema, best: Weights, record: Record, request: StopRequest, done: bool
    ) -> None:
        """Save if it is time to, if a training of more than that is ``done``, and where the run is asked to stop: then raises
        ``Interrupted``."""
        now = time.monotonic()
        if not (request.wanted or now - self._since >= self._pause or (done and self.here.seconds >= EVERY)):
            return
        try:
            self._save(engine, ema, best)
        except RunError as error:
            if request.wanted:
                raise
            record.say([f"the state of the training could not be kept, it goes on without: {error}"])
        if request.wanted:
            raise Interrupted(
                f"{request.wanted}: saved step {self.here.step} in {self.folder}; the same command goes on"
            )
        self._since = time.monotonic()
        self._pause = max(EVERY, (self._since - now) / SHARE)

    def _save(self, engine: TorchEngine, ema: Ema, best: Weights) -> None:
        self.here.rows = len(self.history)
        if self.history:
            with (self.out / "metrics.jsonl").open("rb") as log:
                os.fsync(log.fileno())
        state = {"step": self.here.step, "here": asdict(self.here), "given": self.given}
        checkpoint.save(self.folder, engine, ema, state, KEEP_LAST, more={"best": best})


def folder_of(out: Path) -> Path:
    """Where the states of the run in ``out`` are."""
    return out / "unfinished"


def remove(out: Path) -> None:
    """The states of a run that is finished."""
    shutil.rmtree(folder_of(out), ignore_errors=True)


# ---------------------------------------------------------------- what tells one run from another
def given(config: FinetuneConfig, parts: Parts) -> dict[str, Any]:
    """The settings, as JSON, and the sha256 of what else decides the weights that a training ends with."""
    start = ""
    if config.start != "scratch":
        start = checkpoint.sha256(public.find(config.start) / "model.safetensors")
    settings = config.model_dump(mode="json", by_alias=True)
    content = {
        "the checkpoint of --from": start,
        "training records": digest(parts.train),
        "validation records": digest(parts.valid),
    }
    return {"settings": {k: v for k, v in settings.items() if k not in FREE}, "content": content}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """``seed 0 -> 1`` for each setting, and the like for records and checkpoint, of what ``given`` said then and says now."""
    return changed(completed(before["settings"]), now["settings"], FREE) + [
        f"{name} (sha256 {before['content'][name][:12]} -> {sha256[:12]})"
        for name, sha256 in now["content"].items()
        if before["content"].get(name, sha256) != sha256
    ]


def completed(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of a state. What the version that wrote it did not know yet has its default, under which it is as it was then."""
    needed = {"from": "", "train": ("",), "target": ("",)}
    return _filled(settings, FinetuneConfig(**needed).model_dump(mode="json", by_alias=True))


def _filled(given: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    missing = {k: v for k, v in usual.items() if k not in given}
    both = {
        k: _filled(v, usual[k])
        for k, v in given.items()
        if isinstance(v, dict) and isinstance(usual.get(k), dict)
    }
    return given | both | missing


def digest(graphs: Sequence[Graph]) -> str:
    """sha256 of all that a network, its scales and its splits are made from; where the records were read does not matter."""
    whole = hashlib.sha256()
    for g in graphs:
        tensors: dict[str, Tensor | None] = {
            name: getattr(g, name)
            for name in ("positions", "species", "node_type", "cell", "pbc", "volume", "times")
        }
        tensors |= {f"q/{name}": value for name, value in g.quantities.items()}
        tensors |= {f"n/{name}": value for name, value in g.next_quantities.items()}
        for kind, edges in g.edges.items():
            tensors |= {f"e/{kind}": edges.index, f"e/{kind}/shift": edges.shift}
        if g.bonds is not None:
            tensors |= {"b": g.bonds.index, "b/kind": g.bonds.kind}
        known = {name: value.contiguous().numpy() for name, value in tensors.items() if value is not None}
        told = (g.world, g.level, g.group, sorted(g.conditions.items()), g.grid_shape, g.spacing)
        shapes = [(name, str(known[name].dtype), known[name].shape) for name in sorted(known)]
        whole.update(repr((told, shapes)).encode())
        for name in sorted(known):
            whole.update(known[name].tobytes())
    return whole.hexdigest()
