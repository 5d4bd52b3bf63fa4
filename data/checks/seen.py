"""What a model was trained on, as marks of its records in a few kilobytes, so that an evaluation on the same records can say so.

A mark is a hash of what tells one record from another by the rules of :mod:`.overlap`: the structure (its fingerprint, rounded),
or the molecule. Of many records the smallest marks are kept. Those marks of another set that are no larger are a fair sample of
it, and each of them was seen exactly if it is among the kept ones (bottom-k sketches: Cohen and Kaplan, PODC 2007).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atomfield.data.graph import Graph

from .fingerprint import fingerprint
from .overlap import Kind, bonds_key, leak_of, molecule_name

KEPT = 1000
"""Marks at most; 15 kB as text."""
_DECIMALS = 3
"""Of a fingerprint's values: those of structures that count as one differ by less."""


@dataclass(frozen=True)
class Seen:
    """``records`` that a model was trained on. marks: of all of them, or the smallest; ``whole`` says which."""

    by: Kind
    records: int
    whole: bool
    marks: frozenset[str]

    @classmethod
    def of(cls, graphs: Sequence[Graph], targets: Sequence[str]) -> Seen:
        """Of ``graphs`` that ``targets`` are learnt from."""
        by = leak_of(graphs, targets)
        marks = sorted({mark(g, by) for g in graphs})
        return cls(by, len(graphs), len(marks) <= KEPT, frozenset(marks[:KEPT]))

    def among(self, graphs: Sequence[Graph]) -> tuple[int, int]:
        """How many of ``graphs`` were seen, and out of how many that could be compared."""
        largest = "" if self.whole else max(self.marks)
        found = [m for m in (mark(g, self.by) for g in graphs) if self.whole or m <= largest]
        return sum(m in self.marks for m in found), len(found)


def mark(graph: Graph, by: Kind) -> str:
    """12 hexadecimal digits."""
    if by == "molecule":
        content = (molecule_name(graph) or bonds_key(graph)).encode()
    else:
        found = fingerprint(graph, level=False)
        content = found.key + (np.round(found.values, _DECIMALS) + 0.0).tobytes()  # no -0
    return hashlib.blake2b(content, digest_size=6).hexdigest()
