"""The training loop, in the order in which things happen."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from atomfield.data.errors import RunError
from atomfield.data.graph import GraphBatch
from atomfield.data.loader import Loader
from atomfield.models.network import AtomFieldNet
from atomfield.models.operations import Operations

from . import checkpoint
from .clock import Clock, Throughput
from .config import LossWeights, PretrainConfig
from .dealing import Key, alike, shares
from .ema import Ema
from .engine import DeepSpeedEngine, set_learning_rate
from .numerics import Guard
from .penalties import due, without
from .ranks import any_rank, from_main, gathered
from .record import Record
from .schedule import Progress, factor_at, seconds_of
from .step import MicroBatch, StepReport, Term, described, guarded_step
from .stopping import StopRequest
from .streams import Batches, Stream
from .validate import Stopped, validate
from .work import work_of

Ending = Literal["done", "stopped", "back", "trial"]
"""The schedule's end; a request to stop, after saving; repeated spikes, so that the run must go back to its last checkpoint; a
trial of penalties is due."""


@dataclass
class Position:
    """How far the run is; part of the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    data_ahead: int = 0
    """Steps by which the data are ahead of ``step``: what was passed before a rollback is not seen again."""
    validated: int = 0
    """The last step with a validation."""
    score: float | None = None
    """The score of the validation at this very step."""
    rollbacks: int = 0
    """How often repeated spikes took the run back to a checkpoint."""
    trials: int = 0
    """Trials of penalties so far."""
    switched_off: list[str] = field(default_factory=list)
    """Penalties that a trial has switched off."""


@dataclass
class Run:
    """What the loop works on."""

    config: PretrainConfig
    net: AtomFieldNet
    engine: DeepSpeedEngine
    ema: Ema
    streams: list[Stream]
    validation: list[Stream]
    rank: int
    world_size: int
    device: str
    clock: Clock
    guard: Guard
    request: StopRequest
    machine: dict[str, Any]
    """See ``work.py``; ``peak_flops``: floating-point operations per second that all ranks together can make."""
    here: Position = field(default_factory=Position)
    saved: int = 0
    """The step of the newest checkpoint."""
    known_terms: list[Term] = field(default_factory=list)
    dealt: dict[int, list[Key]] = field(default_factory=dict)
    """This rank's micro-batches of the steps that the loader has begun, by step of the data."""

    @cached_property
    def operations(self) -> Operations:
        """Of a forward pass."""
        return Operations.of(self.net.config)

    @property
    def items(self) -> dict[str, int]:
        """Of each stream, how many items it draws from."""
        return {s.name: len(s.items) for s in self.streams}

    @property
    def checkpoints(self) -> Path:
        return self.config.out / "checkpoints"

    @property
    def loss(self) -> LossWeights:
        """The weights of the loss, less the penalties that are switched off."""
        return without(self.config.loss, *self.here.switched_off)

    def asked_to_stop(self) -> bool:
        """Collective: whether any rank was."""
        return any_rank(bool(self.request.wanted))


def keys_from(run: Run, start: int) -> Iterator[Key]:
    """This rank's micro-batches from step ``start`` of the data on. The loader's thread runs it: samplers are not made for two
    threads, so what it finds is noted in ``run.dealt``."""
    for step in itertools.count(start):
        dealt = shares(run.streams, step, run.world_size, alike=alike(run.config.zero_stage))[run.rank]
        run.dealt[step] = dealt
        yield from dealt


def micro_batches_of(run: Run, batches: Iterator[GraphBatch]) -> list[MicroBatch]:
    """The next step's micro-batches of this rank, in the order of :func:`keys_from`."""
    first = next(batches)  # once it is here, its step has been dealt
    keys = run.dealt.pop(run.here.step + run.here.data_ahead)
    found = [first, *(next(batches) for _ in keys[1:])]
    streams = [run.streams[which] for which, _ in keys]
    return [
        MicroBatch(
            batch.to(run.device), stream.targets, stream.weight, stream.name, number,
            work_of(run.operations, batch, stream.targets),
        )
        for batch, stream, (_, number) in zip(found, streams, keys, strict=True)
    ]  # fmt: skip


