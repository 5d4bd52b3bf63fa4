"""A law on a line solved by a network from values on the boundary of space and time.

    minimise  mean (u(x_i, t_i) - u_i)^2 + weight * T^2 * mean residual(x_j, t_j)^2        the points x_j drawn anew each round

Points that stay where they are let the network fit the equation at them and miss a shock in between. So each round draws its
points from candidates with a probability in proportion to 1 + |residual| / mean |residual| (residual-based adaptive distribution:
Wu, Zhu, Tan, Kartha and Lu, Comput. Methods Appl. Mech. Engrg. 403, 115671 (2023), with k = c = 1), and Levenberg-Marquardt goes
on from the weights of the round before. The residual at points that no round has seen, and the misfit of the given values, say
how good the solution is without a reference; one alone does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from .line_laws import LineLaw
from .physics_informed import NetworkEstimate, fit_network

CANDIDATES = 10
"""For each point that is drawn."""


@dataclass(frozen=True)
class NetworkSolution:
    """``estimate``: the network; ``residuals``: RMS at fresh points after each round; ``misfit``: RMS over the given values."""

    estimate: NetworkEstimate
    residuals: tuple[float, ...]
    misfit: float


def solve(
    law: LineLaw,
    points: Tensor,
    values: Tensor,
    corners: tuple[Tensor, Tensor],
    constants: Tensor,
    *,
    num_points: int = 3000,
    rounds: int = 8,
    steps: int = 20,
    weight: float = 0.01,
    width: int = 20,
    depth: int = 4,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda done, residual: None,
) -> NetworkSolution:
    """u in the box between ``corners`` (``[2]`` each: lowest and highest x and t) from ``values [D]`` at ``points [D, 2]``.

    num_points: where the equation is asked for; more than the network has weights. steps: of a round. weight: of the equation
    beside the values. progress(round, RMS of the residual at fresh points) after each.
    """
    low, high = (corner.double() for corner in corners)
    sobol, generator = SobolEngine(2, scramble=True, seed=seed), torch.Generator().manual_seed(seed)

    def fresh(count: int) -> Tensor:
        return low + (high - low) * sobol.draw(count, dtype=torch.float64)

    chosen, weights, residuals = fresh(num_points), None, []
    for number in range(rounds):
        estimate = fit_network(
            law, points, values, torch.cat([chosen, low[None], high[None]]), constants, known=True, weight=weight,
            width=width, depth=depth, initial=weights, max_steps=steps if number else 2 * steps, tolerance=1e-3, seed=seed,
        )  # fmt: skip
        weights, candidates = estimate.weights, fresh(CANDIDATES * num_points)
        size = estimate.residual(law, candidates).abs()
        residuals.append(float(size.square().mean().sqrt()))
        progress(number + 1, residuals[-1])
        chosen = candidates[torch.multinomial(1 + size / size.mean(), num_points, generator=generator)]
    misfit = float((estimate.field(points) - values).square().mean().sqrt())
    return NetworkSolution(estimate, tuple(residuals), misfit)
