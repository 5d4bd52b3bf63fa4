"""Constants of any law from data: least squares of what it explains less what it predicts.

    minimise |explained(c) - predicted(c)|^2

The law may depend on its constants in any way: Levenberg-Marquardt, with the Jacobian by one backward pass for each constant
and one more. Uncertainty: a bootstrap over blocks of equations (Kuensch, Ann. Stat. 17, 1217 (1989)), linearised at the minimum;
it holds what varies from block to block (noise, unresolved scales), not a bias that all share. ``law_equations.py`` makes the
equations of fields and of atoms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .sparse_regression import block_bootstrap


@dataclass(frozen=True)
class Equations:
    """``parts(constants [K]) -> (explained [R], predicted [R])``, differentiable twice; ``blocks [R]``: equations of one block
    share data."""

    parts: Callable[[Tensor], tuple[Tensor, Tensor]]
    blocks: Tensor


@dataclass(frozen=True)
class LawFit:
    """``values [K]``, ``deviations [K]``, ``draws [B, K]``, ``explained`` and ``predicted`` ``[R]`` at the minimum, and the
    number of steps."""

    values: Tensor
    deviations: Tensor
    draws: Tensor
    explained: Tensor
    predicted: Tensor
    steps: int

    @property
    def rest(self) -> float:
        """What is left, relative to what is explained."""
        return float((self.explained - self.predicted).norm() / self.explained.norm())


def fit_law(
    equations: Equations,
    start: Tensor,
    *,
    positive: bool = False,
    draws: int = 200,
    seed: int = 0,
    max_steps: int = 100,
) -> LawFit:
    """From ``start [K]``; ``positive``: search over logarithms.

    ``ArithmeticError`` where the data do not determine the constants or no minimum is reached; ``ValueError`` for fewer than
    three blocks.
    """
    to, back = (torch.log, torch.exp) if positive else (torch.clone, torch.clone)

    def rest(theta: Tensor) -> Tensor:
        explained, predicted = equations.parts(back(theta))
        return explained - predicted

    theta, damping = to(start.double()), 1e-3
    matrix, left = jacobian(rest, theta)
    loss, done = float(left @ left), 0
    if not torch.isfinite(left).all():
        raise ArithmeticError("the law is not finite at the start")
    small = False
    while not small and done < max_steps:
        done += 1
        size = matrix.norm(dim=0)
        if bool((size == 0).any()):
            raise ArithmeticError(f"the data do not depend on constant {int((size == 0).nonzero()[0])}")
        scaled = matrix / size
        normal, slope = scaled.T @ scaled, scaled.T @ left
        while True:
            bent = normal + damping * torch.eye(len(theta), dtype=torch.float64)
            change = -torch.linalg.solve(bent, slope) / size
            with torch.no_grad():
                trial = rest(theta + change)
            small = float((change * size).norm()) <= 1e-9 * float(trial.norm() + left.norm()) + 1e-300
            if float(trial @ trial) < loss or small:
                break
            damping *= 4
            if damping > 1e12:
                raise ArithmeticError(f"no step lowers the sum of squares from {loss:g}")
        theta, damping = theta + change, damping / 10
        matrix, left = jacobian(rest, theta)
        loss = float(left @ left)
    if not small:
        raise ArithmeticError(f"not at a minimum after {max_steps} steps; start nearer")
    weakest = float(torch.linalg.svdvals(matrix / matrix.norm(dim=0))[-1])
    if weakest < 1e-7:
        raise ArithmeticError("the data do not determine the constants: two of them have the same effect")
    generator = torch.Generator().manual_seed(seed)
    linear = (matrix @ theta - left)[:, None]
    boot = back(block_bootstrap(matrix, linear, equations.blocks, draws, generator)[..., 0])
    with torch.no_grad():
        explained, predicted = equations.parts(back(theta))
    return LawFit(back(theta), boot.std(0), boot, explained, predicted, done)


def jacobian(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """(``[R, K]``, the values ``[R]``) of ``function([K]) -> [R]``: column k is the derivative, with respect to the weights w, of
    entry k of the gradient of w . f, so there are as many backward passes as constants."""
    with torch.enable_grad():
        leaf = at.detach().requires_grad_()
        out = function(leaf)
        weights = torch.zeros_like(out, requires_grad=True)
        (pull,) = torch.autograd.grad(out, leaf, weights, create_graph=True)
        columns = [torch.autograd.grad(p, weights, retain_graph=True)[0] for p in pull]
    return torch.stack(columns, dim=1), out.detach()
