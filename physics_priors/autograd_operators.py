"""Derivatives of a function of coordinates by automatic differentiation, for fields that are networks.

A field is computed from ``coordinates [P, d]`` (a leaf that requires gradients) point by point, so that the derivative of
the sum over points with respect to the coordinates is the derivative at each point. Exact to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor


class AutogradOperators:
    """Operators on the first ``num_axes`` columns of ``coordinates [P, d]``; a further column may be the time."""

    def __init__(self, coordinates: Tensor, num_axes: int):
        if not coordinates.requires_grad:
            raise ValueError("coordinates must require gradients: coordinates.requires_grad_(True)")
        self.coordinates, self.num_axes = coordinates, num_axes

    def derivatives(self, field: Tensor) -> Tensor:
        """``[d, ..., P]``: along every column of the coordinates, the time included."""
        if field.dim() > 1:
            return torch.stack([self.derivatives(part) for part in field], dim=1)
        if not field.requires_grad:  # a constant
            return torch.zeros(self.coordinates.shape[1], len(field), dtype=field.dtype)
        (found,) = torch.autograd.grad(field.sum(), self.coordinates, create_graph=True, allow_unused=True)
        return torch.zeros_like(self.coordinates).T if found is None else found.T

    def gradient(self, field: Tensor) -> Tensor:
        return self.derivatives(field)[: self.num_axes]

    def divergence(self, vector: Tensor) -> Tensor:
        parts = [self.derivatives(v)[axis] for axis, v in enumerate(vector)]
        return torch.stack(parts).sum(0)

    def laplacian(self, field: Tensor) -> Tensor:
        return self.divergence(self.gradient(field))

    def mean(self, field: Tensor) -> Tensor:
        """Over the points as they are drawn: uniform points estimate the mean by volume."""
        return field.mean(-1)
