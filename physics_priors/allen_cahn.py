"""Allen-Cahn equation: two phases and their interface.

    du/dt - e laplacian(u) + r (u^3 - u) = 0

Allen and Cahn, Acta Metall. 27, 1085 (1979). Exact front from 0 into 1: u = (1 + tanh(z)) / 2, z = (x + s t) / (2 w), of
width w = sqrt(2 e / r) and speed s = 3 r w / 2. Units: e in length^2/time, r in 1/time, u = +-1 in the phases.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .operators import Operators


def residual(
    operators: Operators, u: Tensor, u_t: Tensor, diffusivity: float | Tensor, rate: float | Tensor
) -> Tensor:
    """Shape of ``u [*points]``."""
    return u_t - diffusivity * operators.laplacian(u) + rate * (u**3 - u)


def front(x: Tensor, time: float | Tensor, diffusivity: float, rate: float) -> Tensor:
    """The phase 1 advancing into the unstable state 0 along -x."""
    width = (2 * diffusivity / rate) ** 0.5
    return (1 + torch.tanh((x + 1.5 * rate * width * time) / (2 * width))) / 2


def energy_density(
    operators: Operators, u: Tensor, diffusivity: float | Tensor, rate: float | Tensor
) -> Tensor:
    """``e |grad u|^2 / 2 + r (u^2 - 1)^2 / 4``; its mean never increases on a periodic domain."""
    return diffusivity * operators.gradient(u).square().sum(0) / 2 + rate * (u * u - 1).square() / 4
