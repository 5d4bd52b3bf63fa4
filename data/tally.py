"""Counts for the index of a store: gathered while records pass by, kept as JSON, and added up over chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .errors import InputError
from .graph import Graph
from .quantities import Quantity, quantity

_COUNTED = ("worlds", "levels", "conditions")


class Tally:
    """What the index says about the records besides their shards."""

    def __init__(self) -> None:
        self.num_records = self.num_nodes = 0
        self.worlds: Counter[str] = Counter()
        self.levels: Counter[str] = Counter()
        self.quantities: Counter[str] = Counter()
        self.conditions: Counter[str] = Counter()
        self.elements: set[int] = set()
        self.definitions: dict[str, Quantity] = {}

    def add(self, graph: Graph) -> None:
        """Count one record. Raises ``InputError`` if it defines a user's property differently than an earlier one."""
        for name in (*graph.quantities, *graph.next_quantities):
            if name in graph.properties:
                self._define(name, graph.properties[name], graph)
        self.num_records += 1
        self.num_nodes += graph.num_nodes
        self.worlds[graph.world] += 1
        self.levels[graph.level] += 1
        self.quantities.update(graph.quantities.keys())
        self.conditions.update(graph.conditions.keys())
        self.elements.update(z for z in set(graph.species.tolist()) if z)

    def _define(self, name: str, definition: Quantity, graph: Graph | None = None) -> None:
        known = self.definitions.setdefault(name, definition)
        if known is not definition and known != definition:
            raise InputError(
                f"property {name!r} is defined as {definition}, but an earlier record has {known}",
                graph.provenance if graph is not None else None,
            )

    def merge(self, summary: Mapping[str, Any]) -> None:
        """Add what :meth:`summary` or the index of a store says. Raises ``InputError`` as :meth:`add` does."""
        for name, definition in summary["properties"].items():
            self._define(name, Quantity(name=name, **definition))
        self.num_records += summary["num_records"]
        self.num_nodes += summary["num_nodes"]
        for kind in _COUNTED:
            getattr(self, kind).update(summary[kind])
        self.quantities.update({name: entry["records"] for name, entry in summary["quantities"].items()})
        self.elements.update(summary["elements"])

    def summary(self) -> dict[str, Any]:
        """JSON-ready; its keys are those of the index."""
        names = sorted(self.quantities)
        return {
            "num_records": self.num_records,
            "num_nodes": self.num_nodes,
            "worlds": dict(sorted(self.worlds.items())),
            "levels": dict(sorted(self.levels.items())),
            "elements": sorted(self.elements),
            "quantities": {
                n: {"records": self.quantities[n], "unit": self._definition(n).unit} for n in names
            },
            "conditions": dict(sorted(self.conditions.items())),
            "properties": {n: _as_json(q) for n, q in sorted(self.definitions.items())},
        }

    def _definition(self, name: str) -> Quantity:
        return self.definitions.get(name) or quantity(name)


def _as_json(q: Quantity) -> dict[str, Any]:
    return {
        "irreps": q.irreps,
        "support": q.support,
        "unit": q.unit,
        "meaning": q.meaning,
        "extensive": q.extensive,
    }
