"""The most probable constants and their uncertainty by Laplace's approximation.

    theta* = argmin L(theta),    covariance = (d2L/dtheta2)^-1 at theta*,      L = -log posterior

For a likelihood alone this is the inverse of the observed Fisher information (Efron and Hinkley, Biometrika 65, 457
(1978); MacKay, *Information
Theory*, ch. 27). Newton's method with exact second derivatives, damped until the step lowers L (Levenberg, Marquardt).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Estimate:
    """``values [K]``, ``covariance [K, K]``, ``objective`` (L at the minimum), ``steps``, and the history of L."""

    values: Tensor
    covariance: Tensor
    objective: float
    history: tuple[float, ...]

    @property
    def standard_deviations(self) -> Tensor:
        return self.covariance.diagonal().sqrt()


def estimate(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    max_steps: int = 100,
    tolerance: float = 1e-9,
    progress: Callable[[int, float], None] = lambda step, value: None,
) -> Estimate:
    """Minimise ``objective(theta [K]) -> []`` (float64, twice differentiable by torch.func) from ``start [K]``.

    ``ArithmeticError`` where no minimum is reached: not converged in ``max_steps``, or second derivatives that are
    not positive there (a
    constant that the data do not determine; the message gives the direction).
    """
    gradient_of = torch.func.grad(objective)
    hessian_of = torch.func.jacrev(gradient_of)
    theta, damping = start.double(), 1e-2
    value = float(objective(theta))
    history = [value]
    identity = torch.eye(len(theta), dtype=torch.float64)
    for step in range(max_steps):
        gradient, hessian = gradient_of(theta), hessian_of(theta)
        scale, directions = torch.linalg.eigh(hessian)
        decrement = float(
            gradient @ (directions @ ((directions.T @ gradient) / scale.abs().clamp(min=1e-12)))
        )
        if decrement < tolerance and float(scale[0]) > 0:
            return Estimate(theta, torch.linalg.inv(hessian), value, tuple(history))
        if decrement < tolerance:
            weak = int(directions[:, 0].abs().argmax())
            raise ArithmeticError(
                f"the data do not determine the constants: curvature {float(scale[0]):.1e} in the flattest direction, "
                f"mostly constant {weak}"
            )
        size = float(scale.abs().max())
        while damping < 1e12:
            # |H| turns saddles into descents
            bent = directions @ torch.diag(scale.abs()) @ directions.T + damping * size * identity
            trial = theta - torch.linalg.solve(bent, gradient)
            lowered = float(objective(trial))
            if lowered < value:
                break
            damping = max(damping, 1e-12) * 4
        else:
            # no step lowers L: at the minimum as well as rounding allows
            if decrement < 1e-5 and float(scale[0]) > 0:
                return Estimate(theta, torch.linalg.inv(hessian), value, tuple(history))
            raise ArithmeticError(f"no step lowers the objective from {value:g} (decrement {decrement:.1e})")
        theta, value, damping = trial, lowered, damping / 10
        history.append(value)
        progress(step, value)
    raise ArithmeticError(
        f"not at a minimum after {max_steps} steps: objective {value:g}, decrement {decrement:.1e}"
    )
