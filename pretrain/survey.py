"""What a network must know of the training records before it is built: levels, conditions, properties, and a sample for scales.

Names are those of all records, and come from the columns of a store. Scales, references and constants are fitted on a sample:
all records up to a number, of larger sources so many drawn at random and at least :data:`FEW` of everything that is rare.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_STATES
from atomfield.data.subset import Subset, columns_of, field_kinds, holding, in_store, names_in

from .property_fits import NOT_LEARNT, properties_in

FEW = 1000
"""So many records with each element of each level, each label and each condition are in a sample, where there are so many."""


@dataclass
class Survey:
    """Of several sets of training records."""

    samples: list[Sequence[Graph]] = field(default_factory=list)
    """Of each set, what scales are fitted on."""
    molecules: dict[str, None] = field(default_factory=dict)
    crystals: dict[str, None] = field(default_factory=dict)
    atoms: dict[str, None] = field(default_factory=dict)
    fields: dict[str, None] = field(default_factory=dict)
    """Levels in the order in which they appear."""
    conditions: set[str] = field(default_factory=set)
    grids: bool = False
    """Whether there are periodic grids."""
    holders: dict[str, list[Graph]] = field(default_factory=dict)
    """Records of the samples that have a property which is learnt, by its name."""
    unlabelled: dict[int, int] = field(default_factory=dict)
    """Number of a set that is trained on with labels -> how many of its records have none."""


def survey(sets: Sequence[Sequence[Graph]], most: int, labelled: Collection[int] | None = None) -> Survey:
    """Look at the records of ``sets``; at most about ``most`` of each are read.

    labelled: numbers of the sets whose labels are trained on; None: all.
    """
    found = Survey()
    for number, graphs in enumerate(sets):
        sample = sampled(graphs, most)
        found.samples.append(sample)
        columns = columns_of(graphs)
        for world, level in dict.fromkeys(zip(columns["world"], columns["level"], strict=True)):
            (found.fields if world == "field" else found.atoms).setdefault(level)
            if world != "field":
                (found.crystals if world == "crystal" else found.molecules).setdefault(level)
        found.conditions |= set(names_in(graphs, "condition"))
        taught = labelled is None or number in labelled
        if taught and (missing := int((~with_label(graphs)).sum())):
            found.unlabelled[number] = missing
        for g in sample:
            found.grids = found.grids or g.is_periodic_grid
            for name in properties_in(g) if taught else ():
                found.holders.setdefault(name, []).append(g)
    return found


def sampled(graphs: Sequence[Graph], most: int) -> Sequence[Graph]:
    """``graphs``, or of a store with more than ``most`` a part of it, in order: the ``most`` with the lowest of random numbers,
    and of each rare thing the :data:`FEW` with the lowest."""
    if len(graphs) <= most or not in_store(graphs):
        return graphs
    order = np.random.default_rng(0).permutation(len(graphs))
    lowest = np.zeros(len(graphs), dtype=bool)
    lowest[order[:most]] = True
    chosen = lowest.copy()
    for kind in _kinds(graphs):
        if np.count_nonzero(kind & lowest) < FEW:
            chosen[order[np.flatnonzero(kind[order])[:FEW]]] = True
    for first, _ in field_kinds(graphs):
        chosen[first] = True
    return Subset(graphs, np.flatnonzero(chosen))


def _kinds(graphs: Sequence[Graph]) -> Iterator[np.ndarray]:
    """``[R]`` bool for everything of which a sample needs some: elements by level, alone and bonded, labels, conditions."""
    columns = columns_of(graphs)
    levels = columns["level"]
    names = {name: number for number, name in enumerate(dict.fromkeys(levels))}
    of_level = np.fromiter((names[name] for name in levels), dtype=np.int32, count=len(levels))
    alone = columns["num_nodes"] == 1
    bits = columns["species_bits"]
    for k in range(len(columns["elements"])):
        has = (bits[:, k // 8] >> (7 - k % 8)) & 1 > 0
        for level in np.unique(of_level[has]):
            here = has & (of_level == level)
            yield here
            yield here & alone
    for level in names.values():
        yield of_level == level
    for kind in ("quantity", "next", "condition"):
        for name in names_in(graphs, kind):
            yield holding(graphs, name, kind)


def with_label(graphs: Sequence[Graph]) -> np.ndarray:
    """``[R]`` bool: whether a record has anything that is learnt: of atoms a quantity, of a field a state that changes or is
    to be found."""
    columns = columns_of(graphs)
    is_field = np.fromiter((w == "field" for w in columns["world"]), dtype=bool, count=len(graphs))
    moves = columns["num_times"] > 1
    out = np.zeros(len(graphs), dtype=bool)
    for name in names_in(graphs, "quantity"):
        here = holding(graphs, name)
        if name not in NOT_LEARNT:
            out |= here & ~is_field
        if name in FIELD_STATES:
            out |= here & is_field & moves
    for name in names_in(graphs, "next"):
        if name in FIELD_STATES:
            out |= holding(graphs, name, "next") & is_field & ~moves
    return out
