"""Which items make which micro-batch: planned from a seed and a number alone, packed by nodes and edges.

Micro-batch ``k``, counted from the start of training, is the same on every rank, for any number of ranks and workers, and after a
resume: there is no state to save. A step is a fixed list of micro-batches that is then dealt to ranks.

Shapes: ``I`` items, ``B`` micro-batches of a plan. Plans are flat numpy arrays: two million items take some 100 MB and
about a second an epoch. Of more than :data:`WHOLE` items an epoch is planned in pieces of :data:`PIECE`, one at a time, whose
order comes from a permutation that is computed where it is asked for (:mod:`.scramble`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .errors import InputError
from .scramble import scrambled

Mixture = Literal["natural", "balanced"] | float | tuple[float, ...]
"""How often data sets are seen: ``"natural"``, each item once an epoch; ``"balanced"``, each data set equally often; a
temperature t >= 1, in proportion to size**(1/t) (1 is natural, infinity is balanced); or a weight for each data set."""
UNLIMITED = 1 << 60
WHOLE = 4_000_000
"""Items up to which an epoch is planned as a whole."""
PIECE = 1 << 20


@dataclass(frozen=True)
class Plan:
    """The micro-batches of one epoch, or of a piece of it: number ``b`` is ``items[starts[b]:starts[b + 1]]``. items ``[I]``,
    starts ``[B + 1]``."""

    items: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, number: int) -> np.ndarray:
        return self.items[self.starts[number] : self.starts[number + 1]]


@dataclass(frozen=True)
class Budget:
    """What a micro-batch may hold. One item that is larger makes a micro-batch of its own."""

    nodes: int = UNLIMITED
    edges: int = UNLIMITED
    items: int = UNLIMITED


def pack(order: np.ndarray, nodes: np.ndarray, edges: np.ndarray, budget: Budget) -> Plan:
    """Cut ``order`` into consecutive micro-batches, each as long as ``budget`` allows.

    nodes, edges ``[I]``: sizes by item number. Every entry of ``order`` appears exactly once.
    """
    count = len(order)
    number = np.arange(count)
    end = np.minimum(number + min(budget.items, count), count)
    for sizes, limit in ((nodes, budget.nodes), (edges, budget.edges)):
        if limit < UNLIMITED:
            total = np.concatenate([[0], np.cumsum(sizes[order])])
            np.minimum(end, np.searchsorted(total, total[:-1] + limit, side="right") - 1, out=end)
    following = np.maximum(end, number + 1)
    starts, place = [0], 0
    while place < count:
        place = following.item(place)
        starts.append(place)
    return Plan(np.asarray(order, dtype=np.int64), np.array(starts, dtype=np.int64))


class EpochSampler:
    """Micro-batch number ``k`` (counted from the start of training) as item numbers.

    nodes, edges: sizes of the items ``[I]``. parts ``[I]``: the data set of each item (numbers from 0), for ``mixture``.
    An epoch has as many items as there are. Of each data set it takes the share that ``mixture`` says, from the data
    set's own endless sequence of permutations, so that no item is seen twice before all others of its data set were seen once.
    Threads may ask at once: one makes batches ahead while another asks for sizes.
    """

    def __init__(
        self,
        nodes: Sequence[int] | np.ndarray,
        edges: Sequence[int] | np.ndarray,
        budget: Budget,
        *,
        seed: int,
        parts: np.ndarray | None = None,
        mixture: Mixture = "natural",
    ):
        self.nodes, self.edges = np.asarray(nodes, dtype=np.int32), np.asarray(edges, dtype=np.int32)
        if len(self.nodes) == 0:
            raise ValueError("a sampler needs at least one item")
        self.budget, self.seed = budget, seed
        self._members: list[np.ndarray | None] = [None]
        """Item numbers of each data set; None: all there are."""
        sizes = [len(self.nodes)]
        if parts is not None or isinstance(mixture, tuple):
            of = np.zeros(len(self.nodes), dtype=np.int64) if parts is None else np.asarray(parts)
            counts = np.bincount(of, minlength=len(mixture) if isinstance(mixture, tuple) else 0)
            if len(counts) > 1:
                self._members = list(np.split(np.argsort(of, kind="stable"), np.cumsum(counts)[:-1]))
            sizes = counts.tolist()
        self._sizes = sizes
        self.shares = shares_of(sizes, mixture)
        count = len(self.nodes)
        self.pieces = 1 if count <= WHOLE else -(-count // PIECE)
        """Of an epoch; each has a plan of its own."""
        self._first: list[int] = [0]
        """Of each plan so far the number of its first micro-batch, and of the one after."""
        self._known: tuple[int, Plan] | None = None

    @property
    def micro_batches_per_epoch(self) -> int:
        """Of the first epoch; where epochs have pieces an estimate from its first one."""
        first = self.plan(0)
        return len(first) if self.pieces == 1 else round(len(first) * len(self.nodes) / len(first.items))

    def plan(self, number: int) -> Plan:
        """The micro-batches of an epoch or, where epochs have several, of piece ``number`` of all epochs."""
        known = self._known
        if known is None or known[0] != number:
            order = self._epoch(number) if self.pieces == 1 else self._piece(*divmod(number, self.pieces))
            known = self._known = (number, pack(order, self.nodes, self.edges, self.budget))
        return known[1]

    def _epoch(self, number: int) -> np.ndarray:
        chosen = [self._drawn(part, number) for part in range(len(self._sizes))]
        order = np.concatenate(chosen)
        return order[np.random.default_rng([self.seed, number]).permutation(len(order))]

    def _drawn(self, part: int, epoch: int) -> np.ndarray:
        """What the epoch takes of one data set: a window of its sequence of permutations."""
        size, share = self._sizes[part], self.shares[part]
        if share == size:
            return self._items(part, np.arange(size))  # all of it; the epoch's own permutation orders it
        window = np.arange(epoch * share, (epoch + 1) * share)
        rounds, place = np.divmod(window, max(size, 1))
        drawn = np.empty(share, dtype=np.int64)
        for number in np.unique(rounds):
            here = rounds == number
            order = np.random.default_rng([self.seed, part, int(number), 1]).permutation(size)
            drawn[here] = self._items(part, order[place[here]])
        return drawn

    def _piece(self, epoch: int, piece: int) -> np.ndarray:
        """The same without arrays as long as the epoch."""
        count = len(self.nodes)
        place = scrambled(
            np.arange(piece * PIECE, min((piece + 1) * PIECE, count)), count, (self.seed, epoch)
        )
        starts = np.cumsum([0, *self.shares])
        part_of = np.searchsorted(starts, place, side="right") - 1
        order = np.empty(len(place), dtype=np.int64)
        for part in np.unique(part_of).tolist():
            mine = part_of == part
            size, share = self._sizes[part], self.shares[part]
            inside = place[mine] - starts[part]
            if share != size:
                rounds, inside = np.divmod(inside + epoch * share, size)
                for number in np.unique(rounds).tolist():
                    here = rounds == number
                    inside[here] = scrambled(inside[here], size, (self.seed, part, number, 1))
            order[mine] = self._items(part, inside)
        return order

    def _items(self, part: int, places: np.ndarray) -> np.ndarray:
        members = self._members[part]
        return places if members is None else members[places]

    def batch(self, k: int) -> np.ndarray:
        """Item numbers of micro-batch ``k``."""
        first = self._first
        if first[-1] <= k:
            first = [*first]  # another thread may be reading it
            while first[-1] <= k:
                first.append(first[-1] + len(self.plan(len(first) - 1)))
            self._first = first
        number = bisect_right(first, k) - 1
        return self.plan(number)[k - first[number]]


def shares_of(sizes: Sequence[int], mixture: Mixture) -> list[int]:
    """How many items of each data set make an epoch of ``sum(sizes)`` items.

    Raises ``InputError`` for weights that are negative, not finite, all zero, or not one for each data set, and for a temperature
    below 1.
    """
    count = np.asarray(sizes, dtype=np.float64)
    if isinstance(mixture, tuple):
        weights = np.asarray(mixture, dtype=np.float64)
        if len(weights) != len(count):
            raise InputError(
                f"the mixture has {len(weights)} weights, expected {len(count)}, one for each data set"
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights[count > 0].sum() > 0):
            raise InputError(
                f"the mixture's weights are {list(mixture)}, expected numbers of at least 0, not all 0"
            )
    elif mixture == "natural":
        return [int(n) for n in sizes]
    elif mixture == "balanced":
        weights = np.ones(len(count))
    else:
        if not float(mixture) >= 1:
            raise InputError(f"the mixture's temperature is {mixture}, expected at least 1")
        weights = count ** (1 / float(mixture))
    exact = np.where(count > 0, weights, 0.0)
    exact *= count.sum() / exact.sum()
    shares = np.floor(exact).astype(np.int64)
    missing = int(count.sum() - shares.sum())
    shares[np.argsort(shares - exact, kind="stable")[:missing]] += 1  # largest remainders first
    return shares.tolist()


def estimated_edges(
    world: str, num_nodes: np.ndarray, cutoff: float = 5.0, volume: np.ndarray | None = None
) -> np.ndarray:
    """Rough number of directed edges from sizes alone, enough to balance micro-batches. num_nodes ``[R]``; volume ``[R]`` in
    angstrom^3 of cells that are periodic in three directions, 0 where not known: there the density of metals is taken."""
    nodes = np.asarray(num_nodes, dtype=np.float64)
    sphere = (cutoff / 5) ** 3
    match world:
        case "molecule":
            found = nodes * np.minimum(nodes - 1, 30 * sphere).clip(min=1)
        case "crystal":
            found = nodes * 45 * sphere
            if volume is not None:
                np.divide(nodes**2 * (4 / 3 * np.pi * cutoff**3), volume, out=found, where=volume > 0)
        case _:
            found = nodes * 8
    return np.rint(found).astype(np.int64).clip(min=1)
