"""Net forces: of an isolated molecule or a crystal they sum to zero, since nothing outside pulls."""

from __future__ import annotations

import heapq
import math

import numpy as np

from atomfield.data.graph import Graph

from .findings import Finding

LARGEST_SHARE = 0.1
"""Of what independent errors would sum to, ``sqrt(N)`` times the RMS force on an atom."""
LARGEST_FORCE = 0.1
"""eV/angstrom times ``sqrt(N)``: a net force below it is the noise of grids and of printed digits."""
_MOST_NAMED = 200


class NetForces:
    """Gathered graph by graph; keeps the places of the worst."""

    def __init__(self) -> None:
        self.looked_at = self.count = 0
        self._worst: list[tuple[float, int, str]] = []

    def add(self, record: int, graph: Graph) -> None:
        forces = graph.quantities.get("forces")
        if forces is None or graph.num_nodes < 2 or graph.world == "field":
            return
        self.looked_at += 1
        array = forces.numpy().astype(np.float64, copy=False)
        net = math.sqrt(float((array.sum(axis=0) ** 2).sum()))
        scale = math.sqrt(float((array * array).sum()))  # sqrt(N) times the RMS norm
        if net <= max(LARGEST_SHARE * scale, LARGEST_FORCE * graph.num_nodes**0.5):
            return
        self.count += 1
        text = f"{graph.provenance}: {net:.3g} eV/angstrom, {net / scale:.0%} of sqrt(N) times the RMS force"
        heapq.heappush(self._worst, (net / scale, -record, text))
        if len(self._worst) > _MOST_NAMED:
            heapq.heappop(self._worst)

    def findings(self, where: str) -> list[Finding]:
        if not self.count:
            return []
        message = (
            f"{self.count} of {self.looked_at} records have a net force (|sum F| above {LARGEST_SHARE:.0%} of sqrt(N) times the "
            "RMS force), expected zero: atoms are missing or in another order, forces of fixed atoms were set to zero, or "
            "something outside pulls"
        )
        advice = "a conservative model cannot learn it; check how forces were written"
        named = tuple(text for _, _, text in sorted(self._worst, reverse=True))
        return [Finding("net force", "suspect", where, message, advice, named, self.count)]
