"""Heat (diffusion) equation.

    du/dt - D laplacian(u) = s

Units: D in length^2/time, s in u/time. Exact solution from a point source: the heat kernel (4 pi D t)^(-d/2) exp(-r^2 / 4 D t)
(Fourier, *Theorie analytique de la chaleur*, 1822).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .operators import Operators


def residual(
    operators: Operators, u: Tensor, u_t: Tensor, diffusivity: float | Tensor, source: float | Tensor = 0.0
) -> Tensor:
    """``du/dt - D laplacian(u) - s``, shape of ``u [*points]``; zero on a solution."""
    return u_t - diffusivity * operators.laplacian(u) - source


def kernel(coordinates: Tensor, time: float | Tensor, diffusivity: float) -> Tensor:
    """Heat kernel ``[P]`` at ``coordinates [P, d]`` from the origin, ``time`` > 0."""
    width = 4 * diffusivity * time
    return torch.exp(-coordinates.square().sum(1) / width) / (math.pi * width) ** (coordinates.shape[1] / 2)
