"""Learning rate and progress: linear warm-up, then a cosine; a time limit stretches or cuts the same curve."""

from __future__ import annotations

import math
import time


def learning_rate_factor(progress: float, warmup_fraction: float, final_fraction: float) -> float:
    """Factor on the peak rate at ``progress`` in [0, 1]."""
    if progress < warmup_fraction:
        return max(progress / warmup_fraction, 0.01)
    x = min((progress - warmup_fraction) / (1 - warmup_fraction), 1.0)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * x))


class Progress:
    """Fraction of the run that is done. With a time limit it is the larger of the fractions of steps and of seconds, and the
    run ends when it reaches one; without, it depends on the step alone (and a resumed run repeats itself to the bit)."""

    def __init__(self, steps: int, max_time: float | None, spent: float = 0.0):
        self.steps, self.max_time = steps, max_time
        self.start = time.monotonic() - spent

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def at(self, step: int) -> float:
        by_steps = step / self.steps
        return by_steps if self.max_time is None else max(by_steps, self.seconds() / self.max_time)
