"""Quantities that are never negative (density, concentration, depth, diffusivity), as a smooth function of a free number.

    q = floor + scale * log(1 + exp(x))        and its inverse

or, of a field that something else has made, its nearest field without negative values, whose mean may be prescribed:

    min sum_i w_i (q_i - f_i)^2   with  q_i >= 0  (and sum_i w_i q_i = m)     is     q_i = max(f_i - t, 0)

with t = 0 (or the one number for which the mean is m: projection onto a simplex, Held, Wolfe and Crowder, Math. Program. 6, 62
(1974)).

Strictly above the floor in exact arithmetic, linear for large x, so that errors keep their size (Dugas et al., NIPS
13 (2000)). Units:
``floor`` and ``scale`` in those of q. In float64 the surplus rounds to zero below x = -745.
"""

from __future__ import annotations

import torch
from torch import Tensor


def positive(free: Tensor, scale: float = 1.0, floor: float = 0.0) -> Tensor:
    """q from any real ``free``, elementwise."""
    return floor + scale * torch.nn.functional.softplus(free, threshold=50.0)


def free_of(quantity: Tensor, scale: float = 1.0, floor: float = 0.0) -> Tensor:
    """The inverse of ``positive``; ``ValueError`` for a quantity at or below the floor."""
    surplus = (quantity - floor) / scale
    if bool((surplus <= 0).any()):
        raise ValueError(f"found {float(quantity.min()):g}, expected values above {floor:g}")
    return surplus + torch.log(-torch.expm1(-surplus))


def nearest_nonnegative(field: Tensor, weights: Tensor | None = None, mean: Tensor | None = None) -> Tensor:
    """``[N]`` closest to ``field [N]`` by the volumes ``weights [N]`` (None: all alike) with no negative value and, if given, the
    weighted ``mean []``; one that is not above zero is ignored, since no other field has it than zero, or none."""
    if mean is None or float(mean) <= 0:
        return field.clamp_min(0.0)
    weights = torch.ones_like(field) if weights is None else weights.to(field)
    order = field.detach().argsort(descending=True)
    values, volumes = field[order], weights[order]
    above = volumes.cumsum(0)
    shifts = ((volumes * values).cumsum(0) - mean * weights.sum()) / above
    last = int((values.detach() > shifts.detach()).nonzero()[-1])  # as many of the largest stay above zero
    return (field - shifts[last]).clamp_min(0.0)
