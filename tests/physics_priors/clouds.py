"""Point clouds for tests: a jittered periodic square with the edges of a radius graph, float64."""

from __future__ import annotations

import torch
from torch import Tensor


def periodic_cloud(side: int, jitter: float, radius: float, seed: int = 0) -> tuple[Tensor, ...]:
    """``(points [N, 2], senders, receivers, vectors [E, 2], shifts [E, 2])`` of a unit square; ``radius`` in spacings."""
    generator = torch.Generator().manual_seed(seed)
    axis = (torch.arange(side).double() + 0.5) / side
    grid = torch.cartesian_prod(axis, axis)
    points = (
        grid
        + jitter / side * (torch.rand(side * side, 2, dtype=torch.float64, generator=generator) - 0.5) * 2
    )
    difference = points[:, None] - points[None]
    shifts = -torch.round(difference)
    difference = difference + shifts
    distance = difference.norm(dim=2)
    senders, receivers = ((distance < radius / side) & (distance > 0)).nonzero().T
    return (
        points,
        senders,
        receivers,
        difference[senders, receivers],
        shifts[senders, receivers].long(),
    )


def box_cloud(num: int, dimension: int, neighbours: int, seed: int = 0) -> tuple[Tensor, ...]:
    """``(points [N, d], senders, receivers, vectors)`` of random points in a unit box with their nearest neighbours;
    no periodicity."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(num, dimension, dtype=torch.float64, generator=generator)
    distance = torch.cdist(points, points)
    nearest = distance.argsort(dim=1)[:, 1 : neighbours + 1]
    receivers = torch.arange(num).repeat_interleave(neighbours)
    senders = nearest.reshape(-1)
    return points, senders, receivers, points[senders] - points[receivers]
