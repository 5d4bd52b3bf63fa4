"""What becomes of a step whose numbers are wrong: a loss or gradient that is not finite, or a spike far above what was usual.

Such a step is skipped on every rank alike: the weights stay as they were. Several in a row end the run; spikes that repeat take
it back to the last checkpoint, from which it goes on with data that it has not seen. The window of 128 steps and the 6 standard
deviations are those of OLMo-core's ``SkipStepOptimizer``; two things differ, because our batches are small and unlike (one hard
crystal beside ten easy ones), while a batch of text is the mean of millions of tokens: deviations are those of the logarithm, and
a value further out enters the window as the limit that it broke. Otherwise hard records would be skipped again and again and
never learnt.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal

from .config import NumericsConfig

Verdict = Literal["", "loss", "gradient", "spike"]
"""Why a step is skipped: its loss or its gradient is not finite, or is a spike; empty: it is not."""


@dataclass
class Guard:
    """Judges each step by its loss and gradient norm, which are the same numbers on every rank; so is the verdict.

    The state is part of the training checkpoint, so that a resumed run judges as the uninterrupted one would.
    """

    config: NumericsConfig
    losses: deque[float] = field(default_factory=deque)
    norms: deque[float] = field(default_factory=deque)
    bad_in_a_row: int = 0
    spikes: list[int] = field(default_factory=list)
    """Steps with a spike within the last window."""

    def judge(self, step: int, loss: float, gradient_norm: float, bad_losses: int) -> Verdict:
        """The verdict on ``step``, which is remembered. ``bad_losses``: micro-batches with a loss that is not finite."""
        verdict: Verdict = ""
        if bad_losses or not math.isfinite(loss):
            verdict = "loss"
        elif not math.isfinite(gradient_norm):
            verdict = "gradient"
        else:
            for values, value in ((self.losses, loss), (self.norms, gradient_norm)):
                low, high = self._limits(values)
                verdict = "spike" if value > high else verdict
                values.append(min(max(value, low), high))
                while len(values) > self.config.spike_window:
                    values.popleft()
        self.bad_in_a_row = self.bad_in_a_row + 1 if verdict else 0
        self.spikes = [s for s in self.spikes if s > step - self.config.spike_window]
        if verdict == "spike":
            self.spikes.append(step)
        return verdict

    def _limits(self, values: deque[float]) -> tuple[float, float]:
        """``spike_sigma`` standard deviations of the logarithm below and above its mean, once the window is half full.

        Values below a thousandth of their mean, zero among them, count as that.
        """
        count = len(values)
        if self.config.spike_sigma is None or count < max(self.config.spike_window // 2, 2):
            return 0.0, math.inf
        floor = max(1e-3 * math.fsum(values) / count, 1e-300)
        logs = [math.log(max(v, floor)) for v in values]
        mean = math.fsum(logs) / count
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in logs) / (count - 1))
        # a window of equal numbers has no deviation, and rounding is no spike
        reach = self.config.spike_sigma * max(deviation, 1e-3)
        return math.exp(mean - reach), math.exp(min(mean + reach, 700.0))

    @property
    def must_stop(self) -> bool:
        return self.bad_in_a_row >= self.config.most_bad_in_a_row

    @property
    def must_go_back(self) -> bool:
        return len(self.spikes) >= self.config.spikes_before_rollback

    def state(self) -> dict[str, Any]:
        """JSON-ready; Python writes a float so that it is read back to the bit."""
        return {
            "losses": list(self.losses),
            "norms": list(self.norms),
            "bad_in_a_row": self.bad_in_a_row,
            "spikes": self.spikes,
        }

    def load(self, state: dict[str, Any]) -> None:
        self.losses, self.norms = deque(state["losses"]), deque(state["norms"])
        self.bad_in_a_row, self.spikes = state["bad_in_a_row"], list(state["spikes"])
