"""A learning rate that ends with the time: for packages whose own schedules count epochs, which nobody knows beforehand."""

from __future__ import annotations

import math
import time


class Cosine:
    """Factor of the rate for ``torch.optim.lr_scheduler.LambdaLR``: half a cosine from 1 to ``last`` over ``seconds`` from its
    first call; the number of steps that it is given does not count."""

    def __init__(self, seconds: float, last: float = 0.005):
        self.seconds, self.last, self.began = seconds, last, 0.0

    def __call__(self, _: int) -> float:
        now = time.monotonic()
        self.began = self.began or now
        share = min((now - self.began) / self.seconds, 1.0)
        return self.last + (1 - self.last) * (1 + math.cos(math.pi * share)) / 2
