"""An equation tested against smooth functions on windows: derivatives fall on the test function, not on noisy data.

    int phi du/dt = - int (d phi/dt) u,      int phi d^k f(u)/dx^k = (-1)^k int (d^k phi/dx^k) f(u)

phi is a product of (1 - y^2)^p in each axis, y from -1 to 1 across a window, so boundary terms vanish and the
trapezoidal rule is accurate
to high order. Messenger and Bortz, J. Comput. Phys. 443, 110525 (2021). Axes are uniform; the last one is the time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, order=True)
class Term:
    """``d^order/dx^order (u^power / n)``; n = power for first derivatives, so that they are u^(power-1) du/dx, else 1."""

    power: int
    order: int

    def __str__(self) -> str:
        u = "u" if self.power == 1 else f"u^{self.power}"
        match self.order:
            case 0:
                return u if self.power else "1"
            case 1:
                return (
                    "u_x" if self.power == 1 else ("u u_x" if self.power == 2 else f"u^{self.power - 1} u_x")
                )
            case _:
                tail = "x" * self.order
                return f"u_{tail}" if self.power == 1 else f"({u})_{tail}"

    def of(self, u: Tensor) -> Tensor:
        """What is differentiated."""
        return u**self.power / (self.power if self.order == 1 and self.power else 1)


def library(max_power: int, max_order: int) -> tuple[Term, ...]:
    """Powers up to ``max_power`` without derivative and of ``max_power`` under up to ``max_order`` derivatives; no constant."""
    return tuple(Term(p, k) for k in range(max_order + 1) for p in range(1, max_power + 1))


class Windows:
    """Windows of half-width ``half`` points around centres ``stride`` points apart, on one axis of ``num`` points
    and spacing ``step``."""

    def __init__(self, num: int, step: float, half: int, stride: int, power: int):
        if 2 * half + 1 > num:
            raise ValueError(f"a window of {2 * half + 1} points does not fit into {num}")
        self.num, self.step, self.half, self.power = num, step, half, power
        self.centres = torch.arange(half, num - half, stride)

    def matrix(self, order: int) -> Tensor:
        """``[C, num]``: row c integrates a field against the ``order``-th derivative of the test function around centre c."""
        y = np.linspace(-1, 1, 2 * self.half + 1)
        profile = np.polynomial.Polynomial([1.0, 0.0, -1.0]) ** self.power
        values = (profile.deriv(order) if order else profile)(y) / (self.half * self.step) ** order
        out = torch.zeros(len(self.centres), self.num, dtype=torch.float64)
        columns = self.centres[:, None] + torch.arange(-self.half, self.half + 1)
        return out.scatter_(1, columns, torch.from_numpy(values * self.step).expand_as(columns))


def half_width(field: Tensor, axis: int, power: int, largest: float = 0.25) -> int:
    """Half-width in points for an axis of ``field``: the test function's spectrum ends about where the data's does
    (98 % of the slopes'
    energy), and a window covers at most ``largest`` of the axis on either side."""
    moved = field.detach().movedim(axis, -1)
    num = moved.shape[-1]
    taper = torch.hann_window(num, periodic=False, dtype=torch.float64)
    spectrum = torch.fft.rfft((moved - moved.mean(-1, keepdim=True)) * taper).abs().square()
    index = torch.arange(spectrum.shape[-1], dtype=torch.float64)
    power_of = spectrum.reshape(-1, len(index)).mean(0)
    noise = 4 * power_of[2 * len(index) // 3 :].median()  # white noise is what the upper third holds
    energy = ((power_of - noise).clamp(min=0) * index**2).cumsum(0)
    mode = max(1, int((energy < 0.98 * energy[-1]).sum()))
    # (1 - y^2)^p is nearly exp(-p y^2): its spectrum falls to exp(-2) at wavenumber sqrt(8 p) / half-width
    half = (8 * power) ** 0.5 * num / (2 * np.pi * mode)
    return int(min(max(half, power + 2), largest * num))


@dataclass(frozen=True)
class WeakSystem:
    """``matrix [R, K]`` of the terms, ``rate [R, 1]`` of du/dt, ``blocks [R]``: windows of one block overlap, others hardly."""

    matrix: Tensor
    rate: Tensor
    blocks: Tensor


def weak_system(
    u: Tensor, dx: float, dt: float, terms: tuple[Term, ...], halves: tuple[int, int], power: int = 8
) -> WeakSystem:
    """Equations ``rate = matrix @ c`` for ``u [n, T]`` on a line, one for each window; differentiable in u."""
    strides = [max(1, h // 4) for h in halves]
    space = Windows(u.shape[0], dx, halves[0], strides[0], power)
    time = Windows(u.shape[1], dt, halves[1], strides[1], power)
    still = time.matrix(0).T
    derivatives = {k: (-1) ** k * space.matrix(k) for k in {t.order for t in terms} | {0}}
    columns = [(derivatives[t.order] @ t.of(u) @ still).flatten() for t in terms]
    rate = -(derivatives[0] @ u @ time.matrix(1).T).flatten()
    tiles = [c // (2 * h + 1) for c, h in zip((space.centres, time.centres), halves, strict=True)]
    blocks = (tiles[0][:, None] * (int(tiles[1].max()) + 1) + tiles[1][None]).flatten()
    return WeakSystem(torch.stack(columns, dim=1), rate[:, None], blocks)


def weak_rates(
    states: Tensor, dt: float, features: Tensor, half: int, power: int = 8
) -> tuple[Tensor, Tensor, Tensor]:
    """The same for ordinary equations: ``(matrix [R, K], rates [R, D], blocks [R])`` of ``states [T, D]`` and
    ``features [T, K]``."""
    time = Windows(len(states), dt, half, max(1, half // 4), power)
    return time.matrix(0) @ features, -time.matrix(1) @ states, time.centres // (2 * half + 1)
