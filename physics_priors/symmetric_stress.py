"""Symmetric stress: angular momentum is balanced exactly when sigma_ij = sigma_ji (Cauchy's second law).

    momentum:  rho du/dt = div sigma + f,      Newtonian fluid:  sigma = -p 1 + mu (grad u + grad u^T) + (lambda) (div u) 1

Built from six numbers (xx, yy, zz, yz, xz, xy: Voigt's order) or by symmetrising nine; never by a penalty. A
positive-definite one
(a metric, a conductivity, a diffusivity tensor) is a square L L^T plus a floor. Reference: Landau and Lifshitz,
*Fluid Mechanics*, par. 15.
Units: stress in pressure, mu in pressure * time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .operators import Operators

_VOIGT = ((0, 5, 4), (5, 1, 3), (4, 3, 2))


def from_voigt(six: Tensor) -> Tensor:
    """``[..., 3, 3]`` from ``[..., 6]`` in Voigt's order, without factors of two."""
    return six[..., torch.tensor(_VOIGT)]


def symmetrised(nine: Tensor) -> Tensor:
    """The symmetric part of ``[..., d, d]``; bitwise symmetric, since addition commutes."""
    return (nine + nine.transpose(-1, -2)) / 2


def positive_definite(nine: Tensor, floor: float = 0.0) -> Tensor:
    """``L L^T + floor`` of the lower triangle of ``[..., d, d]``: eigenvalues at least ``floor``, covariant under
    rotations only if
    the user builds L so."""
    lower = nine.tril()
    return symmetrised(lower @ lower.transpose(-1, -2)) + floor * torch.eye(nine.shape[-1], dtype=nine.dtype)


def newtonian(
    operators: Operators, velocity: Tensor, pressure: Tensor, viscosity: float, bulk: float = 0.0
) -> Tensor:
    """Stress ``[d, d, *points]`` of ``velocity [d, *points]`` and ``pressure [*points]``; ``bulk`` is the
    coefficient of div u."""
    gradient = operators.gradient(velocity)
    rate = gradient + gradient.transpose(0, 1)
    spherical = bulk * operators.divergence(velocity) - pressure
    identity = torch.eye(len(velocity), dtype=velocity.dtype).reshape(*rate.shape[:2], *[1] * pressure.dim())
    return viscosity * rate + identity * spherical


def force(operators: Operators, stress: Tensor) -> Tensor:
    """Force per volume, div sigma ``[d, *points]`` of ``stress [d, d, *points]``."""
    return operators.divergence(stress)
