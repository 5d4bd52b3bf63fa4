"""Wave equation.

    d2u/dt2 - c^2 laplacian(u) = s

Exact plane waves f(n . x - c t) (d'Alembert, 1747). The energy, the mean of (du/dt)^2 / 2 + c^2 |grad u|^2 / 2, is
constant without a
source on a periodic domain. Units: c in length/time.
"""

from __future__ import annotations

from torch import Tensor

from .operators import Operators


def residual(
    operators: Operators, u: Tensor, u_tt: Tensor, speed: float | Tensor, source: float | Tensor = 0.0
) -> Tensor:
    """``d2u/dt2 - c^2 laplacian(u) - s``, shape of ``u [*points]``."""
    return u_tt - speed**2 * operators.laplacian(u) - source


def energy_density(operators: Operators, u: Tensor, u_t: Tensor, speed: float | Tensor) -> Tensor:
    """``(du/dt)^2 / 2 + c^2 |grad u|^2 / 2`` at each point."""
    return (u_t.square() + speed**2 * operators.gradient(u).square().sum(0)) / 2
