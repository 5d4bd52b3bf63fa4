"""Learning rate and progress: linear warm-up, then a cosine, or a plateau and a decay; a time limit stretches or cuts them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .config import ClockName, OptimizerConfig


def learning_rate_factor(progress: float, warmup_fraction: float, final_fraction: float) -> float:
    """Factor on the peak rate at ``progress`` in [0, 1]."""
    if progress < warmup_fraction:
        return max(progress / warmup_fraction, 0.01)
    x = min((progress - warmup_fraction) / (1 - warmup_fraction), 1.0)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * x))


def factor_at(progress: float, optimizer: OptimizerConfig) -> float:
    """Factor on the peak rate at ``progress`` in [0, 1], by the schedule that ``optimizer`` names."""
    match optimizer.schedule:
        case "cosine":
            return learning_rate_factor(progress, optimizer.warmup_fraction, optimizer.final_fraction)
        case "wsd":
            return plateau_factor(
                progress, optimizer.warmup_fraction, optimizer.decay_fraction, optimizer.final_fraction
            )


def plateau_factor(
    progress: float, warmup_fraction: float, decay_fraction: float, final_fraction: float
) -> float:
    """Warm-up, stable, decay: the peak until the last ``decay_fraction``, then down as 1 - sqrt(x).

    The shape of the decay is the best of those compared by Haegele et al., arXiv:2405.18392. A checkpoint of the plateau can be
    continued for longer, since its rate does not know where the run was going to end.
    """
    if progress < warmup_fraction:
        return max(progress / warmup_fraction, 0.01)
    x = (progress - (1 - decay_fraction)) / decay_fraction if decay_fraction else 0.0
    return final_fraction + (1 - final_fraction) * (1 - math.sqrt(min(max(x, 0.0), 1.0)))


def seconds_of(clock: ClockName) -> Callable[[], float]:
    """Time that passes, or the processor time of all threads of this process."""
    return time.process_time if clock == "processor" else time.monotonic


class Progress:
    """Fraction of the run that is done. With a time limit it is the larger of the fractions of steps and of seconds, and the
    run ends when it reaches one; without, it depends on the step alone (and a resumed run repeats itself to the bit).
    ``clock`` gives seconds: of the wall, or of this process's threads."""

    def __init__(
        self,
        steps: int,
        max_time: float | None,
        spent: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.steps, self.max_time, self.clock = steps, max_time, clock
        self.start = clock() - spent

    def seconds(self) -> float:
        return self.clock() - self.start

    def at(self, step: int) -> float:
        by_steps = step / self.steps
        return by_steps if self.max_time is None else max(by_steps, self.seconds() / self.max_time)
