"""Classical fourth-order Runge-Kutta with an integrating factor: the linear part exactly, the rest to fourth order.

For dy/dt = -r y + f(y) with rates r per mode, the variable exp(r t) y obeys an equation without the linear part; one
Runge-Kutta step in it, written back in y, needs only exp(-r dt/2). Reference: Canuto et al., *Spectral Methods*,
Springer 2006, appendix D.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def runge_kutta_step(modes: Tensor, dt: float, rates: Tensor, tendency: Callable[[Tensor], Tensor]) -> Tensor:
    """``modes`` after ``dt``; ``rates`` (1/time, broadcastable) decay linearly, ``tendency(modes)`` is everything else."""
    half = torch.exp(-rates * dt / 2)
    full = half * half
    a = tendency(modes)
    b = tendency(half * (modes + dt / 2 * a))
    c = tendency(half * modes + dt / 2 * b)
    d = tendency(full * modes + dt * half * c)
    return full * modes + dt / 6 * (full * a + 2 * half * (b + c) + d)
