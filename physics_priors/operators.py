"""What a discretisation offers: gradient, divergence, Laplacian and mean; everything else is composed of these.

Fields are ``[..., *points]`` with the points last, vectors have their components in front, ``[d, ..., *points]``. Four
discretisations have this form: ``spectral.PeriodicGrid`` (axes along x, y, z), ``periodic_cell.PeriodicCell`` (any lattice),
``least_squares.PointOperators`` and ``autograd_operators.AutogradOperators``;
a law written with it is driven by any of them.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Operators(Protocol):
    """First and second derivatives in space, and the mean over it."""

    def gradient(self, field: Tensor) -> Tensor:
        """``[d, ..., *points]``."""
        ...

    def divergence(self, vector: Tensor) -> Tensor:
        """``[..., *points]`` of ``[d, ..., *points]``."""
        ...

    def laplacian(self, field: Tensor) -> Tensor: ...

    def mean(self, field: Tensor) -> Tensor:
        """``[...]``, by volume."""
        ...


def advect(operators: Operators, velocity: Tensor, field: Tensor) -> Tensor:
    """``u . grad f`` of ``velocity [d, *points]`` and ``field [..., *points]``."""
    gradient = operators.gradient(field)
    return sum((u * g for u, g in zip(velocity, gradient, strict=True)), start=torch.zeros_like(field))


def curl(operators: Operators, vector: Tensor) -> Tensor:
    """Curl ``[3, ...]`` of ``vector [3, ...]`` on points of three dimensions; on two, of ``vector [2, ...]``, the
    scalar dv/dx - du/dy."""
    if len(vector) == 2:
        return operators.gradient(vector[1])[0] - operators.gradient(vector[0])[1]
    x, y, z = (operators.gradient(component) for component in vector)
    return torch.stack([z[1] - y[2], x[2] - z[0], y[0] - x[1]])
