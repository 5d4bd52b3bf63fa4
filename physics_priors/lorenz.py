"""Lorenz's convection in three numbers.

    dx/dt = s (y - x),   dy/dt = x (r - z) - y,   dz/dt = x y - b z               (s = 10, r = 28, b = 8/3)

J. Atmos. Sci. 20, 130 (1963). Volumes shrink at the rate s + 1 + b everywhere. No units.
"""

from __future__ import annotations

import torch
from torch import Tensor

CONSTANTS = ("sigma", "rho", "beta")


def rate(state: Tensor, constants: Tensor) -> Tensor:
    """``[..., 3]`` from ``state [..., 3]`` and ``constants [3]`` (s, r, b)."""
    x, y, z = state.unbind(-1)
    s, r, b = constants
    return torch.stack([s * (y - x), x * (r - z) - y, x * y - b * z], dim=-1)
