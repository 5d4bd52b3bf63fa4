"""The training loop, in the order in which things happen."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from atomfield.data.graph import GraphBatch
from atomfield.data.loader import Loader
from atomfield.data.sampler import share_of
from atomfield.models.network import AtomFieldNet

from . import checkpoint
from .config import PretrainConfig
from .ema import Ema
from .engine import DeepSpeedEngine, set_learning_rate
from .record import Record
from .schedule import Progress, learning_rate_factor
from .step import MicroBatch, distributed, training_step
from .streams import Batches, Stream
from .validate import validate


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

    @property
    def checkpoints(self) -> Path:
        return self.config.out / "checkpoints"


def keys_from(run: Run, start: int) -> Iterator[tuple[int, int]]:
    """(stream, number) of this rank's micro-batches from step ``start`` on: every world_size-th of each stream's fixed list, so
    that all ranks meet the same objective at the same time."""
    for step in itertools.count(start):
        for which, stream in enumerate(run.streams):
            for number in share_of(step, stream.micro_batches, run.rank, run.world_size):
                yield which, number


def micro_batches_of(run: Run, batches: Iterator[GraphBatch]) -> list[MicroBatch]:
    """The next step's micro-batches of this rank, in the order of :func:`keys_from`."""
    return [
        MicroBatch(next(batches).to(run.device), stream.targets, stream.weight, stream.name)
        for stream in run.streams
        for _ in share_of(0, stream.micro_batches, run.rank, run.world_size)
    ]


def loader_of(run: Run, start: int) -> Loader[tuple[int, int]]:
    """This rank's batches from step ``start`` on; the next two steps' are made while one is computed."""
    per_step = sum(s.micro_batches for s in run.streams) // run.world_size
    workers = run.config.workers
    return Loader(
        Batches(tuple(run.streams)),
        keys_from(run, start),
        workers=workers,
        ahead=max(2, -(-2 * per_step // max(1, workers))),
        pin=run.device.startswith("cuda"),
    )


def train(run: Run, record: Record, start: int, spent: float, batches: Iterator[GraphBatch]) -> int:
    """Train from step ``start`` to the end of the schedule; returns the number of steps done."""
    config = run.config
    progress = Progress(config.steps, config.max_time, spent)
    step = start
    while (fraction := agreed(progress.at(step))) < 1.0:
        factor = learning_rate_factor(
            fraction, config.optimizer.warmup_fraction, config.optimizer.final_fraction
        )
        set_learning_rate(run.engine.optimizer, config.optimizer.learning_rate * factor)
        terms = training_step(run.engine, run.net, micro_batches_of(run, batches), config.loss)
        run.ema.update()
        step += 1
        loss = sum(terms.values())
        if step % config.log_every == 0 or step == 1:
            rate = config.optimizer.learning_rate * factor
            record.write(
                {
                    "step": step,
                    "seconds": progress.seconds(),
                    "learning_rate": rate,
                    "train_loss": loss,
                    **terms,
                }
            )
        total = config.steps if config.max_time is None else max(step, round(step / max(fraction, 1e-6)))
        record.advance(step, f"loss {loss:.4f}", total)
        if step % config.validate_every == 0:
            record.write(
                {
                    "step": step,
                    "seconds": progress.seconds(),
                    **validate(run.net, run.ema, run.validation, run.device),
                }
            )
        if step % config.save_every == 0:
            checkpoint.save(
                run.checkpoints, step, run.engine, run.ema, {"seconds": progress.seconds()}, config.keep_last
            )
    if step % config.save_every:
        checkpoint.save(
            run.checkpoints, step, run.engine, run.ema, {"seconds": progress.seconds()}, config.keep_last
        )
    record.write(
        {
            "step": step,
            "seconds": progress.seconds(),
            **validate(run.net, run.ema, run.validation, run.device),
        }
    )
    return step


def agreed(fraction: float) -> float:
    """Rank 0's view of the progress, on every rank: clocks differ, decisions must not."""
    if not distributed():
        return fraction
    box = [fraction]
    dist.broadcast_object_list(box, src=0)
    return box[0]
