"""The nearest points of each point, periodic images included, in any cell."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .graph import Edges
from .radius import completed_box, in_order

TIE = 1e-6
"""Distances that differ by less than this fraction are one distance."""


def knn_edges(positions: Tensor, cell: Tensor, pbc: Tensor, num_neighbors: int) -> Edges:
    """Edges from the ``num_neighbors`` nearest points (periodic images included) to each point, and from all that are as far as
    the last of them: points of a lattice come in shells, and a shell is taken whole. So the edges follow from the geometry
    alone, whatever the order of the points and the axes.

    Without periodicity a set of n points gives at most n - 1 neighbours each.
    """
    points = positions.numpy().astype(np.float64)
    periodic = pbc.numpy().astype(bool)
    num_nodes = len(points)
    if not periodic.any():
        images, owner, shift = points, np.arange(num_nodes), np.zeros((num_nodes, 3), dtype=np.int64)
        home = np.zeros((num_nodes, 3), dtype=np.int64)
        neighbors, receivers, _ = _nearest(images, points, min(num_neighbors, num_nodes - 1))
    else:
        box, operation = _reduced(cell.numpy().astype(np.float64), periodic)
        fractional = points @ np.linalg.inv(box)
        home = np.where(periodic, np.floor(fractional), 0).astype(np.int64)
        inside = points - home @ box
        width = _guess(box, periodic, num_nodes, num_neighbors)
        while True:
            images, owner, shift = _images(inside, fractional - home, box, periodic, width)
            if len(images) > num_neighbors:
                neighbors, receivers, farthest = _nearest(images, inside, num_neighbors)
                if farthest <= width:
                    break
                width = farthest * (
                    1 + 1e-9
                )  # what was found bounds what is there: the next round is complete
            else:
                width *= 2
        shift = shift @ operation
        home = home @ operation
    senders = owner[neighbors]
    # an image of the wrapped points is at shift s; between the points as given it is at s - home[sender] + home[receiver]
    steps = shift[neighbors] - home[senders] + home[receivers]
    keep = (senders != receivers) | (steps != 0).any(axis=1)
    j, i, s = (torch.from_numpy(x[keep].astype(np.int64)) for x in (senders, receivers, steps))
    return Edges(*in_order(j, i, s, num_nodes))


def _nearest(images: np.ndarray, points: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Flat (image, point) pairs: of each point the ``wanted`` nearest images besides itself, ties with the last included; and the
    largest distance among them. The point itself is among the images and in the answer."""
    from scipy.spatial import cKDTree

    tree = cKDTree(images)
    asked = min(wanted + 1 + 8, len(images))
    while True:
        distance, neighbor = tree.query(points, k=np.arange(1, asked + 1))
        limit = distance[:, wanted] * (1 + TIE)
        if asked == len(images) or (distance[:, -1] > limit).all():
            break
        asked = min(2 * asked, len(images))
    row, column = np.nonzero(distance <= limit[:, None])
    return neighbor[row, column], row, float(limit.max())


def _images(
    inside: np.ndarray, fractional: np.ndarray, box: np.ndarray, periodic: np.ndarray, width: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every image within ``width`` of the cell that holds ``inside``: positions, numbers of the points, shifts."""
    margin = np.where(periodic, width * np.linalg.norm(np.linalg.inv(box), axis=0), 0.0)
    steps = np.ceil(margin).astype(int)
    axes = [np.arange(-n, n + 1) for n in steps]
    shifts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    owners, chosen = [], []
    low, high = np.where(periodic, -margin, -np.inf), np.where(periodic, 1 + margin, np.inf)
    for shift in shifts:
        place = fractional + shift
        near = np.flatnonzero(((place >= low) & (place <= high)).all(axis=1))
        owners.append(near)
        chosen.append(np.broadcast_to(shift, (len(near), 3)))
    owner, shift = np.concatenate(owners), np.concatenate(chosen)
    return inside[owner] + shift @ box, owner, shift


def _reduced(cell: np.ndarray, periodic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A box whose periodic rows are as short as those of the lattice can be, and the integers that make it: shifts ``s`` of it
    are shifts ``s @ operation`` of ``cell``. In a skewed cell the nearest image may be many cells away, here it is near."""
    from ase.geometry.minkowski_reduction import minkowski_reduce

    reduced, operation = minkowski_reduce(np.where(periodic[:, None], cell, 0.0), pbc=periodic)
    return completed_box(np.asarray(reduced), periodic), np.asarray(operation, dtype=np.int64)


def _guess(box: np.ndarray, periodic: np.ndarray, num_nodes: int, num_neighbors: int) -> float:
    """A width that probably holds the neighbours, from the density along the periodic directions."""
    rows = box[periodic]
    size = float(np.sqrt(np.linalg.det(rows @ rows.T)))
    return 1.5 * (size * (num_neighbors + 1) / num_nodes) ** (1 / len(rows))
