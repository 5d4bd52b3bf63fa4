"""Mean and covariance of last-layer features over any number of records, and a covariance that can always be inverted."""

from __future__ import annotations

import torch
from torch import Tensor

from atomfield.models.uncertainty import FeatureSpace


class Moments:
    """Streamed sums of features: their means, per element where the space has rows for elements, and one covariance about
    them."""

    def __init__(self, space: FeatureSpace):
        self.space = space
        size = space.whiten.shape[0]
        self.count = torch.zeros_like(space.mean[:, 0])
        self.total = torch.zeros_like(space.mean)
        self.square = torch.zeros(size, size, dtype=torch.float64, device=space.mean.device)

    def add(self, features: Tensor, species_N: Tensor) -> None:
        row = species_N if self.space.per_node else torch.zeros_like(features[:, 0], dtype=torch.int64)
        self.count.index_add_(0, row, torch.ones_like(features[:, 0]))
        self.total.index_add_(0, row, features)
        self.square += features.T @ features

    def finish(self) -> None:
        """Write means and the inverse Cholesky factor of the covariance into the space."""
        mean = self.total / self.count.clamp_min(1)[:, None]
        scatter = self.square - (mean * self.count[:, None]).T @ mean
        number = float(self.count.sum())
        covariance = shrunk(scatter / max(number, 1.0), number)
        size = len(covariance)
        factor = torch.linalg.cholesky(covariance)
        identity = torch.eye(size, dtype=torch.float64, device=factor.device)
        self.space.mean.copy_(mean)
        self.space.seen.copy_(self.count > 0)
        self.space.whiten.copy_(torch.linalg.solve_triangular(factor, identity, upper=False))


def shrunk(covariance: Tensor, number: float) -> Tensor:
    """A covariance that can be inverted with any number of samples: the oracle approximating shrinkage to a multiple of the
    identity.

    Chen, Wiesel, Eldar, Hero, IEEE Trans. Signal Process. 58, 5016 (2010), eq. 23; and 1e-6 of the mean variance at least.
    """
    size = len(covariance)
    trace = covariance.trace()
    mean = (trace / size).clamp_min(1e-12)
    square = covariance.square().sum()
    above = (1 - 2 / size) * square + trace**2
    below = (number + 1 - 2 / size) * (square - trace**2 / size)
    share = float((above / below.clamp_min(1e-300)).clamp(1e-6, 1.0))
    identity = torch.eye(size, dtype=torch.float64, device=covariance.device)
    return (1 - share) * covariance + share * mean * identity
