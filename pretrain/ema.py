"""Exponential moving average of the weights, with a warm-up so that the first steps are forgotten quickly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Average of the parameters of ``module``: ``a <- d a + (1 - d) w`` with d = min(decay, (1 + t) / (10 + t)).

    ``weights``: where the weights w come from, by name; default: ``module`` itself. (With ZeRO 3 the trained network is in
    pieces: ``module`` is then a copy of it that is never trained.)
    """

    def __init__(
        self, module: nn.Module, decay: float, weights: Callable[[], dict[str, Tensor]] | None = None
    ):
        self.module, self.decay, self.updates = module, decay, 0
        own: dict[str, Tensor] = dict(module.named_parameters())
        self.weights = weights or (lambda: own)
        self.average: dict[str, Tensor] = {k: p.detach().clone() for k, p in own.items()}

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        named = self.weights()
        weights = [
            w if w.dtype == average.dtype else w.to(average.dtype)
            for w, average in ((named[name], average) for name, average in self.average.items())
        ]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[nn.Module]:
        """The module with the averaged weights in place, restored on leaving."""
        kept = {}
        for name, parameter in self.module.named_parameters():
            kept[name] = parameter.data
            parameter.data = self.average[name]
        try:
            yield self.module
        finally:
            for name, parameter in self.module.named_parameters():
                parameter.data = kept[name]
