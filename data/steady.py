"""Steady problems: a field that follows from other fields at once, without time (Darcy flow: permeability -> solution)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .graph import Graph
from .quantities import FIELD_INPUTS


def is_steady(target: Collection[str], graphs: Sequence[Graph]) -> bool:
    """Whether the records are fields of one time each, with something else to find ``target`` from."""
    return all(
        g.world == "field"
        and g.num_times < 2
        and any(name in FIELD_INPUTS and name not in target for name in g.quantities)
        for g in graphs
    )


def unsolved(graph: Graph, names: Collection[str]) -> Graph:
    """The problem alone: what ``names`` say is taken from the quantities, where a network would read it, to the next ones,
    which are labels. Other records are left as they are.
    """
    solution = {k: v for k, v in graph.quantities.items() if k in names}
    if graph.world != "field" or graph.num_times > 1 or not solution:
        return graph
    if graph.times is not None:
        graph = graph.snapshot(0)
        solution = {k: v for k, v in graph.quantities.items() if k in names}
    rest = {k: v for k, v in graph.quantities.items() if k not in names}
    return graph.changed(quantities=rest, next_quantities=solution)
