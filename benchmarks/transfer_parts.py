"""The parts of a downstream task: so many samples to train on, others to validate on, nested by a seed and apart from each other.

A sample is a labelled structure, or a pair of successive states of a trajectory; :func:`samples_in` counts them. Records stand in
the order of the seed. Training takes the first ``n`` samples, so the parts of 10, 50, 200 and all samples are nested. Validation
takes ``validation_size(n)`` samples from the other end, or from records that are set aside for it. Both depend on the task, the
number of samples and the seed, never on where a network started.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from transfer_tasks import ALL

from atomfield.data.graph import Graph


def samples_in(graph: Graph) -> int:
    """Pairs of states of a trajectory; 1 for a structure or a steady field."""
    return max(1, graph.num_times - 1)


def validation_size(samples: int) -> int:
    """A fifth of the training samples, ten at least."""
    return max(10, round(samples / 5))


def split(
    pool: Sequence[Graph], samples: int, seed: int, held: Sequence[Graph] = ()
) -> tuple[list[Graph], list[Graph]] | None:
    """(training, validation) records with exactly ``samples`` samples to train on, or None where there are not so many.

    ``samples`` may be ``ALL``: everything that validation leaves (of ``held``, everything that it has, up to a fifth).
    """
    order = in_order(pool, seed)
    total = sum(samples_in(g) for g in order)
    if held:
        wanted = total if samples == ALL else samples
        if wanted > total:
            return None
        return first(order, wanted), first(in_order(held, seed), validation_size(wanted))
    wanted = total - validation_size(round(total * 5 / 6)) if samples == ALL else samples
    size = validation_size(wanted)
    if wanted < 1 or wanted + size > total:
        return None
    train = first(order, wanted)
    # a trajectory that training begins is not in both, even where samples are left in it
    untouched = order[len(train) :]
    valid = first(untouched[::-1], size)
    if sum(samples_in(g) for g in valid) < min(size, 10):
        return None
    return train, valid


def in_order(graphs: Sequence[Graph], seed: int) -> list[Graph]:
    """All records in the order of ``seed``."""
    return [graphs[int(i)] for i in np.random.default_rng([seed, 2024]).permutation(len(graphs))]


def first(graphs: Sequence[Graph], samples: int) -> list[Graph]:
    """The first ``samples`` samples, or all where there are fewer; the last trajectory is cut to what is still missing."""
    found: list[Graph] = []
    for graph in graphs:
        if samples <= 0:
            break
        here = samples_in(graph)
        found.append(graph if here <= samples else graph.window(0, samples + 1))
        samples -= here
    return found


def pieces(graph: Graph, pairs: int) -> list[Graph]:
    """A long trajectory as successive pieces of ``pairs`` pairs of states; what is left over at the end is dropped."""
    count = (graph.num_times - 1) // pairs
    return [graph.window(k * pairs, (k + 1) * pairs + 1) for k in range(count)]
