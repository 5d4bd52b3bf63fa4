"""Sums of squares by the Levenberg-Marquardt method, with the Jacobian by automatic differentiation in chunks.

    minimise |r(theta)|^2 / 2,      (J^T J + d) v = -J^T r,      (J^T J + d) a = -J^T r_vv,      step = v + a / 2

r_vv is the second derivative of r along v: the step bends along a curved valley, where a straight one has to be short (geodesic
acceleration: Transtrum and Sethna, arXiv:1201.5885 (2012)).
d damps all unknowns alike (Levenberg), not in proportion to the diagonal of J^T J (Marquardt): that damps least what the residual
hardly feels, and the weights of a saturated unit run away to where no gradient brings them back (the same paper's evaporation of
parameters). So unknowns should be of order 1.
d follows the ratio of actual to predicted decrease (Nielsen, IMM-REP-1999-05; Nocedal and Wright, *Numerical
Optimization*, ch. 10). For a
few thousand unknowns it reaches losses in tens of steps that first-order methods do not reach in tens of thousands.
The covariance of the
unknowns is s^2 (J^T J)^-1 with s^2 the mean square of what is left (the Fisher information of Gaussian errors).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Residual = Callable[[Tensor, Tensor], Tensor]
"""``r(theta [K], row [c]) -> []``: one residual from the unknowns and one row of data."""

BLOCK = 128
"""Rows of J^T J that are computed together."""
LARGEST_BEND = 3 / 16
"""Of a / 2 relative to v: beyond, v stays straight."""


@dataclass(frozen=True)
class Fit:
    """``values [K]``, ``normal [K, K]`` = J^T J and ``loss`` = |r|^2 / 2 there, losses of all steps."""

    values: Tensor
    normal: Tensor
    loss: float
    history: tuple[float, ...]


def minimise(
    residuals: Sequence[tuple[Residual, Tensor]],
    start: Tensor,
    *,
    max_steps: int = 200,
    tolerance: float = 1e-10,
    chunk: int = 1024,
    progress: Callable[[int, float, Tensor], None] = lambda step, loss, values: None,
) -> Fit:
    """From ``start [K]`` (float64); ``residuals`` are pairs of a function and its rows ``[R, c]``, weights included
    in the function.

    Stops after ``max_steps`` or when a step lowers the loss by less than ``tolerance`` of itself five times in a row.
    ``ArithmeticError`` for a loss that is not finite at the start.
    """
    theta, damping, growth, idle = start.double(), 1e-3, 2.0, 0
    normal, slope, loss = _normal_equations(residuals, theta, chunk)
    if not torch.isfinite(torch.tensor(loss)):
        raise ArithmeticError("the residual is not finite at the start")
    history = [loss]
    for step in range(max_steps):
        damped = damping * float(normal.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(
            normal + damped * torch.eye(len(theta), dtype=torch.float64)
        )
        trial_loss, gain = float("inf"), -1.0
        if not int(failed):
            change = -torch.cholesky_solve(slope[:, None], factor)[:, 0]
            predicted = float(change @ (damped * change - slope)) / 2
            bend = -torch.cholesky_solve(_bend(residuals, theta, change, chunk)[:, None], factor)[:, 0] / 2
            if float(bend.norm()) <= LARGEST_BEND * float(change.norm()):
                change = change + bend
            trial_loss = _loss(residuals, theta + change, chunk)
            gain = (loss - trial_loss) / max(predicted, 1e-300)
        if not (trial_loss < loss):
            damping, growth = damping * growth, growth * 2
            if damping > 1e12:
                break
            continue
        idle = idle + 1 if loss - trial_loss < tolerance * loss else 0
        theta = theta + change
        damping, growth = damping * max(1 / 5, 1 - (2 * gain - 1) ** 3), 2.0
        normal, slope, loss = _normal_equations(residuals, theta, chunk)
        history.append(loss)
        progress(step, loss, theta)
        if idle >= 5:
            break
    return Fit(theta, normal, loss, tuple(history))


def _normal_equations(
    residuals: Sequence[tuple[Residual, Tensor]], theta: Tensor, chunk: int
) -> tuple[Tensor, Tensor, float]:
    """(J^T J, J^T r, |r|^2 / 2)."""
    normal = torch.zeros(len(theta), len(theta), dtype=torch.float64)
    slope, loss = torch.zeros_like(theta), 0.0
    for function, rows in residuals:
        both = torch.func.vmap(torch.func.grad_and_value(function), (None, 0))
        for part in rows.split(chunk):
            jacobian, values = both(theta, part)
            for first in range(0, len(theta), BLOCK):  # the upper triangle alone: most of the time goes here
                rows_of = slice(first, first + BLOCK)
                normal[rows_of, first:].addmm_(jacobian[:, rows_of].T, jacobian[:, first:])
            slope += jacobian.T @ values
            loss += float(values @ values) / 2
    return normal.triu() + normal.triu(1).T, slope, loss


def _bend(
    residuals: Sequence[tuple[Residual, Tensor]], theta: Tensor, change: Tensor, chunk: int, step: float = 0.1
) -> Tensor:
    """``[K]`` J^T r_vv along ``change``, r_vv by a central difference."""
    total = torch.zeros_like(theta)
    for function, rows in residuals:
        every = torch.func.vmap(function, (None, 0))
        for part in rows.split(chunk):
            with torch.no_grad():
                ahead, behind = (every(theta + s * step * change, part) for s in (1, -1))
            here, pull = torch.func.vjp(every, theta, part)  # type: ignore[misc]
            total += pull((ahead - 2 * here.detach() + behind) / step**2)[0]
    return total


def _loss(residuals: Sequence[tuple[Residual, Tensor]], theta: Tensor, chunk: int) -> float:
    with torch.no_grad():
        return sum(
            float(torch.func.vmap(function, (None, 0))(theta, part).square().sum()) / 2
            for function, rows in residuals
            for part in rows.split(chunk)
        )
