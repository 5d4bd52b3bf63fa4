"""How well states in time satisfy a law: the residual relative to its rate of change.

The time derivative comes from central differences of fourth order,
    du/dt = (u(t-2h) - 8 u(t-h) + 8 u(t+h) - u(t+2h)) / 12 h
(Fornberg, Math. Comput. 51, 699 (1988)), so two states at either end have none. No label is needed: it judges a
rollout as well as data.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def time_derivative(states: Tensor, dt: float) -> Tensor:
    """``[T - 4, ...]`` at the inner times of ``states [T, ...]``, ``dt`` apart; at least five are needed."""
    if len(states) < 5:
        raise ValueError(f"found {len(states)} states, expected at least 5 for central differences in time")
    return (states[:-4] - 8 * states[1:-3] + 8 * states[3:-1] - states[4:]) / (12 * dt)


def relative_residual(law: Callable[[Tensor, Tensor], Tensor], states: Tensor, dt: float) -> Tensor:
    """``[T - 4]``: RMS over points of ``law(u, du/dt)`` divided by the RMS of du/dt, for each inner time. 0 is a
    solution, 1 is what a
    law without any term but du/dt gives; the floor of a perfect solution is the error of the differences in time and space."""
    rates = time_derivative(states, dt)
    out = [law(u, rate).square().mean().sqrt() for u, rate in zip(states[2:-2], rates, strict=True)]
    scale = rates.flatten(1).square().mean(1).sqrt()
    return torch.stack(out) / scale
