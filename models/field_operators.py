"""Derivatives on the graphs of a batch: spectral on regular periodic grids, least squares over edges on everything else.

Both turn with the graph, reflections included. Spectral derivatives are exact on resolved modes; those of least squares are of
second order in the spacing for the gradient (``physics_priors/least_squares.py``) and, on cells that repeat in some directions
only, the only choice. Legend: ``N`` points of one graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import DIRECTIONS
from atomfield.physics_priors.least_squares import PointOperators, two_rings
from atomfield.physics_priors.operators import Operators
from atomfield.physics_priors.periodic_cell import PeriodicCell


@dataclass(frozen=True)
class Part:
    """One graph of a batch: its number and its nodes ``rows``. Operators are made when they are asked for, once."""

    number: int
    rows: slice
    on_grid: bool
    """A regular grid that repeats in all of its directions: derivatives of all orders are exact."""
    of_degree: Callable[[int], Operators]
    """Operators that are exact on polynomials of that degree; on grids always the same."""

    @property
    def operators(self) -> Operators:
        """For first and second derivatives."""
        return self.of_degree(2)

    def for_order(self, order: int) -> Operators:
        """Operators whose compositions have derivatives of ``order``: each derivative divides by the spacing once more what least
        squares leave of the one before, so the polynomials are of the highest degree that the neighbours determine, up to two
        more than ``order``."""
        if order <= 2 or self.on_grid:
            return self.operators
        for degree in (order + 2, order + 1):
            try:
                return self.of_degree(degree)
            except InputError:
                continue
        return self.of_degree(order)


def parts_of(batch: GraphBatch) -> Iterator[Part]:
    """The graphs of ``batch``, one after the other. Their operators raise ``InputError`` where neighbours determine no
    derivatives."""
    start = 0
    for number, count in enumerate(batch.nodes_per_graph().tolist()):
        rows = slice(start, start + count)
        start += count
        shape = batch.grid_shapes[number] if batch.grid_shapes else None
        repeats = batch.pbc[number].tolist()
        on_grid = shape is not None and repeats == [axis < len(shape) for axis in range(3)]
        make: Callable[[int], Operators] = (
            partial(_on_grid, batch, number) if on_grid else partial(_by_edges, batch, number, rows)
        )
        yield Part(number, rows, on_grid, lru_cache(make))


def direction_of(batch: GraphBatch) -> Tensor | None:
    """``[G, 3]`` the direction that each record names (:data:`DIRECTIONS`), of length 1; NaN where it names none. None: no record
    does."""
    found = None
    for name in DIRECTIONS:
        if name in batch.quantities:
            vector = batch.quantities[name].double()
            unit = vector / vector.norm(dim=1, keepdim=True)  # NaN of a vector that is zero or missing
            found = unit if found is None else torch.where(torch.isfinite(found), found, unit)
    return found


def without_boundary(batch: GraphBatch, number: int, rows: slice) -> bool:
    """Whether the box repeats along every direction in which the points extend."""
    repeats = batch.pbc[number]
    if bool(repeats.all()):
        return True
    if not bool(repeats.any()):
        return False
    points = batch.positions[rows] - batch.positions[rows].mean(0)
    lattice = batch.cell[number][repeats]
    inside = points @ torch.linalg.pinv(lattice) @ lattice
    return float((points - inside).abs().max()) < 1e-9 * float(lattice.abs().max())


def _on_grid(batch: GraphBatch, number: int, degree: int) -> PeriodicCell:
    shape = batch.grid_shapes[number]
    assert shape is not None
    return PeriodicCell(shape, batch.cell[number][: len(shape)].double())


def _by_edges(batch: GraphBatch, number: int, rows: slice, degree: int) -> PointOperators:
    sender, receiver = batch.edge_index
    inside = (receiver >= rows.start) & (receiver < rows.stop)
    sender, receiver = sender[inside], receiver[inside]
    lattice = batch.edge_shift[inside] @ batch.cell[number]
    vectors = batch.positions[sender] + lattice - batch.positions[receiver]
    count = rows.stop - rows.start
    # stencils are made on the CPU, whatever the network runs on
    own = ((sender - rows.start).cpu(), (receiver - rows.start).cpu(), vectors.detach().double().cpu())
    volumes, device = batch.volume[rows].cpu(), batch.positions.device
    try:
        return PointOperators(own[0], own[1], own[2], count, degree, volumes).to(device)
    except ValueError:
        try:
            far = two_rings(own[0], own[1], own[2], count)
            return PointOperators(far[0], far[1], far[2], count, degree, volumes).to(device)
        except ValueError as error:
            where = batch.provenance[number] if batch.provenance else None
            raise InputError(f"a law cannot be measured on this graph: {error}", where) from error


def as_fields(values: Tensor) -> Tensor:
    """Node values ``[N]`` or ``[N, 3]`` with the points last: ``[N]`` or ``[3, N]``."""
    return values.movedim(0, -1)
