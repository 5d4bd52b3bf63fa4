"""A grid that is finer than those of training, read as interleaved grids of the spacing that the network knows.

A network counts lengths of fields in spacings, so on a grid of half the spacing it sees half as far. Every second point along
each axis, from each of the 2^d first points, is a grid of the trained spacing, and together these have every point once: each
answers for its own. No point learns from those between, so what is finer than the trained grid is answered as if it were not
there; for steady problems that is little. Nothing is interpolated.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.models.network import AtomFieldNet

from .intervals import OOD_SCORE
from .predict import Prediction, predict_graphs

FEWEST = 3
"""Points along each axis of an interleaved grid."""


def interleaved(graph: Graph, factor: int) -> list[tuple[Graph, Tensor]]:
    """The ``factor**d`` grids of ``factor`` times the spacing in a regular grid of d axes, each with the numbers of its points.

    Raises ``InputError`` for anything but a regular grid, for a factor below 2, for fewer than three points along an axis of a
    part, and where a periodic axis is not divisible by the factor.
    """
    shape = graph.grid_shape
    if shape is None:
        raise InputError("only a regular grid can be read as interleaved grids", graph.provenance)
    if factor < 2 or min(shape) // factor < FEWEST:
        raise InputError(
            f"a grid of {' x '.join(map(str, shape))} points cannot be read {factor} by {factor}, expected a factor of 2 or more "
            f"that leaves {FEWEST} points along each axis",
            graph.provenance,
        )
    periodic = [bool(p) for p in graph.pbc[: len(shape)]]
    if any(p and n % factor for p, n in zip(periodic, shape, strict=True)):
        raise InputError(
            f"a periodic grid of {' x '.join(map(str, shape))} points is not divisible by {factor}",
            graph.provenance,
        )
    numbers = torch.arange(graph.num_nodes).reshape(shape)
    parts = []
    for start in itertools.product(range(factor), repeat=len(shape)):
        chosen = numbers[tuple(slice(s, None, factor) for s in start)]
        parts.append((_part(graph, chosen, factor), chosen.flatten()))
    return parts


def _part(graph: Graph, chosen: Tensor, factor: int) -> Graph:
    """The points ``chosen``, numbers in the shape of the part's grid."""
    index, shape = chosen.flatten(), tuple(chosen.shape)

    def taken(quantities: dict[str, Tensor]) -> dict[str, Tensor]:
        out = {}
        for name, values in quantities.items():
            q = graph.definition(name)
            axis = values.ndim - 1 - len(q.shape)  # what does not evolve has no times in front
            out[name] = values.index_select(axis, index) if q.support == "node" else values
        return out

    return replace(
        graph,
        positions=graph.positions[index],
        species=graph.species[index],
        node_type=graph.node_type[index],
        volume=None if graph.volume is None else graph.volume[index] * factor ** len(shape),
        edges={"grid": grid_edges(shape, tuple(bool(p) for p in graph.pbc[: len(shape)]))},
        quantities=taken(graph.quantities),
        next_quantities=taken(graph.next_quantities),
        grid_shape=shape,
        spacing=graph.spacing * factor,
    )


def predict_interleaved(
    net: AtomFieldNet, graphs: Sequence[Graph], factor: int, **options: Any
) -> list[Prediction]:
    """:func:`.predict.predict_graphs` of records whose grids have ``factor`` times the points of training along each axis (1: of
    any records, as they are); ``options`` are its. The out-of-distribution score is the largest of the parts."""
    if factor == 1:
        return predict_graphs(net, graphs, **options)
    parts = [interleaved(graph, factor) for graph in graphs]
    answers = iter(predict_graphs(net, [part for group in parts for part, _ in group], **options))
    found = []
    for graph, group in zip(graphs, parts, strict=True):
        pieces = [next(answers) for _ in group]
        found.append(_joined(graph, [index.numpy() for _, index in group], pieces))
    return found


def _joined(graph: Graph, places: list[np.ndarray], pieces: list[Prediction]) -> Prediction:
    """One prediction of all points of ``graph`` from those of its parts, whose points are ``places``."""
    out: Prediction = {}
    axis = 1 if graph.num_times > 1 else 0  # forecasts of a trajectory have times in front
    for name in pieces[0]:
        values = [np.asarray(piece[name]) for piece in pieces]
        if name == OOD_SCORE:
            out[name] = np.max(np.stack(values), axis=0)
            continue
        shape = list(values[0].shape)
        shape[axis] = graph.num_nodes
        whole = np.empty(shape, dtype=values[0].dtype)
        for place, value in zip(places, values, strict=True):
            whole[(slice(None),) * axis + (place,)] = value
        out[name] = whole
    return out
