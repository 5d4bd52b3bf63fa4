"""Does a penalty help? Asked by trial, and answered by switching off what does not.

The rule. At 15, 40 and 70 % of the schedule the run is copied. One copy goes on with every penalty, and for each penalty one goes
on without it: the same weights, optimiser state, batches and learning rate, for a twentieth of the steps done so far (20 to 200).
Each copy is judged on the validation records by the mean of its weights over the second half of the trial. Where leaving a
penalty out is better by more than 1 % of the score, the penalty is off from there on, and this is said. The run continues from
the best copy, so no training is lost but that of the other copies: with one penalty about a twentieth of the run.

What this does not see: a penalty whose harm shows later than one trial after the last of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.models.network import AtomFieldNet

from .checkpoint import own_generators, set_own_generators
from .config import BALANCES, LawName, LossWeights
from .ema import Ema
from .engine import DeepSpeedEngine, EngineState, TorchEngine
from .losses import counts
from .physics_loss import DIRECTION, PREFIX, law_of
from .streams import Stream

WHEN = (0.15, 0.4, 0.7)
"""Fractions of the schedule."""
SHARE, SHORTEST, LONGEST = 0.05, 20, 200
"""Of the steps done, and steps, that a trial takes."""
MARGIN = 0.01
"""Of the validation score: less is not worse."""


@dataclass
class Trial:
    """What one trial found: validation scores with every penalty (key ``""``) and without each."""

    steps: int
    scores: dict[str, float]
    dropped: tuple[LawName, ...]

    def sentences(self) -> list[str]:
        """One for each penalty, for the person."""
        with_all = self.scores[""]
        return [
            f"physics penalty {name!r}: validation score {with_all:.4g} with it, {without:.4g} without it over {self.steps} steps"
            + ("; switched off" if name in self.dropped else "; kept")
            for name, without in self.scores.items()
            if name
        ]

    def row(self) -> dict[str, float]:
        """For the training log."""
        out = {"trial/with_all": self.scores[""]}
        out |= {f"trial/without_{name}": score for name, score in self.scores.items() if name}
        return out | {f"trial/off_{name}": float(name in self.dropped) for name in self.scores if name}


def due(weights: LossWeights, tried: int, fraction: float, step: int) -> bool:
    """Whether a trial should start at this fraction of the schedule, after ``tried`` trials."""
    return bool(weights.physics) and tried < len(WHEN) and fraction >= WHEN[tried] and step > 0


def length_of(step: int) -> int:
    """Steps of a trial that begins after ``step``."""
    return min(LONGEST, max(SHORTEST, math.ceil(SHARE * step)))


def try_penalties(
    engine: TorchEngine | DeepSpeedEngine,
    net: AtomFieldNet,
    ema: Ema,
    weights: LossWeights,
    count: int,
    steps: Callable[[LossWeights], Iterator[None]],
    judge: Callable[[], float],
) -> Trial:
    """Try, and leave everything as the best copy has it. ``steps(weights)`` makes ``count`` steps, the same batches every time;
    ``judge()`` is the validation score of the network's present weights. If ``steps`` raises, everything is as before."""
    start = Copy.of(engine, ema)
    ends: dict[str, Copy] = {}
    scores: dict[str, float] = {}
    for name in ("", *weights.physics):
        start.restore(engine, ema)
        try:
            scores[name] = _score(net, count, steps(without(weights, name)), judge)
        except BaseException:
            start.restore(engine, ema)
            raise
        ends[name] = Copy.of(engine, ema)
    limit = scores[""] - MARGIN * abs(scores[""])
    worse = tuple(n for n in weights.physics if not (scores[n] >= limit) and math.isfinite(scores[n]))
    ends[min(worse, key=lambda n: scores[n], default="")].restore(engine, ema)
    return Trial(count, scores, worse)


def _score(net: AtomFieldNet, count: int, steps: Iterator[None], judge: Callable[[], float]) -> float:
    """That of the mean weights over the second half of ``steps``."""
    mean = {k: torch.zeros_like(p) for k, p in net.named_parameters()}
    half = count // 2
    for place, _ in enumerate(steps):
        if place >= half:
            for name, parameter in net.named_parameters():
                mean[name] += parameter.detach() / (count - half)
    own = {k: p.data for k, p in net.named_parameters()}
    for name, parameter in net.named_parameters():
        parameter.data = mean[name]
    recorded, net.replayed = net.replayed, None  # recordings would be of these weights alone, once each
    try:
        return judge()
    finally:
        net.replayed = recorded
        for name, parameter in net.named_parameters():
            parameter.data = own[name]


def without(weights: LossWeights, *names: str) -> LossWeights:
    """``weights`` less the penalties ``names``."""
    return weights.model_copy(
        update={"physics": {k: v for k, v in weights.physics.items() if k not in names}}
    )


@dataclass
class Copy:
    """Everything that a step changes: weights and moments of the optimiser (this rank's part), the average, and torch's
    generators, from which dropout draws."""

    engine: EngineState
    average: dict[str, Tensor]
    updates: int
    generators: dict[str, Tensor]

    @staticmethod
    def of(engine: TorchEngine | DeepSpeedEngine, ema: Ema) -> Copy:
        average = {k: a.clone() for k, a in ema.average.items()}
        return Copy(engine.copied(), average, ema.updates, own_generators())

    @torch.no_grad()
    def restore(self, engine: TorchEngine | DeepSpeedEngine, ema: Ema) -> None:
        engine.restore(self.engine)
        for name, average in ema.average.items():
            average.copy_(self.average[name])
        ema.updates = self.updates
        set_own_generators(self.generators)


def check_penalties(net: AtomFieldNet, streams: list[Stream], weights: LossWeights, device: str) -> None:
    """``InputError`` for a penalty that asks nothing of the first micro-batches of any of ``streams``: a setting that is ignored
    is a mistake."""
    if not weights.physics:
        return
    asked: set[str] = set()
    found: set[str] = set()
    for stream in streams:
        for number in range(min(4, stream.micro_batches_per_epoch)):
            batch = stream.batch(number).to(device)
            asked |= counts(net, batch, stream.targets, weights).keys()
            found |= batch.quantities.keys()
    for name in weights.physics:
        if f"{PREFIX}{name}" not in asked:
            law = law_of(name)
            read = ["a direction (gravity)" if q == DIRECTION else q for q in (*law.reads, *law.explains)]
            needs = [*dict.fromkeys(read), *(f"the condition {c}" for c in law.constants)]
            needs += ["three times"] if law.time_order == 2 else []
            raise InputError(
                f"loss.physics.{name} asks nothing of these records: it needs {', '.join(needs)} in a record"
                + (" of atoms" if name in BALANCES else " of a field")
                + (" without boundary" if law.order == 0 and name not in BALANCES else "")
                + f" and in what is trained (found {', '.join(sorted(found))}); leave it out"
            )
