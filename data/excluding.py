"""Records that must not enter a store because another set has them: test sets stay out of training data whatever their file.

A molecule is known by which atom is bonded to which (bonds by distance, without orders or stereochemistry), so conformers,
frames of a simulation, stereoisomers and other levels of theory of it are all left out. A crystal is known by its reduced
composition, so polymorphs and distorted frames are left out too. Fields have no such name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from .checks.overlap import bonds_key
from .errors import InputError
from .graph import Graph
from .readers.options import ReadOptions


def identity(graph: Graph) -> str:
    """What a record is, by the rules above; raises ``InputError`` for a field."""
    match graph.world:
        case "molecule":
            return f"molecule {bonds_key(graph)}"
        case "crystal":
            return composition(graph.species.numpy())
        case _:
            raise InputError(
                "fields have no identity by which they could be left out; leave out --without",
                graph.provenance,
            )


def composition(numbers: np.ndarray) -> str:
    """What a crystal of these atomic numbers ``[N]`` is: its reduced composition."""
    kinds, counts = np.unique(numbers, return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return "crystal " + " ".join(f"{z}:{n}" for z, n in zip(kinds, counts, strict=True))


def identities_of(sources: Sequence[str]) -> dict[str, str]:
    """Identity of every record of ``sources`` -> the first source that has it. Records that cannot be read have none."""
    from .source import open_source

    found: dict[str, str] = {}
    for source in sources:
        graphs: Iterable[Graph] = open_source(source, ReadOptions(on_bad="skip"), [])
        for graph in graphs:
            found.setdefault(identity(graph), source)
    return found


class Excluded:
    """Tells which records to leave out and counts them by the source that has them."""

    def __init__(self, identities: dict[str, str]):
        self.identities = identities
        self.counts: Counter[str] = Counter()

    def has(self, graph: Graph) -> bool:
        """Whether the record is to be left out; then it is counted."""
        if not self.identities:
            return False
        source = self.identities.get(identity(graph))
        if source is None:
            return False
        self.counts[source] += 1
        return True
