"""Which rank computes which micro-batch of a step: dealt by what they cost, so that no rank waits long for another.

The micro-batches of a step follow from the seed and the step alone. Losses are sums over the whole step, so the gradient does not
depend on who computes what, and any deal is right. This one is a function of the step's records: no clock is read, every rank
comes to the same result by itself, and an interrupted run goes on with the same bits.

What a micro-batch costs is estimated from its sizes (:data:`PRICES`). At ZeRO 0 and 1 a rank may get any number of micro-batches,
each stream's or none of them. At 2 and 3 DeepSpeed exchanges gradients or weights within the passes, so that every rank must make
as many of each stream, in one order.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atomfield.data.errors import InputError

from .config import Objective

if TYPE_CHECKING:
    from .streams import Stream

Key = tuple[int, int]
"""(stream, number of its micro-batch)."""


@dataclass(frozen=True)
class Price:
    """Of a forward and a backward pass, in microseconds: for being there, for each node, for each edge as planned, and for each
    node and axis of a regular grid, whose layers send messages through Fourier space."""

    pass_: float
    node: float
    edge: float
    axis: float = 0.0

    def of(self, nodes: float, edges: float, axes: float = 0.0) -> float:
        return self.pass_ + nodes * self.node + edges * self.edge + axes * self.axis


PRICES = {
    "second derivatives": Price(9_000, 155, 9.5),
    "first derivatives": Price(7_000, 75, 1.0),
    "field": Price(8_500, 53, 2.6, 27),
}
"""Network ``s`` on one core (``python benchmarks/dealing.py``). Only their ratios matter. Measured times scatter
around the estimates by 8 to 21 % on a busy machine; edges of atoms are themselves estimated from the number of atoms."""
EARLIER = 0.4
"""A step of a rollout that is not learnt, relative to one that is: a forward pass without the backward pass."""


def price_of(objective: Objective, *, field: bool, direct: bool) -> Price:
    """What the passes of an objective cost; ``direct``: supervised forces come from a head, without second derivatives."""
    if field:
        return PRICES["field"]
    return PRICES["second derivatives" if objective == "supervised" and not direct else "first derivatives"]


def shares(streams: Sequence[Stream], step: int, ranks: int, *, alike: bool) -> list[list[Key]]:
    """Each rank's micro-batches of ``step``, in the order of streams and numbers; together each of them once. ``alike``: as many
    of each stream for every rank."""
    numbers = [range(step * s.micro_batches, (step + 1) * s.micro_batches) for s in streams]
    if ranks == 1:
        return [[(which, k) for which, own in enumerate(numbers) for k in own]]
    return deal(costs_of(streams, numbers), ranks, alike=alike)


def costs_of(streams: Sequence[Stream], numbers: Sequence[range]) -> list[dict[Key, float]]:
    """Of each stream: the costs of those of its micro-batches."""
    pairs = enumerate(zip(streams, numbers, strict=True))
    return [{(which, k): stream.cost(k) for k in own} for which, (stream, own) in pairs]


def deal(costs: Sequence[dict[Key, float]], ranks: int, *, alike: bool) -> list[list[Key]]:
    """Micro-batches with ``costs``, by stream, dealt to ``ranks``."""
    together = {key: cost for own in costs for key, cost in own.items()}
    return [sorted(hand) for hand in (in_rounds(costs, ranks) if alike else freely(together, ranks))]


def freely(costs: dict[Key, float], ranks: int) -> list[list[Key]]:
    """The costliest first, each to the rank that has least so far: the largest share is at most 4/3 of the best possible one
    (R. L. Graham, SIAM J. Appl. Math. 17, 416 (1969)). Every rank gets at least one."""
    assert len(costs) >= ranks
    hands: list[list[Key]] = [[] for _ in range(ranks)]
    loads = [(0.0, rank) for rank in range(ranks)]
    for key in sorted(costs, key=lambda k: (-costs[k], k)):
        load, rank = heapq.heappop(loads)
        hands[rank].append(key)
        heapq.heappush(loads, (load + costs[key], rank))
    return hands


def in_rounds(streams: Sequence[dict[Key, float]], ranks: int) -> list[list[Key]]:
    """Stream by stream, in rounds in which each rank gets one: the costliest of the round goes to the rank that has least so
    far."""
    hands: list[list[Key]] = [[] for _ in range(ranks)]
    loads = [0.0] * ranks
    for costs in sorted(streams, key=lambda own: -max(own.values())):
        order = sorted(costs, key=lambda k: (-costs[k], k))
        assert len(order) % ranks == 0
        for first in range(0, len(order), ranks):
            least = sorted(range(ranks), key=loads.__getitem__)
            for rank, key in zip(least, order[first : first + ranks], strict=True):
                hands[rank].append(key)
                loads[rank] += costs[key]
    return hands


def alike(zero_stage: int) -> bool:
    """Whether every rank must compute as many micro-batches of each stream."""
    return zero_stage >= 2


def check_micro_batches(counts: Sequence[tuple[str, int]], ranks: int, zero_stage: int) -> None:
    """``InputError`` where ``counts`` (streams and their micro-batches per step) cannot be dealt to ``ranks``."""
    if not alike(zero_stage):
        if (total := sum(count for _, count in counts)) < ranks:
            raise InputError(
                f"a step has {total} micro-batches in all, expected at least one for each of the {ranks} processes: set "
                "streams[].micro_batches accordingly"
            )
        return
    for name, count in counts:
        if count % ranks:
            raise InputError(
                f"stream {name!r} has {count} micro-batches per step, expected a multiple of the {ranks} processes at "
                f"zero_stage {zero_stage}: set streams[].micro_batches accordingly, or zero_stage: 1"
            )
