"""What becomes of a step whose numbers are wrong: a loss or gradient that is not finite, or a spike far above what was usual.

Such a step is skipped on every rank alike: the weights stay as they were. Several in a row end the run; spikes that repeat take
it back to the last checkpoint, from which it goes on with data that it has not seen. The window of 128 steps and the 6 standard
deviations are those of OLMo-core's ``SkipStepOptimizer``.
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
        elif self._is_spike(self.losses, loss) or self._is_spike(self.norms, gradient_norm):
            verdict = "spike"
        self.bad_in_a_row = self.bad_in_a_row + 1 if verdict else 0
        self.spikes = [s for s in self.spikes if s > step - self.config.spike_window]
        if verdict == "spike":
            self.spikes.append(step)
        if not verdict:
            for values, value in ((self.losses, loss), (self.norms, gradient_norm)):
                values.append(value)
                while len(values) > self.config.spike_window:
                    values.popleft()
        return verdict

    def _is_spike(self, values: deque[float], value: float) -> bool:
        """More than ``spike_sigma`` standard deviations above the mean of the window, once that is half full."""
        count = len(values)
        if self.config.spike_sigma is None or count < max(self.config.spike_window // 2, 2):
            return False
        mean = math.fsum(values) / count
        deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (count - 1))
        # a window of equal numbers has no deviation, and rounding is no spike
        return value > mean + self.config.spike_sigma * max(deviation, 1e-3 * abs(mean))

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
