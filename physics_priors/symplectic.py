"""Integrators for H = T(p) + V(q) that keep the symplectic form, so that energy errors stay bounded instead of drifting.

    dq/dt = dT/dp,   dp/dt = -dV/dq
    leapfrog:     half kick, drift, half kick                                   order 2   (Stoermer-Verlet)
    forest_ruth:  three leapfrogs of t, (1 - 2 t), t with t = 1 / (2 - 2^(1/3))   order 4

Verlet, Phys. Rev. 159, 98 (1967); Forest and Ruth, Physica D 43, 105 (1990); Hairer, Lubich and Wanner, *Geometric
Numerical Integration*, Springer
2006. Classical Runge-Kutta (``ode.rk4_step``) is the non-symplectic control. Units: any consistent set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from .ode import rk4_step

Map = Callable[[Tensor], Tensor]
Scheme = Literal["leapfrog", "forest_ruth", "rk4"]

_OUTER = 1 / (2 - 2 ** (1 / 3))


def step(scheme: Scheme, q: Tensor, p: Tensor, dt: float, velocity: Map, force: Map) -> tuple[Tensor, Tensor]:
    """One step of ``dt`` for ``q``, ``p`` of equal shape; ``velocity(p)`` = dT/dp and ``force(q)`` = -dV/dq."""
    match scheme:
        case "leapfrog":
            return _leapfrog(q, p, dt, velocity, force)
        case "forest_ruth":
            for part in (_OUTER, 1 - 2 * _OUTER, _OUTER):
                q, p = _leapfrog(q, p, part * dt, velocity, force)
            return q, p
        case "rk4":
            both = rk4_step(
                lambda _, y: torch.stack([velocity(y[1]), force(y[0])]),
                q.new_zeros(()),
                torch.stack([q, p]),
                dt,
            )
            return both[0], both[1]


def integrate(
    scheme: Scheme, q: Tensor, p: Tensor, dt: float, steps: int, velocity: Map, force: Map, every: int = 1
) -> tuple[Tensor, Tensor]:
    """Paths ``[steps // every + 1, ...]`` of q and p, the start included."""
    path = [(q, p)]
    for number in range(1, steps + 1):
        q, p = step(scheme, q, p, dt, velocity, force)
        if number % every == 0:
            path.append((q, p))
    return torch.stack([a for a, _ in path]), torch.stack([b for _, b in path])


def _leapfrog(q: Tensor, p: Tensor, dt: float, velocity: Map, force: Map) -> tuple[Tensor, Tensor]:
    p = p + dt / 2 * force(q)
    q = q + dt * velocity(p)
    return q, p + dt / 2 * force(q)
