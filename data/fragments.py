"""Separate molecules and ions of one structure: which atom belongs to which, and what charge and spin each carries.

A total charge alone does not say where it sits. Where that is known, every atom carries the charge (and spin) of its own
fragment as the quantities ``fragment_charge`` and ``fragment_spin``; they are labels of atoms and stay with them when they move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .graph import Graph
from .neighbors import radius_edges


def fragments(graph: Graph, cutoff: float) -> Tensor:
    """``[N]`` int64: the number of the connected component that each atom is in, pairs closer than ``cutoff`` (angstrom) being
    connected; components are numbered by their first atom."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = radius_edges(graph.positions, graph.cell, graph.pbc, cutoff)
    sender, receiver = edges.index.numpy()
    size = graph.num_nodes
    _, labels = connected_components(
        coo_matrix((np.ones(len(sender)), (sender, receiver)), (size, size)), directed=False
    )
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(first))[inverse].astype(np.int64))


def with_fragments(
    graph: Graph, labels: Tensor, charges: Sequence[float], spins: Sequence[float] | None = None
) -> Graph:
    """``graph`` with the charge (e) and the number of unpaired electrons of each fragment on its atoms.

    labels: ``[N]`` from :func:`fragments` or any other division, numbered from 0. Raises ``InputError`` where the numbers do not
    fit, or the charges do not add up to the condition ``charge``.
    """
    count = int(labels.max()) + 1
    for name, values in (("charges", charges), ("spins", spins)):
        if values is not None and len(values) != count:
            raise InputError(
                f"found {len(values)} {name}, expected one for each of the {count} fragments",
                graph.provenance,
            )
    total = graph.conditions.get("charge")
    if total is not None and abs(sum(charges) - total) > 1e-6:
        raise InputError(
            f"charges of the fragments add up to {sum(charges):g}, expected the total charge {total:g}",
            graph.provenance,
        )
    quantities = dict(graph.quantities)
    quantities["fragment_charge"] = torch.tensor(charges, dtype=torch.float64)[labels]
    if spins is not None:
        quantities["fragment_spin"] = torch.tensor(spins, dtype=torch.float64)[labels]
    return replace(graph, quantities=quantities)
