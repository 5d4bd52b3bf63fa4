"""Korteweg-de Vries equation: long waves in shallow water.

    du/dt + a u du/dx + b d3u/dx3 = 0

In space, of waves that go along a direction e and bend little across it (Zakharov and Kuznetsov, Sov. Phys. JETP 39, 285 (1974)):

    du/dt + a u (e . grad) u + b (e . grad) laplacian(u) = 0

which is the same on a line along e. A mirror across e turns either into another equation, so that records name e.

Exact soliton of speed c: u = (3 c / a) sech^2( sqrt(c / 4b) (x - c t - x0) ) (Korteweg and de Vries, Phil. Mag. 39, 422 (1895)).
Usual constants: a = 6, b = 1. Units: any consistent set. Solver on a periodic line: dispersion exactly (integrating factor), the
flux by fourth-order Runge-Kutta, dealiased by the 2/3 rule.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .integrating_factor import runge_kutta_step
from .operators import Operators, advect
from .spectral import PeriodicGrid


def residual(
    operators: Operators, u: Tensor, u_t: Tensor, advection: float | Tensor, dispersion: float | Tensor
) -> Tensor:
    """Shape of ``u [*points]`` on a line along the first axis."""
    third = operators.gradient(operators.laplacian(u))[0]
    return u_t + advection * u * operators.gradient(u)[0] + dispersion * third


def residual_along(
    operators: Operators,
    u: Tensor,
    u_t: Tensor,
    direction: Tensor,
    advection: float | Tensor,
    dispersion: float | Tensor,
) -> Tensor:
    """Shape of ``u [*points]``; ``direction [d, *points]`` is of length 1."""
    carried = advect(operators, direction, u)
    return u_t + advection * u * carried + dispersion * advect(operators, direction, operators.laplacian(u))


def soliton(x: Tensor, time: float | Tensor, speed: float, advection: float, dispersion: float) -> Tensor:
    """The soliton that is at the origin at time 0."""
    phase = (speed / (4 * dispersion)) ** 0.5 * (x - speed * time)
    return 3 * speed / advection / torch.cosh(phase) ** 2


def advance(grid: PeriodicGrid, u: Tensor, constants: Tensor, span: float, steps: int) -> Tensor:
    """``u [..., n]`` a ``span`` later on a periodic line, in ``steps`` equal steps; differentiable in u and in the ``constants``
    (a, b) ``[..., 2]``."""
    advection, dispersion = constants.unsqueeze(-1).unbind(-2)
    k, mask = grid.k[0], grid.dealias_mask()
    rates = -1j * dispersion * k**3
    modes = grid.forward(u) * mask
    for _ in range(steps):
        modes = runge_kutta_step(
            modes,
            span / steps,
            rates,
            lambda z: -0.5j * advection * mask * k * grid.forward(grid.inverse(z) ** 2),
        )
    return grid.inverse(modes)


def dispersion_per_advection(grid: PeriodicGrid, before: Tensor, after: Tensor) -> float:
    """b/a from two states ``[n]`` of one motion: int (a u^3/6 - b (du/dx)^2/2) dx is conserved (Miura, Gardner and Kruskal, J.
    Math. Phys. 9, 1204 (1968)), so b/a is the change of int u^3/3 over that of int (du/dx)^2. Undetermined where the shape
    stays."""
    cubes, slopes = (
        [float(f(u).mean()) for u in (before, after)]
        for f in (lambda u: u**3 / 3, lambda u: grid.gradient(u)[0].square())
    )
    return (cubes[1] - cubes[0]) / (slopes[1] - slopes[0])
