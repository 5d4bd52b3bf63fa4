"""Trials of penalties in a finetuning (the rule: ``pretrain/penalties.py``), and the section of the report that tells of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.config import LossWeights
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine
from atomfield.pretrain.penalties import MARGIN, Trial, due, length_of, try_penalties, without
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.validate import Stopped

from .report import Section, Table, number


@dataclass
class Guard:
    """The state of the rule over one run. ``judge()`` is the validation score of the network's present weights; ``stop()`` says
    whether the run is asked to end."""

    weights: LossWeights
    judge: Callable[[], float]
    tried: int = 0
    stop: Callable[[], bool] = lambda: False

    def due(self, fraction: float, step: int) -> bool:
        """Whether a trial should start at this fraction of the schedule."""
        return due(self.weights, self.tried, fraction, step)

    def trial(
        self,
        engine: TorchEngine,
        net: AtomFieldNet,
        ema: Ema,
        draw: Callable[[], list[MicroBatch]],
        step: int,
    ) -> Trial:
        """Try, continue from the best copy, and take the weights of what failed out of ``self.weights``. The batches of the trial
        are kept in memory. Raises ``Stopped`` between two steps where the run is asked to end; then all is as before."""
        count = length_of(step)
        batches = []
        for _ in range(count):
            self._go_on()
            batches.append(draw())

        def steps(weights: LossWeights) -> Iterator[None]:
            for batch in batches:
                self._go_on()
                training_step(engine, net, batch, weights)
                ema.update()
                yield

        trial = try_penalties(engine, net, ema, self.weights, count, steps, self.judge)
        self.tried += 1
        self.weights = without(self.weights, *trial.dropped)
        return trial

    def _go_on(self) -> None:
        if self.stop():
            raise Stopped


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