def loader_of(run: Run) -> Loader[Key]:
    """This rank's batches from where the run is; the next two steps' are made while one is computed."""
    per_step = -(-sum(s.micro_batches for s in run.streams) // run.world_size)
    workers = run.config.workers
    return Loader(
        Batches(tuple(run.streams)),
        keys_from(run, run.here.step + run.here.data_ahead),
        workers=workers,
        ahead=max(2, -(-2 * per_step // max(1, workers))),
        pin=run.device.startswith("cuda"),
    )


def train(run: Run, record: Record, batches: Iterator[GraphBatch]) -> Ending:
    """Train from where the run is to the end of the schedule, or until something ends it earlier."""
    config, here, loss = run.config, run.here, run.loss
    may_try = bool(run.validation) and config.zero_stage < 3
    progress = Progress(config.steps, config.max_time, here.seconds, seconds_of(config.clock))
    throughput, note = Throughput(run.machine["peak_flops"]), ""
    stop = False
    while True:
        fraction = progress.at(here.step)
        if config.max_time is not None:
            fraction = from_main(fraction)  # clocks differ, decisions must not
        here.seconds, done = progress.seconds(), fraction >= 1.0
        if not stop and here.validated < here.step and (done or here.step % config.validate_every == 0):
            stop = validated(run, record)
        if run.saved < here.step and (done or stop or here.step % config.save_every == 0):
            save(run)
        if done or stop:
            return "done" if done else "stopped"
        factor = factor_at(fraction, config.optimizer)
        set_learning_rate(run.engine.optimizer, config.optimizer.learning_rate * factor)
        if may_try and due(loss, here.trials, fraction, here.step):
            return "trial"
        logged = (here.step + 1) % config.log_every == 0 or here.step == 0
        run.clock.exact = logged or not run.clock.on_gpu
        began = time.perf_counter()
        with run.clock.phase("loader"):
            micro_batches = micro_batches_of(run, batches)
        report = guarded_step(
            run.engine,
            run.net,
            micro_batches,
            loss,
            judge=lambda *numbers: run.guard.judge(here.step + 1, *numbers),
            clock=run.clock,
            known=run.known_terms,
            stop=bool(run.request.wanted),
        )
        here.step += 1
        stop = report.asked_to_stop
        if report.verdict:
            if skipped(run, record, report, micro_batches):
                return "back"
            continue
        with run.clock.phase("optimizer"):
            run.ema.update()
        throughput.add(report.atoms, report.points, report.work, time.perf_counter() - began)
        if logged:
            speed = throughput.read(run.clock)
            note = f", {speed['fraction_of_peak']:.1%} of peak"
            record.write(
                {
                    "step": here.step,
                    "seconds": progress.seconds(),
                    "learning_rate": config.optimizer.learning_rate * factor,
                    "gradient_norm": report.gradient_norm,
                    "train_loss": report.loss,
                    **report.terms,
                    **speed,
                }
            )
        total = (
            config.steps
            if config.max_time is None
            else max(here.step, round(here.step / max(fraction, 1e-6)))
        )
        record.advance(here.step, f"loss {report.loss:.4f}{note}", total)


def validated(run: Run, record: Record) -> bool:
    """Validate at this step; True if the run was asked to stop meanwhile."""
    net = run.ema.module
    try:
        found = validate(net, run.ema, run.validation, run.device, run.asked_to_stop)  # type: ignore[arg-type]
    except Stopped:
        return True
    record.write({"step": run.here.step, "seconds": run.here.seconds, **found})
    run.here.validated, run.here.score = run.here.step, found.get("valid_score")
    return False


def save(run: Run) -> None:
    state: dict[str, Any] = {
        **asdict(run.here),
        "guard": run.guard.state(),
        "network": run.net.config.model_dump(mode="json"),
        "items": run.items,
        "config": run.config.model_dump(mode="json"),
    }
    if run.here.validated != run.here.step:
        state["score"] = None
    checkpoint.save(run.checkpoints, run.engine, run.ema, state, run.config.keep_last, run.config.keep_best)
    run.saved = run.here.step


def skipped(run: Run, record: Record, report: StepReport, micro_batches: list[MicroBatch]) -> bool:
    """Write down a step that was skipped; True if the run must go back to its last checkpoint. Raises ``RunError`` where
    going on would burn hours."""
    rows = [row for part in gathered(report.suspects) for row in part]
    if not rows:  # what was computed again was fine: any of them
        rows = [row for part in gathered([described(m) for m in micro_batches]) for row in part]
    record.skipped(
        {
            "step": run.here.step,
            "cause": report.verdict,
            "loss": report.loss if math.isfinite(report.loss) else None,
            "gradient_norm": report.gradient_norm if math.isfinite(report.gradient_norm) else None,
            "micro_batches": rows,
        }
    )
    streams = ", ".join(sorted({row["stream"] for row in rows}))
    found = from_main(checkpoint.complete(run.checkpoints))  # nodes may not see a shared folder alike
    left = f"the last good checkpoint is {found[-1]}" if found else "there is no checkpoint yet"
    records = run.config.out / "skipped.jsonl"
    advice = f"their records are in {records}; {left}. Look at the records, or lower optimizer.learning_rate"
    if run.guard.must_stop:
        count = run.guard.bad_in_a_row
        raise RunError(
            f"{count} steps in a row had a bad {report.verdict} (the last at step {run.here.step}, streams {streams}), so "
            f"the run stops; {advice}"
        )
    if run.guard.must_go_back and found:
        if run.here.rollbacks >= run.config.numerics.most_rollbacks:
            raise RunError(
                f"the loss spiked again at step {run.here.step} after {run.here.rollbacks} rollbacks, so the run stops; {advice}"
            )
        return True
    return False
