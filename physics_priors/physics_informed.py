"""A network that fits scattered data and obeys a law, with the law's constants known (a solver) or unknown (identification).

    minimise  mean (u(x_i, t_i) - u_i)^2 + weight * T^2 * mean residual(x_j, t_j)^2      over the weights, and the
    constants if unknown

T is the time between the first and the last point, so that no unit matters; the network's output is shifted and scaled to the
values' mean and standard deviation.

Raissi, Perdikaris and Karniadakis, J. Comput. Phys. 378, 686 (2019). Departures: Levenberg-Marquardt instead of L-BFGS,
Taylor series instead of nested differentiation.
Uncertainty of the constants: the inverse Fisher information of all unknowns, with data and residual scaled to their
own size at the
minimum; it holds the noise of the data, not the error of a network that is too small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .gauss_newton import Fit, minimise
from .line_laws import LineLaw
from .tanh_network import TanhNetwork


class SeriesOperators:
    """Derivatives of u alone, from a list ``[u, du/dx, d2u/dx2, ...]``: the operators of a law on a line without
    differentiating again."""

    def __init__(self, series: list[Tensor]):
        self.series = series

    def _order(self, field: Tensor) -> int:
        for order, member in enumerate(self.series):
            if member is field:
                return order
        raise ValueError("only u and its derivatives have derivatives here")

    def gradient(self, field: Tensor) -> Tensor:
        return self.series[self._order(field) + 1][None]

    def laplacian(self, field: Tensor) -> Tensor:
        return self.series[self._order(field) + 2]

    def divergence(self, vector: Tensor) -> Tensor:
        raise ValueError("a vector on a line has no series here; write the law with gradient and laplacian")

    def mean(self, field: Tensor) -> Tensor:
        raise ValueError("a single point has no mean; the law holds at points here")


@dataclass(frozen=True)
class NetworkEstimate:
    """``constants [K]``, ``deviations [K]``; ``network`` with its ``weights``; the ``fit``."""

    constants: Tensor
    deviations: Tensor
    network: TanhNetwork
    weights: Tensor
    fit: Fit

    def field(self, points: Tensor) -> Tensor:
        """u ``[P]`` at ``points [P, 2]`` (x, t)."""
        return self.network.derivatives(self.weights, points, 0, 0)[0][:, 0]

    def residual(self, law: LineLaw, points: Tensor) -> Tensor:
        """The law's residual ``[P]`` at ``points [P, 2]``: where it is large, more points are needed."""
        along = [d[:, 0] for d in self.network.derivatives(self.weights, points, 0, law.law.order)]
        u_t = self.network.derivatives(self.weights, points, 1, 1)[1][:, 0]
        operators, constants = SeriesOperators(along), law.named(self.constants)
        return law.law.residual(operators, {"u": along[0]}, {"u": u_t}, constants)


def fit_network(
    law: LineLaw,
    points: Tensor,
    values: Tensor,
    collocation: Tensor,
    start: Tensor,
    *,
    known: bool = False,
    weight: float = 1.0,
    width: int = 20,
    depth: int = 4,
    initial: Tensor | None = None,
    max_steps: int = 300,
    tolerance: float = 1e-10,
    seed: int = 0,
    progress: Callable[[int, float, Tensor], None] = lambda step, loss, constants: None,
) -> NetworkEstimate:
    """Fit ``values [D]`` at ``points [D, 2]`` (x, t) with the law at ``collocation [C, 2]``.

    start: constants ``[K]``; fixed there if ``known``, else only where the search begins. initial: weights to go on from, of a
    fit whose points have the same bounds. tolerance: relative decrease of the loss per step at which it stops, see ``minimise``.
    progress(step, loss, constants) after each step.
    """
    everywhere = torch.cat([points, collocation])
    low, high = everywhere.min(0).values, everywhere.max(0).values
    size = float(values.std()) or 1.0
    network = TanhNetwork((2, *[width] * depth, 1), low, high, float(values.mean()), size)
    count = network.num_weights
    unit = torch.where(start == 0, 1.0, start.abs()).double()

    def constants_of(unknowns: Tensor) -> Tensor:
        return start if known else unit * unknowns[count:]

    of_data = len(points) ** 0.5 * size
    of_law = (len(collocation) / weight) ** 0.5 * size / float(high[1] - low[1])

    def data(unknowns: Tensor, row: Tensor) -> Tensor:
        return (network.derivatives(unknowns[:count], row[:2], 0, 0)[0][0] - row[2]) / of_data

    def residual(unknowns: Tensor, row: Tensor) -> Tensor:
        along = [d[0] for d in network.derivatives(unknowns[:count], row, 0, law.law.order)]
        u_t = network.derivatives(unknowns[:count], row, 1, 1)[1][0]
        operators, constants = SeriesOperators(along), law.named(constants_of(unknowns))
        return law.law.residual(operators, {"u": along[0]}, {"u": u_t}, constants) / of_law

    rows = torch.cat([points, values[:, None]], dim=1)

    begun = network.initial(seed) if initial is None else initial
    fit = minimise(
        [(data, rows), (residual, collocation)],
        torch.cat([begun] + ([] if known else [start / unit])),
        max_steps=max_steps,
        tolerance=tolerance,
        progress=lambda step, loss, now: progress(step, loss, constants_of(now)),
    )
    found = constants_of(fit.values)
    deviations = torch.zeros_like(found)
    if not known:
        spare = max(len(points) + len(collocation) - len(fit.values), 1)
        deviations = unit * _deviations(fit, count, 2 * fit.loss / spare)
    return NetworkEstimate(found, deviations, network, fit.values[:count], fit)


def _deviations(fit: Fit, count: int, noise: float) -> Tensor:
    """Standard deviations of the unknowns after ``count``: from the Schur complement of J^T J and the variance of one row."""
    weights, both, own = fit.normal[:count, :count], fit.normal[:count, count:], fit.normal[count:, count:]
    ridge = 1e-12 * float(weights.diagonal().max()) * torch.eye(count, dtype=torch.float64)
    schur = own - both.T @ torch.linalg.solve(weights + ridge, both)
    return (noise * torch.linalg.inv(schur).diagonal()).clamp(min=0).sqrt()
