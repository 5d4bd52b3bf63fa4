"""All pairs closer than a cutoff in one structure, in plain tensors on any device: time linear in the number of points.

Points are wrapped into the cell, images within the cutoff of it are added, and all are sorted into cubes as wide as the cutoff. A
point then looks through the 27 cubes around its own; three in a row lie next to each other in the order, which leaves nine
stretches. Cubes follow the axes of space and hold whatever the cell is like; only cubes that are not empty take memory.

Shapes: ``N`` points, ``I`` images, ``E`` pairs. Lattice vectors are rows.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

_SLACK = 1e-9
"""Relative; candidates may be this much farther than the cutoff, and the last comparison is exact."""


def cell_list_pairs(
    points: Tensor, box: Tensor, periodic: tuple[bool, bool, bool], cutoff: float, most: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Sender, receiver ``[E]`` and shift ``[E, 3]``, int64, in no order. points ``[N, 3]`` float64, box ``[3, 3]`` of full rank.
    ``most``: candidates that are held in memory at a time.

    A pair is found with its reverse or not at all: both are the same numbers with the other sign.
    """
    switch = torch.tensor(periodic, device=points.device)
    inverse = torch.linalg.inv(box)
    fractional = points @ inverse
    home = torch.where(switch, torch.floor(fractional), 0.0)
    inside = points - home @ box
    images, owner, shift = _images(inside, fractional - home, box, inverse, periodic, cutoff)
    origin, width = images.amin(dim=0), cutoff * (1 + _SLACK)
    # one empty cube on every side, so that a step from the border is not into another row
    cube = torch.floor((images - origin) / width).long() + 1
    span = cube.amax(dim=0) + 2
    keys, order = torch.sort((cube[:, 0] * span[1] + cube[:, 1]) * span[2] + cube[:, 2])
    own = torch.floor((inside - origin) / width).long() + 1
    parts = []
    for x, y in itertools.product((-1, 0, 1), repeat=2):
        middle = ((own[:, 0] + x) * span[1] + own[:, 1] + y) * span[2] + own[:, 2]
        first = torch.searchsorted(keys, middle - 1)
        count = torch.searchsorted(keys, middle + 1, right=True) - first
        for chosen in _pieces(count, most):
            number = count[chosen]
            receiver = torch.repeat_interleave(chosen, number)
            start = (first[chosen] - (torch.cumsum(number, 0) - number)).repeat_interleave(number)
            image = order[start + torch.arange(len(receiver), device=points.device)]
            near = squared(images[image] - inside[receiver]) < width * width
            receiver, image = receiver[near], image[near]
            sender = owner[image]
            steps = shift[image] - home[sender].long() + home[receiver].long()
            vector = points[sender] - points[receiver] + lattice(steps.to(box), box[None])
            keep = squared(vector) < cutoff * cutoff
            keep &= (sender != receiver) | (steps != 0).any(dim=1)
            parts.append((sender[keep], receiver[keep], steps[keep]))
    sender, receiver, steps = (torch.cat(x) for x in zip(*parts, strict=True))
    return sender, receiver, steps


def _images(
    inside: Tensor,
    fractional: Tensor,
    box: Tensor,
    inverse: Tensor,
    periodic: tuple[bool, bool, bool],
    cutoff: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, numbers of the points and shifts of all images within the cutoff of the cell, the points themselves first."""
    margin = cutoff * inverse.norm(dim=0) * (1 + _SLACK) + _SLACK
    reach = [int(n) if p else 0 for n, p in zip(margin.ceil().tolist(), periodic, strict=True)]
    axes = [axis for axis in range(3) if periodic[axis]]
    owners, shifts = [], []
    for steps in itertools.product(*(range(-n, n + 1) for n in reach)):
        shift = inside.new_tensor(steps)
        place = (fractional + shift)[:, axes]
        near = torch.nonzero(((place >= -margin[axes]) & (place <= 1 + margin[axes])).all(dim=1))[:, 0]
        owners.append(near)
        shifts.append(shift.expand(len(near), 3))
    owner, shift = torch.cat(owners), torch.cat(shifts)
    return inside[owner] + lattice(shift, box[None]), owner, shift.long()


def _pieces(count: Tensor, most: int) -> list[Tensor]:
    """The points that have candidates, cut where these pass a multiple of ``most``."""
    some = torch.nonzero(count)[:, 0]
    piece = torch.cumsum(count[some], 0) // most
    sizes = torch.bincount(piece)
    return [x for x in some.split(sizes.tolist()) if len(x)]


def squared(vector: Tensor) -> Tensor:
    """``[E]`` squares of the lengths of ``vector [E, 3]``."""
    x, y, z = vector.unbind(1)
    return x * x + y * y + z * z


def lattice(steps: Tensor, rows: Tensor) -> Tensor:
    """``steps [E, 3] @ rows [E or 1, 3, 3]``, term by term: a product of matrices may add in another order for another row."""
    return steps[:, 0:1] * rows[:, 0] + steps[:, 1:2] * rows[:, 1] + steps[:, 2:3] * rows[:, 2]
