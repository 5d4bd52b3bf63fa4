"""Poisson's and Darcy's equations: a steady flux down a gradient.

    -div(k grad u) = f          (Poisson: k = 1)

For a porous medium u is the pressure, k the permeability over the viscosity and q = -k grad u the discharge (Darcy, 1856; Bear,
*Dynamics of Fluids in Porous Media*, 1972). Units: k f-consistent: [f] = [k] [u] / length^2.
"""

from __future__ import annotations

from torch import Tensor

from .operators import Operators


def residual(operators: Operators, u: Tensor, source: Tensor, conductivity: float | Tensor = 1.0) -> Tensor:
    """``-div(k grad u) - f`` of ``u [*points]``; ``conductivity`` is a number, a field, or a Poisson equation's 1."""
    if isinstance(conductivity, Tensor) and conductivity.dim():
        return -operators.divergence(conductivity * operators.gradient(u)) - source
    return -conductivity * operators.laplacian(u) - source


def discharge(operators: Operators, u: Tensor, conductivity: float | Tensor) -> Tensor:
    """Flux ``-k grad u [d, *points]``."""
    return -conductivity * operators.gradient(u)
