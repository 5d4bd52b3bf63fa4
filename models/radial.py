"""Radial functions: smooth bases and the envelope that ends them at the cutoff.

Legend: ``E`` edges, ``B`` bases. Bases are spherical Bessel functions sin(n pi d / r) / d (Gasteiger et al., arXiv:2003.03123);
the envelope is the polynomial 1 - 28 x^6 + 48 x^7 - 21 x^8 of the same paper with p = 6: value, slope
and curvature vanish at x = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def bessel_basis(distance_E: Tensor, cutoff: float, num_bases: int) -> Tensor:
    """``[E, B]`` dimensionless, of order one; ``distance_E`` in the unit of ``cutoff``."""
    order = torch.arange(1, num_bases + 1, dtype=distance_E.dtype, device=distance_E.device)
    x = distance_E.unsqueeze(1)
    return (cutoff / 2) * torch.sin(order * (math.pi / cutoff) * x) / x


def polynomial_envelope(distance_E: Tensor, cutoff: float) -> Tensor:
    """``[E]``: 1 at 0, exactly 0 from the cutoff on, twice continuously differentiable."""
    x = (distance_E / cutoff).clamp(max=1.0)
    x2 = x * x
    x6 = x2 * x2 * x2
    return 1 - x6 * (28 - x * (48 - 21 * x))
