"""Constants of ordinary differential equations from measured trajectories: the most probable values and their uncertainty.

    log y_k(t) = log z_k(t) + s_k * noise   (lognormal)     or     y_k(t) = z_k(t) + s_k * noise   (normal),     dz/dt = f(z; c)

Unknown: constants c, initial state z(0) and the sizes s of the errors. What must be positive enters by its
logarithm, whose posterior is
closer to a Gaussian; the density carries the Jacobian of that change. Laplace's approximation: ``laplace.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .laplace import estimate
from .ode import solve

Errors = Literal["normal", "lognormal"]


@dataclass(frozen=True)
class Prior:
    """A normal prior of ``mean`` and ``deviation`` on a constant itself; an infinite deviation says nothing."""

    mean: float = 0.0
    deviation: float = float("inf")


@dataclass(frozen=True)
class TrajectoryFit:
    """``constants [K]``, ``initial [D]``, ``errors [D]`` (s) with ``deviations [K + 2 D]`` in that order;
    ``covariance`` of the logarithms
    (of the initial state itself for normal errors); ``path [T, D]`` of the fit; history of the objective."""

    constants: Tensor
    initial: Tensor
    errors: Tensor
    deviations: Tensor
    covariance: Tensor
    path: Tensor
    history: tuple[float, ...]


def fit_trajectory(
    rate: Callable[[Tensor, Tensor], Tensor],
    times: Tensor,
    states: Tensor,
    start: Tensor,
    priors: tuple[Prior, ...],
    *,
    errors: Errors = "normal",
    error_start: float = 0.3,
    substeps: int = 10,
    max_steps: int = 60,
    progress: Callable[[int, float], None] = lambda step, value: None,
) -> TrajectoryFit:
    """Fit ``states [T, D]`` at ``times [T]`` by ``rate(state, constants)``, all constants positive, from ``start [K]``.

    error_start: size of the errors to start from, relative (of each state's spread for normal errors).
    ``ArithmeticError`` where the data
    do not determine the constants or the search does not end.
    """
    num, dimension = len(start), states.shape[1]
    states = states.double()
    logarithmic = errors == "lognormal"
    if logarithmic and bool((states <= 0).any()):
        raise ValueError(f"lognormal errors need positive states, found {float(states.min()):g}")
    measured = states.log() if logarithmic else states
    mean = torch.tensor([p.mean for p in priors], dtype=torch.float64)
    precision = torch.tensor([p.deviation for p in priors], dtype=torch.float64) ** -2

    def split(theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        initial = theta[num : num + dimension]
        return theta[:num].exp(), initial.exp() if logarithmic else initial, theta[num + dimension :].exp()

    def path_of(theta: Tensor) -> Tensor:
        constants, initial, _ = split(theta)
        return solve(lambda _, z: rate(z, constants), initial, times, substeps=substeps)

    def objective(theta: Tensor) -> Tensor:
        constants, _, sizes = split(theta)
        path = path_of(theta)
        # a trial that leaves the positive states is no candidate; clamped, its likelihood is merely low
        path = path.clamp(min=1e-30).log() if logarithmic else path
        likelihood = -(((measured - path) / sizes).square() / 2 + sizes.log()).sum()
        prior = -(precision * (constants - mean).square()).sum() / 2 + theta[:num].sum()
        return -(likelihood + prior)

    spread = torch.ones(dimension).double() if logarithmic else states.std(0)
    theta = torch.cat([start.double().log(), measured[0], (error_start * spread).log()])
    found = estimate(objective, theta, max_steps=max_steps, progress=progress)
    constants, initial, sizes = split(found.values)
    scale = torch.cat([constants, initial if logarithmic else torch.ones_like(initial), sizes])
    with torch.no_grad():
        path = path_of(found.values)
    return TrajectoryFit(
        constants, initial, sizes, scale * found.standard_deviations, found.covariance, path, found.history
    )
