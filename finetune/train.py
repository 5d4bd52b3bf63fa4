"""The finetuning loop: the same training step as pretraining, on plain torch, with the best validated average kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from atomfield.data.graph import GraphBatch
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.config import ClockName, LossWeights
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine, set_learning_rate
from atomfield.pretrain.penalties import check_penalties, without
from atomfield.pretrain.record import Record
from atomfield.pretrain.schedule import Progress, learning_rate_factor, seconds_of
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.stopping import StopRequest
from atomfield.pretrain.streams import Stream
from atomfield.pretrain.validate import Stopped, errors

from .guard import Guard
from .resume import States
from .selection import MOST_RECORDS, Weights, beyond_chance, record_by_record

NUM_VALIDATIONS = 25
"""Validations over a run; the best averaged weights seen there are kept (``selection.py``)."""
TRAINING_PER_VALIDATION = 8
"""At least so much work of training follows each validation. Work is estimated from sizes: clocks would choose other weights in
each run."""
VALIDATION_WORK = 0.3
"""Of a pass over a batch beside a training step on it."""
VALIDATION_BATCHES = 40


@dataclass
class Schedule:
    """How long and how fast."""

    steps: int
    max_time: float | None
    learning_rate: float
    clock: ClockName = "wall"
    warmup_fraction: float = 0.05
    final_fraction: float = 0.005


def train(
    net: AtomFieldNet,
    engine: TorchEngine,
    ema: Ema,
    streams: Sequence[Stream],
    batches: Iterator[GraphBatch],
    valid: Stream,
    schedule: Schedule,
    weights: LossWeights,
    record: Record,
    device: str,
    states: States,
    request: StopRequest,
) -> list[dict[str, float]]:
    """Train on ``batches``, in each step one of each of ``streams``, of which the first has the new records; leave the best
    averaged weights in ``net``, or where these are better by no more than chance the last ones, and return the history (rows of
    metrics.jsonl). Goes on from where ``states`` are; raises ``Interrupted`` after saving, at ``request``."""
    check_penalties(net, [streams[0]], weights, device)
    here, history = states.here, states.history
    progress = Progress(schedule.steps, schedule.max_time, here.seconds, seconds_of(schedule.clock))
    best = states.best or {k: v.clone() for k, v in ema.average.items()}
    here.next_validation = here.next_validation or 1 / NUM_VALIDATIONS
    spacing = steps_between(streams, valid)

    def draw() -> list[MicroBatch]:
        pieces = ((s, piece) for s in streams for piece in s.pieces(next(batches)))
        return [MicroBatch(piece.to(device), s.targets, s.weight, s.name) for s, piece in pieces]

    stop = lambda: bool(request.wanted)  # noqa: E731
    judge = lambda: score(net, _errors(net, valid, device, stop=stop))  # noqa: E731
    guard = Guard(without(weights, *here.switched_off), judge, here.tried, stop)
    net.replay_passes(
        device.startswith("cuda")
    ).train()  # on a GPU, a step of a small batch is all starting of kernels
    while (fraction := progress.at(here.step)) < 1.0:
        factor = learning_rate_factor(fraction, schedule.warmup_fraction, schedule.final_fraction)
        set_learning_rate(engine.optimizer, schedule.learning_rate * factor)
        tried: dict[str, float] = {}
        if guard.due(fraction, here.step):
            try:
                trial = guard.trial(engine, net, ema, draw, here.step)
            except Stopped:  # the trial is made when the run goes on
                states.keep(engine, ema, best, record, request, done=False)
                raise
            here.step, tried = here.step + trial.steps, trial.row()
            here.tried, here.switched_off = guard.tried, [*here.switched_off, *trial.dropped]
            record.say(trial.sentences())
        terms = training_step(engine, net, draw(), guard.weights)
        ema.update()
        here.step += 1
        loss = sum(terms.values())
        here.running = loss if here.running is None else 0.98 * here.running + 0.02 * loss
        row: dict[str, float] = {
            "step": here.step,
            "seconds": progress.seconds(),
            "learning_rate": schedule.learning_rate * factor,
            "train_loss": loss,
            **terms,
            **tried,
        }
        after = progress.at(here.step)
        if after >= 1.0 or (after >= here.next_validation and here.step >= here.not_before):
            here.next_validation, here.not_before = after + 1 / NUM_VALIDATIONS, here.step + spacing
            found = validate(net, ema, valid, device)
            row |= {f"valid/{k}": v for k, v in found.items()}
            row["valid_score"] = score(net, found)
            if row["valid_score"] <= (math.inf if here.best_score is None else here.best_score):
                here.best_score, here.best_step = row["valid_score"], here.step
                best = {k: v.clone() for k, v in ema.average.items()}
        if here.step % 10 == 0 or "valid_score" in row or tried:
            history.append(row)
            record.write(row)
        total = here.step + 1 if fraction <= 0 else max(here.step, round(here.step / max(after, 1e-6)))
        shown = f"loss {here.running:.4f}" + (
            "" if here.best_score is None else f", valid {here.best_score:.4f}"
        )
        record.advance(here.step, shown, total)
        here.seconds = progress.seconds()
        states.keep(engine, ema, best, record, request, done=after >= 1.0)
    net.replay_passes(False)
    if here.best_step < here.step and len(valid.graphs) <= MOST_RECORDS:
        last = {name: parameter.data for name, parameter in net.named_parameters()}
        try:
            at_best, at_end = (_record_scores(net, w, valid, device, stop) for w in (best, ema.average))
        except Stopped:
            _put(net, last)
            states.keep(engine, ema, best, record, request, done=True)
            raise
        if not beyond_chance(at_best, at_end):
            best = ema.average
            reason = f"the validation score was lowest at step {here.best_step}, which may be chance with {len(at_end)} records"
            record.say([f"{reason}: the weights of the end are kept"])
    _put(net, best)
    net.eval()
    return history


def steps_between(streams: Sequence[Stream], valid: Stream) -> int:
    """Steps that lie between validations at least."""
    validation = VALIDATION_WORK * min(VALIDATION_BATCHES, valid.micro_batches_per_epoch) * _work(valid)
    return math.ceil(TRAINING_PER_VALIDATION * validation / sum(map(_work, streams)))


def _work(stream: Stream) -> float:
    """Of a micro-batch on average, by the first ones of an epoch."""
    count = min(VALIDATION_BATCHES, stream.micro_batches_per_epoch)
    return sum(map(stream.cost, range(count))) / count


@torch.no_grad()
def validate(net: AtomFieldNet, ema: Ema, valid: Stream, device: str) -> dict[str, float]:
    with ema.applied():
        return _errors(net, valid, device)


def _record_scores(
    net: AtomFieldNet, weights: Weights, valid: Stream, device: str, stop: Callable[[], bool]
) -> list[float]:
    """Of ``weights``, which stay in ``net``; of long trajectories a part, so that it takes no longer than a validation."""
    _put(net, weights)
    part = max(1, VALIDATION_BATCHES // len(valid.graphs))
    return record_by_record(valid, lambda alone: score(net, _errors(net, alone, device, part, stop)))


@torch.no_grad()
def _errors(
    net: AtomFieldNet,
    valid: Stream,
    device: str,
    most: int = VALIDATION_BATCHES,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Of the present weights, on ``most`` micro-batches at most; raises ``Stopped`` at ``stop()``."""
    net.eval()
    found = errors(net, valid, device, most, stop)
    net.train()
    return found


def score(net: AtomFieldNet, found: dict[str, float]) -> float:
    """One number to compare validations: errors in units of their scales, forces, virials and energies weighed alike."""
    total = 0.0
    scale = float(net.atom_head.energy_scale)
    for key, value in found.items():
        if key.startswith("energy_mae"):
            total += 4 * value / scale
        elif key.startswith(("forces_mae", "virial_mae")):
            total += value / scale
        else:
            names = [p.name for p in net.config.properties]
            name = key.removesuffix("_mae")
            total += value / (float(net.property_head.scale[names.index(name)]) if name in names else 1.0)
    return total


def _put(net: AtomFieldNet, weights: dict[str, Tensor]) -> None:
    for name, parameter in net.named_parameters():
        parameter.data = weights[name]
