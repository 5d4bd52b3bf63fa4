"""Wave equation.

    d2u/dt2 - c^2 laplacian(u) = s

Exact plane waves f(n . x - c t) (d'Alembert, 1747). The energy, the mean of (du/dt)^2 / 2 + c^2 |grad u|^2 / 2, is
constant without a
source on a periodic domain. Units: c in length/time.

As two equations of first order, which are those of linear sound with a kinematic pressure p (p / density) and the velocity v:

    dp/dt + c^2 div v = 0,        dv/dt + grad p = 0,        so d2p/dt2 = c^2 laplacian(p)
"""

from __future__ import annotations

import torch
from torch import Tensor

from .operators import Operators
from .spectral import PeriodicGrid


def residual(
    operators: Operators, u: Tensor, u_tt: Tensor, speed: float | Tensor, source: float | Tensor = 0.0
) -> Tensor:
    """``d2u/dt2 - c^2 laplacian(u) - s``, shape of ``u [*points]``."""
    return u_tt - speed**2 * operators.laplacian(u) - source


def energy_density(operators: Operators, u: Tensor, u_t: Tensor, speed: float | Tensor) -> Tensor:
    """``(du/dt)^2 / 2 + c^2 |grad u|^2 / 2`` at each point."""
    return (u_t.square() + speed**2 * operators.gradient(u).square().sum(0)) / 2


def acoustic_residual(
    operators: Operators,
    pressure: Tensor,
    velocity: Tensor,
    pressure_t: Tensor,
    velocity_t: Tensor,
    speed: float | Tensor,
) -> tuple[Tensor, Tensor]:
    """What is left of either equation of first order: ``[*points]`` and ``[d, *points]``."""
    return (
        pressure_t + speed**2 * operators.divergence(velocity),
        velocity_t + operators.gradient(pressure),
    )


def acoustic_waves(
    grid: PeriodicGrid, pressure: Tensor, velocity: Tensor, times: Tensor, speed: float
) -> tuple[Tensor, Tensor]:
    """(pressure ``[T, *shape]``, velocity ``[T, d, *shape]``) at ``times`` from ``pressure`` and ``velocity [d,
    *shape]`` at time 0: exact, mode by mode. The part of the velocity without divergence stays as it is."""
    p, v = grid.forward(pressure.double()), torch.stack([grid.forward(u) for u in velocity.double()])
    k = torch.stack(torch.broadcast_tensors(*grid.k)).to(v.dtype)
    wave = k.real.square().sum(0).sqrt()
    safe = torch.where(wave == 0, 1.0, wave)
    along = (k * v).sum(0) / safe  # the velocity along k
    still = v - k / safe * along
    pressures, velocities = [], []
    for time in times.tolist():
        cosine, sine = torch.cos(speed * wave * time), torch.sin(speed * wave * time)
        pressures.append(grid.inverse(p * cosine - 1j * speed * along * sine))
        moved = along * cosine - 1j * p * sine / speed
        velocities.append(torch.stack([grid.inverse(m) for m in still + k / safe * moved]))
    return torch.stack(pressures), torch.stack(velocities)
