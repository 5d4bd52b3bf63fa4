"""A small tanh network with its derivatives to any order in one forward pass.

Along a direction the network is carried as a truncated Taylor series: with y = tanh(z), dy/ds = (1 - y^2) dz/ds
gives the coefficients of y from
those of z one by one (Griewank and Walther, *Evaluating Derivatives*, SIAM 2008, ch. 13). It costs order^2/2
elementwise products per
layer, where nested automatic differentiation grows exponentially with the order.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor


class TanhNetwork:
    """Layers of ``sizes`` (inputs, hidden..., outputs); the weights are one vector, so that second-order methods can have it.

    Inputs are scaled from ``low``..``high`` ``[d]`` to -1..1 first, outputs are ``mean`` plus ``scale`` times the last layer's.
    """

    def __init__(
        self, sizes: tuple[int, ...], low: Tensor, high: Tensor, mean: float = 0.0, scale: float = 1.0
    ):
        self.sizes, self.low, self.high = sizes, low.double(), high.double()
        self.mean, self.scale = mean, scale
        self.shapes = [(after, before + 1) for before, after in itertools.pairwise(sizes)]
        self.num_weights = sum(a * b for a, b in self.shapes)

    def initial(self, seed: int) -> Tensor:
        """``[num_weights]``: Glorot's normal initialisation, zero biases (AISTATS 9, 249 (2010))."""
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for rows, columns in self.shapes:
            weight = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
            weight *= (2 / (rows + columns - 1)) ** 0.5
            weight[:, -1] = 0.0
            parts.append(weight.flatten())
        return torch.cat(parts)

    def derivatives(self, weights: Tensor, points: Tensor, axis: int, order: int) -> list[Tensor]:
        """``[u, du/dx, ..., d^order u/dx^order]``, each ``[..., outputs]``, along input ``axis`` at ``points [..., d]``."""
        span = self.high - self.low
        series = [2 * (points - self.low) / span - 1]
        if order:
            unit = torch.zeros(points.shape[-1], dtype=points.dtype)
            unit[axis] = 1.0
            series.append((2 / span * unit).expand_as(points))
        start = 0
        for layer, (rows, columns) in enumerate(self.shapes):
            block = weights[start : start + rows * columns].reshape(rows, columns)
            start += rows * columns
            # beyond the first order the series of the inputs is zero and is left out
            series = [
                term @ block[:, :-1].T + (block[:, -1] if k == 0 else 0.0) for k, term in enumerate(series)
            ]
            if layer < len(self.shapes) - 1:
                series = _tanh(series, order)
        found = [self.scale * math.factorial(k) * term for k, term in enumerate(series)]
        return [found[0] + self.mean, *found[1:]]


def _tanh(z: list[Tensor], order: int) -> list[Tensor]:
    y = [torch.tanh(z[0])]
    slope = [1 - y[0] * y[0]]  # the series of 1 - y^2
    for k in range(1, order + 1):
        total = torch.zeros_like(y[0])
        for j in range(1, min(k, len(z) - 1) + 1):
            total = total + j / k * z[j] * slope[k - j]
        y.append(total)
        square = torch.zeros_like(total)
        for i in range(k + 1):
            square = square + y[i] * y[k - i]
        slope.append(-square)
    return y
