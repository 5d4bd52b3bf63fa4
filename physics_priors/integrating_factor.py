"""Classical fourth-order Runge-Kutta with an integrating factor: the linear part exactly, the rest to fourth order.

For dy/dt = -r y + f(y) with rates r per mode, the variable exp(r t) y obeys an equation without the linear part; one
Runge-Kutta step in it, written back in y, needs only exp(-r dt/2). Reference: Canuto et al., *Spectral Methods*,
Springer 2006, appendix D.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .spectral import PeriodicGrid


def runge_kutta_step(
    modes: Tensor, dt: float | Tensor, rates: Tensor, tendency: Callable[[Tensor], Tensor]
) -> Tensor:
    """``modes`` after ``dt``; ``rates`` (1/time, broadcastable) decay linearly, ``tendency(modes)`` is everything else."""
    half = torch.exp(-rates * dt / 2)
    full = half * half
    a = tendency(modes)
    b = tendency(half * (modes + dt / 2 * a))
    c = tendency(half * modes + dt / 2 * b)
    d = tendency(full * modes + dt * half * c)
    return full * modes + dt / 6 * (full * a + 2 * half * (b + c) + d)


def solve_to_times(
    grid: PeriodicGrid,
    modes: Tensor,
    times: Tensor,
    rates: Tensor,
    tendency: Callable[[Tensor], Tensor],
    speed: Callable[[Tensor], float],
    courant: float,
) -> Tensor:
    """Fields ``[T, ..., *shape]`` at ``times [T]`` from ``modes`` at ``times[0]``. Between two times steps are equal, and with
    ``speed(fields)``, the fastest at the first of the two, none exceeds the Courant number."""
    spacing = min(length / n for length, n in zip(grid.lengths, grid.shape, strict=True))
    states = [grid.inverse(modes)]
    for before, after in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        count = max(1, int(-(-(after - before) * speed(states[-1]) // (courant * spacing))))
        for _ in range(count):
            modes = runge_kutta_step(modes, (after - before) / count, rates, tendency)
        states.append(grid.inverse(modes))
    return torch.stack(states)
