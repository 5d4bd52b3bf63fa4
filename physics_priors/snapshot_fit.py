"""Constants of an equation from scattered values of a few states: the state at the first time and the constants are unknown, the
equation itself brings the state to the later times.

    minimise  sum_k |u(t_k, x_k; s, c) - data_k|^2        u(t_0) = sum over modes of s, then a solver with constants c

Fitted by Levenberg-Marquardt; derivatives run forward through the solver, one column per unknown, so the equation holds exactly
and not as a penalty (data assimilation with the model as a strong constraint: Le Dimet and Talagrand, Tellus A 38, 97 (1986)).
Uncertainty: the inverse Fisher information of all unknowns, scaled to what is left. Periodic lines. Units: any consistent set.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import forward_ad

from .spectral import PeriodicGrid

Solver = Callable[[Tensor, Tensor, float], Tensor]
"""``(u [..., n], constants [..., K], span) -> u [..., n]`` a span later; differentiable forward."""


@dataclass(frozen=True)
class Snapshot:
    """Values ``[D]`` at ``points [D]`` at one time."""

    time: float
    points: Tensor
    values: Tensor


@dataclass(frozen=True)
class SnapshotFit:
    """``constants [K]``, ``deviations [K]``, the first state ``[n]`` on the grid, RMS of what is left over all data, and the
    number of steps."""

    constants: Tensor
    deviations: Tensor
    state: Tensor
    rest: float
    steps: int


def fit_snapshots(
    solver: Solver,
    grid: PeriodicGrid,
    snapshots: Sequence[Snapshot],
    starts: Tensor,
    num_waves: int,
    *,
    origin: float = 0.0,
    max_steps: int = 60,
    tolerance: float = 1e-8,
) -> SnapshotFit:
    """From the best of the constants ``starts [S, K]`` with the first state as its own values say, since over a long span the sum
    of squares has many minima. The first state has waves 0 to ``num_waves``. origin: where point 0 of the grid lies.

    Stops when a step lowers the sum of squares by less than ``tolerance`` of itself. ``ValueError`` for more unknowns than data;
    ``ArithmeticError`` where the solver stays finite from no start.
    """
    count = 2 * num_waves + 1
    total = sum(len(s.values) for s in snapshots)
    if total <= count + starts.shape[1]:
        raise ValueError(f"found {total} values for {count + starts.shape[1]} unknowns; lower num_waves")
    (length,), (n,) = grid.lengths, grid.shape
    at = torch.arange(n, dtype=torch.float64) * length / n
    tables = [_waves(s.points - origin, num_waves, length) for s in snapshots]
    on_grid = _waves(at, num_waves, length)
    half = (n - 1) // 2
    every = [_waves(s.points - origin, half, length) for s in snapshots]

    def predicted(unknowns: Tensor) -> Tensor:
        """``[..., D]`` of ``unknowns [..., U]``."""
        coefficients, constants = unknowns[..., :count], unknowns[..., count:]
        parts = [coefficients @ tables[0].T]
        state, now = coefficients @ on_grid.T, snapshots[0].time
        for snapshot, table in zip(snapshots[1:], every[1:], strict=True):
            state, now = solver(state, constants, snapshot.time - now), snapshot.time
            modes = torch.fft.rfft(state) / n
            # cosines and sines of all waves of the grid, as in _waves
            waves = modes[..., 1 : half + 1]
            sums = torch.cat([modes.real[..., :1], 2 * waves.real, -2 * waves.imag], dim=-1)
            parts.append(sums @ table.T)
        return torch.cat(parts, dim=-1)

    data = torch.cat([s.values for s in snapshots])
    first = torch.linalg.lstsq(tables[0], snapshots[0].values[:, None]).solution[:, 0]
    tries = torch.cat([first.expand(len(starts), -1), starts.double()], dim=1)
    rests = predicted(tries) - data
    losses = rests.square().sum(1).nan_to_num(nan=torch.inf)
    best = int(losses.argmin())
    if not math.isfinite(float(losses[best])):
        raise ArithmeticError(
            "the solver does not stay finite from any of the starts; lower num_waves or take more steps"
        )
    unknowns, rest, loss, damping, done = tries[best], rests[best], float(losses[best]), 1e-3, 0
    normal = torch.eye(len(unknowns), dtype=torch.float64)
    while done < max_steps:
        done += 1
        jacobian = _jacobian(predicted, unknowns)
        normal, slope = jacobian.T @ jacobian, jacobian.T @ rest
        gain = 0.0
        while damping < 1e12:
            trial = unknowns - torch.linalg.solve(normal + damping * torch.diag(normal.diagonal()), slope)
            after = predicted(trial) - data
            value = float(after @ after)
            if math.isfinite(value) and value < loss:
                gain, unknowns, rest, loss, damping = loss - value, trial, after, value, damping / 10
                break
            damping *= 4
        if gain <= tolerance * loss:
            break
    noise = loss / (total - len(unknowns))
    spread = (noise * torch.linalg.inv(normal).diagonal()).clamp_min(0).sqrt()
    return SnapshotFit(
        unknowns[count:], spread[count:], on_grid @ unknowns[:count], (loss / total) ** 0.5, done
    )


def num_waves_of(snapshot: Snapshot, length: float, most: int) -> int:
    """Up to which wave a state is known from its own values: the least generalised cross-validation D rest^2 / (D - K)^2 of a
    fit with K coefficients (Golub, Heath and Wahba, Technometrics 21, 215 (1979)), at most ``most`` and D / 2 coefficients.
    Noise asks for few waves, clean values for all."""
    values, most = snapshot.values, min(most, (len(snapshot.values) // 2 - 1) // 2)
    scores = []
    for waves in range(1, most + 1):
        table = _waves(snapshot.points, waves, length)
        rest = values - table @ torch.linalg.lstsq(table, values[:, None]).solution[:, 0]
        scores.append(float(rest @ rest) / (len(values) - table.shape[1]) ** 2)
    return 1 + scores.index(min(scores))


def interpolated(snapshot: Snapshot, grid: PeriodicGrid, num_waves: int, origin: float = 0.0) -> Tensor:
    """The state ``[n]`` on a line's grid that has waves 0 to ``num_waves`` and the least squares distance from the values."""
    (length,), (n,) = grid.lengths, grid.shape
    table = _waves(snapshot.points - origin, num_waves, length)
    at = torch.arange(n, dtype=torch.float64) * length / n
    coefficients = torch.linalg.lstsq(table, snapshot.values[:, None]).solution[:, 0]
    return _waves(at, num_waves, length) @ coefficients


def _jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """``[D, U]``: one copy of the unknowns for each, all carried forward together (many times faster than ``torch.func.jacfwd``,
    whose every small operation costs more than the numbers in it)."""
    with warnings.catch_warnings(), forward_ad.dual_level():
        # torch's forward derivatives load decompositions that use its own deprecated torch.jit.script
        warnings.simplefilter("ignore", DeprecationWarning)
        copies = forward_ad.make_dual(at.repeat(len(at), 1), torch.eye(len(at), dtype=at.dtype))
        tangent = forward_ad.unpack_dual(function(copies)).tangent
    assert tangent is not None
    return tangent.T


def _waves(points: Tensor, num_waves: int, length: float) -> Tensor:
    """``[D, 2 W + 1]``: 1, cosines and sines of waves 1 to W at ``points [D]``."""
    phase = 2 * math.pi / length * points[:, None] * torch.arange(1, num_waves + 1, dtype=torch.float64)
    return torch.cat([torch.ones_like(points)[:, None], phase.cos(), phase.sin()], dim=1)
