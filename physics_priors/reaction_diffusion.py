"""Two species that react and diffuse on a periodic grid: Gray-Scott and FitzHugh-Nagumo.

    da/dt = D_a laplacian(a) + r R_a(a, b),        db/dt = D_b laplacian(b) + r R_b(a, b)

Gray-Scott (Chem. Eng. Sci. 39, 1087 (1984); patterns in Pearson, Science 261, 189 (1993)), a the substrate, b the catalyst, with
the flow F and the loss k of the catalyst in units of r:

    R_a = -a b^2 + F (1 - a),        R_b = a b^2 - (F + k) b

FitzHugh-Nagumo (FitzHugh, Biophys. J. 1, 445 (1961)) in the form of Takamoto et al., arXiv:2210.07182, a the activator, b the
inhibitor:

    R_a = a - a^3 - k - b,        R_b = a - b

Diffusion exactly (integrating factor), reactions by fourth-order Runge-Kutta, dealiased by the 2/3 rule. Exact: where the species
are uniform each point obeys the ordinary equations; (1, 0) is at rest in Gray-Scott, a = b = -k^(1/3) in FitzHugh-Nagumo; small
disturbances grow at the eigenvalues of the linearised system, mode by mode. Units: D in length^2/time, r in 1/time, the rest pure
numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .integrating_factor import runge_kutta_step
from .operators import Operators
from .spectral import PeriodicGrid

Reaction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""``(R_a, R_b)`` of ``(a, b)``, shapes alike."""


def gray_scott(feed: float | Tensor, kill: float | Tensor) -> Reaction:
    """Constants are numbers, or tensors that broadcast against the species."""

    def reaction(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        used = a * b * b
        return feed * (1 - a) - used, used - (feed + kill) * b

    return reaction


def fitzhugh_nagumo(offset: float | Tensor) -> Reaction:
    """``offset`` is the k of the module's text."""

    def reaction(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a - a**3 - offset - b, a - b

    return reaction


def residual(
    operators: Operators,
    species: tuple[Tensor, Tensor],
    species_t: tuple[Tensor, Tensor],
    diffusivities: tuple[float | Tensor, float | Tensor],
    rate: float | Tensor,
    reaction: Reaction,
) -> tuple[Tensor, Tensor]:
    """What is left of either equation, shape of the species ``[*points]``."""
    left = []
    for value, value_t, diffusivity, reacted in zip(
        species, species_t, diffusivities, reaction(*species), strict=True
    ):
        left.append(value_t - diffusivity * operators.laplacian(value) - rate * reacted)
    return left[0], left[1]


class ReactionDiffusion:
    """Solver for species ``[2, B, *shape]`` of ``B`` systems at once; diffusivities ``[2, B, 1, ...]`` and rate ``[B, 1, ...]``
    broadcast against them, or are numbers."""

    def __init__(self, grid: PeriodicGrid, diffusivities: Tensor, rate: float | Tensor, reaction: Reaction):
        self.grid, self.reaction, self.rate = grid, reaction, rate
        self.rates = diffusivities * grid.k_squared
        self.mask = grid.dealias_mask()

    def _reacted(self, modes: Tensor) -> Tensor:
        a, b = self.grid.inverse(modes)
        return self.mask * self.grid.forward(self.rate * torch.stack(self.reaction(a, b)))

    def solve(self, species: Tensor, steps: list[int], dt: float | Tensor) -> Tensor:
        """``[T, 2, B, *shape]`` after each number of ``steps`` from the one before (0: the state as given);
        ``dt`` of each step may be ``[B, 1, ...]``."""
        modes = self.mask * self.grid.forward(species.double())
        out = []
        for count in steps:
            for _ in range(count):
                modes = runge_kutta_step(modes, dt, self.rates, self._reacted)
            out.append(self.grid.inverse(modes))
        return torch.stack(out)
