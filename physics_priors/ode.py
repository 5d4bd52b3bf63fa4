"""Ordinary differential equations, and those of which a part is known and a part is learnt.

    dy/dt = f(t, y)                                    neural ODE: f is a network (Chen et al., NeurIPS 31 (2018))
    dy/dt = f_known(t, y) + f_learnt(t, y)             universal differential equation (Rackauckas et al., arXiv:2001.04385)

Fixed steps by classical Runge-Kutta of fourth order; adaptive ones by torchdiffeq (the extra ``ode``), with
gradients through the steps or by the
adjoint. Units: those of y and t.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

Rate = Callable[[Tensor, Tensor], Tensor]
"""``f(t [], y [...]) -> dy/dt [...]``."""


def solve(
    rate: Rate,
    state: Tensor,
    times: Tensor,
    *,
    method: Literal["rk4", "dopri5", "adjoint"] = "rk4",
    substeps: int = 10,
    tolerance: float = 1e-8,
) -> Tensor:
    """States ``[T, ...]`` at ``times [T]`` from ``state`` at ``times[0]``.

    rk4: ``substeps`` equal steps between neighbouring times. dopri5: adaptive, error relative and absolute below
    ``tolerance`` per
    step. adjoint: the same with gradients by the adjoint equation (``rate`` must be an ``nn.Module``): memory does
    not grow with the steps.
    """
    match method:
        case "rk4":
            out = [state]
            for begin, end in itertools.pairwise(times):
                step = (end - begin) / substeps
                for number in range(substeps):
                    state = rk4_step(rate, begin + number * step, state, step)
                out.append(state)
            return torch.stack(out)
        case "dopri5" | "adjoint":
            import torchdiffeq

            integrate = torchdiffeq.odeint if method == "dopri5" else torchdiffeq.odeint_adjoint
            return integrate(rate, state, times, rtol=tolerance, atol=tolerance, method="dopri5")


def rk4_step(rate: Rate, time: Tensor, state: Tensor, step: Tensor | float) -> Tensor:
    """One step of the classical method."""
    a = rate(time, state)
    b = rate(time + step / 2, state + step / 2 * a)
    c = rate(time + step / 2, state + step / 2 * b)
    d = rate(time + step, state + step * c)
    return state + step / 6 * (a + 2 * b + 2 * c + d)


class UniversalEquation(nn.Module):
    """``known(t, y) + learnt(y)``: start the learnt part at zero and what is known is the starting point."""

    def __init__(self, known: Rate, learnt: nn.Module):
        super().__init__()
        self.known, self.learnt = known, learnt

    def forward(self, time: Tensor, state: Tensor) -> Tensor:
        return self.known(time, state) + self.learnt(state)
