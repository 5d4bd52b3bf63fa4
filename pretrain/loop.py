"""The training loop, in the order in which things happen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist

from atomfield.data.sampler import share_of
from atomfield.models.network import AtomFieldNet

from . import checkpoint
from .config import PretrainConfig
from .ema import Ema
from .engine import DeepSpeedEngine, set_learning_rate
from .record import Record
from .schedule import Progress, learning_rate_factor
from .step import MicroBatch, distributed, training_step
from .streams import Stream
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


def micro_batches_of(run: Run, step: int) -> list[MicroBatch]:
    """This rank's share of the fixed list of step ``step``: every world_size-th of each stream, so that all ranks meet the same
    objective at the same time."""
    share = []
    for stream in run.streams:
        for number in share_of(step, stream.micro_batches, run.rank, run.world_size):
            share.append(
                MicroBatch(stream.batch(number).to(run.device), stream.targets, stream.weight, stream.name)
            )
    return share


def train(run: Run, record: Record, start: int, spent: float) -> int:
    """Train from step ``start`` to the end of the schedule; returns the number of steps done."""
    config = run.config
    progress = Progress(config.steps, config.max_time, spent)
    step = start
    while (fraction := agreed(progress.at(step))) < 1.0:
        factor = learning_rate_factor(
            fraction, config.optimizer.warmup_fraction, config.optimizer.final_fraction
        )
        set_learning_rate(run.engine.optimizer, config.optimizer.learning_rate * factor)
        terms = training_step(run.engine, run.net, micro_batches_of(run, step), config.loss)
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
