"""Quantities that are never negative (density, concentration, depth, diffusivity), as a smooth function of a free number.

    q = floor + scale * log(1 + exp(x))        and its inverse

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
