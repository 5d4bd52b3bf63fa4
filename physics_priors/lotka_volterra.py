"""Predator and prey.

    du/dt = (alpha - beta v) u           prey
    dv/dt = (-gamma + delta u) v         predator

Lotka, PNAS 6, 410 (1920); Volterra, Nature 118, 558 (1926). delta u - gamma log u + beta v - alpha log v is
constant. Units: alpha and
gamma in 1/time, beta in 1/(time * predators), delta in 1/(time * prey).
"""

from __future__ import annotations

import torch
from torch import Tensor

CONSTANTS = ("alpha", "beta", "gamma", "delta")


def rate(state: Tensor, constants: Tensor) -> Tensor:
    """``[..., 2]`` from ``state [..., 2]`` (prey, predator) and ``constants [4]`` (alpha, beta, gamma, delta)."""
    prey, predator = state.unbind(-1)
    alpha, beta, gamma, delta = constants
    return torch.stack([(alpha - beta * predator) * prey, (-gamma + delta * prey) * predator], dim=-1)


def invariant(state: Tensor, constants: Tensor) -> Tensor:
    """The constant of the motion ``[...]``."""
    prey, predator = state.unbind(-1)
    alpha, beta, gamma, delta = constants
    return delta * prey - gamma * prey.log() + beta * predator - alpha * predator.log()
