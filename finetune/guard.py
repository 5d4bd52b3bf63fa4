"""Does a penalty help? Asked by trial, and answered by switching off what does not.

The rule. At 15, 40 and 70 % of the schedule the run is copied. One copy goes on with every penalty, and for each penalty one goes
on without it: the same weights, optimiser state, batches and learning rate, for a twentieth of the steps done so far (20 to 200).
Each copy is judged on the validation records by the mean of its weights over the second half of the trial. Where leaving a
penalty out is better by more than 1 % of the score, the penalty is off from there on, and this is said. The run continues from
the best copy, so no training is lost but that of the other copies: with one penalty about a twentieth of the run.

What this does not see: a penalty whose harm shows later than one trial after the last of them.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.config import BALANCES, LawName, LossWeights
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine
from atomfield.pretrain.losses import counts
from atomfield.pretrain.physics_loss import PREFIX, law_of
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.streams import Stream

from .report import Section, Table, number

WHEN = (0.15, 0.4, 0.7)
"""Fractions of the schedule."""
SHARE, SHORTEST, LONGEST = 0.05, 20, 200
"""Of the steps done, and steps, that a trial takes; its batches are kept in memory."""
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


@dataclass
class Guard:
    """The state of the rule over one run. ``judge()`` is the validation score of the network's present weights."""

    weights: LossWeights
    judge: Callable[[], float]
    ahead: list[float] = field(default_factory=lambda: list(WHEN))

    def due(self, fraction: float, step: int) -> bool:
        """Whether a trial should start at this fraction of the schedule."""
        return bool(self.weights.physics) and bool(self.ahead) and fraction >= self.ahead[0] and step > 0

    def trial(
        self,
        engine: TorchEngine,
        net: AtomFieldNet,
        ema: Ema,
        draw: Callable[[], list[MicroBatch]],
        step: int,
    ) -> Trial:
        """Try, continue from the best copy, and take the weights of what failed out of ``self.weights``."""
        self.ahead.pop(0)
        count = min(LONGEST, max(SHORTEST, math.ceil(SHARE * step)))
        batches = [draw() for _ in range(count)]
        start = _State.of(engine, net, ema)
        ends: dict[str, _State] = {}
        scores: dict[str, float] = {}
        for name in ("", *self.weights.physics):
            start.restore(engine, net, ema)
            kept = without(self.weights, name)
            scores[name] = self._run(engine, net, ema, batches, kept)
            ends[name] = _State.of(engine, net, ema)
        limit = scores[""] - MARGIN * abs(scores[""])
        worse = tuple(
            n for n in self.weights.physics if not (scores[n] >= limit) and math.isfinite(scores[n])
        )
        best = min(worse, key=lambda n: scores[n], default="")
        ends[best].restore(engine, net, ema)
        for name in worse:
            self.weights = without(self.weights, name)
        return Trial(count, scores, worse)

    def _run(
        self,
        engine: TorchEngine,
        net: AtomFieldNet,
        ema: Ema,
        batches: list[list[MicroBatch]],
        weights: LossWeights,
    ) -> float:
        """The score of the mean weights over the second half of ``batches``."""
        mean = {k: torch.zeros_like(p) for k, p in net.named_parameters()}
        half = len(batches) // 2
        for place, batch in enumerate(batches):
            training_step(engine, net, batch, weights)
            ema.update()
            if place >= half:
                for name, parameter in net.named_parameters():
                    mean[name] += parameter.detach() / (len(batches) - half)
        own = {k: p.data for k, p in net.named_parameters()}
        for name, parameter in net.named_parameters():
            parameter.data = mean[name]
        score = self.judge()
        for name, parameter in net.named_parameters():
            parameter.data = own[name]
        return score


def without(weights: LossWeights, name: str) -> LossWeights:
    """``weights`` less the penalty ``name``."""
    return weights.model_copy(update={"physics": {k: v for k, v in weights.physics.items() if k != name}})


def check_penalties(net: AtomFieldNet, stream: Stream, weights: LossWeights, device: str) -> None:
    """``InputError`` for a penalty that asks nothing of the first micro-batches: a setting that is ignored is a mistake."""
    if not weights.physics:
        return
    batches = [stream.batch(k).to(device) for k in range(min(4, stream.micro_batches_per_epoch))]
    asked = {name for batch in batches for name in counts(net, batch, stream.targets, weights)}
    for name in weights.physics:
        if f"{PREFIX}{name}" not in asked:
            law = law_of(name)
            needs = [
                *dict.fromkeys([*law.reads, *law.explains]),
                *(f"the condition {c}" for c in law.constants),
            ]
            raise InputError(
                f"loss.physics.{name} asks nothing of these records: it needs {', '.join(needs)} in a record"
                + (" of atoms" if name in BALANCES else " of a field")
                + (" without boundary" if law.order == 0 and name not in BALANCES else "")
                + f" and in what is trained (found {', '.join(batches[0].quantities)}); leave it out"
            )


@dataclass
class _State:
    """Everything that a step changes: weights, moments of the optimiser, and the average."""

    weights: dict[str, Tensor]
    optimizer: dict
    average: dict[str, Tensor]
    updates: int

    @staticmethod
    def of(engine: TorchEngine, net: AtomFieldNet, ema: Ema) -> _State:
        weights = {k: p.detach().clone() for k, p in net.named_parameters()}
        average = {k: a.clone() for k, a in ema.average.items()}
        return _State(weights, copy.deepcopy(engine.optimizer.state_dict()), average, ema.updates)

    @torch.no_grad()
    def restore(self, engine: TorchEngine, net: AtomFieldNet, ema: Ema) -> None:
        for name, parameter in net.named_parameters():
            parameter.copy_(self.weights[name])
        engine.optimizer.load_state_dict(copy.deepcopy(self.optimizer))
        for name, average in ema.average.items():
            average.copy_(self.average[name])
        ema.updates = self.updates


@dataclass(frozen=True)
class Penalties:
    """The trials of a run: a section of its report, and for each penalty whether it was switched off."""

    section: Section
    metrics: dict[str, float]


def penalty_section(history: Sequence[Mapping[str, float]]) -> Penalties:
    """From the rows of a training log; empty where no penalty was tried."""
    rows, off = [], {}
    for row in history:
        for name in [k.removeprefix("trial/off_") for k in row if k.startswith("trial/off_")]:
            dropped = bool(row[f"trial/off_{name}"])
            off[f"physics_{name}_switched_off"] = float(dropped)
            scores = [number(row["trial/with_all"]), number(row[f"trial/without_{name}"])]
            rows.append([name, str(int(row["step"])), *scores, "switched off" if dropped else "kept"])
    if not rows:
        return Penalties(Section("Physics penalties"), {})
    columns = ("penalty", "step", "validation score with it", "without it", "decision")
    caption = f"Copies of the run with and without each penalty; more than {MARGIN:.0%} better without: switched off."
    return Penalties(
        Section("Physics penalties", (Table(columns, rows, caption, text_columns=frozenset({0, 4})),)), off
    )
