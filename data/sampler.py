"""Which records make which micro-batch: planned once from a seed, packed by edges, the same on every rank and after a resume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pack(order: Sequence[int], sizes: np.ndarray, max_size: int, max_items: int) -> list[list[int]]:
    """Cut ``order`` into consecutive groups of at most ``max_items`` whose sizes add up to at most ``max_size``.

    An item larger than ``max_size`` makes a group of its own. Each item appears exactly once.
    """
    groups: list[list[int]] = []
    current: list[int] = []
    total = 0
    for item in order:
        size = int(sizes[item])
        if current and (total + size > max_size or len(current) >= max_items):
            groups.append(current)
            current, total = [], 0
        current.append(int(item))
        total += size
    if current:
        groups.append(current)
    return groups


class EpochSampler:
    """Micro-batch number ``k`` (counted from the start of training) as a list of item numbers.

    Each epoch is a fresh permutation from ``(seed, epoch)``, so the answer depends on ``k`` alone: no state to save.
    """

    def __init__(
        self, sizes: Sequence[int] | np.ndarray, max_size: int, *, seed: int, max_items: int = 1 << 30
    ):
        self.sizes = np.asarray(sizes, dtype=np.int64)
        if len(self.sizes) == 0:
            raise ValueError("a sampler needs at least one item")
        self.max_size, self.max_items, self.seed = max_size, max_items, seed
        self._first: list[int] = [0]
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def epoch(self, number: int) -> list[list[int]]:
        """All groups of one epoch."""
        if self._epoch[0] != number:
            order = np.random.default_rng([self.seed, number]).permutation(len(self.sizes))
            self._epoch = (number, pack(order.tolist(), self.sizes, self.max_size, self.max_items))
        return self._epoch[1]

    def batch(self, k: int) -> list[int]:
        """Item numbers of micro-batch ``k``."""
        while self._first[-1] <= k:
            number = len(self._first) - 1
            self._first.append(self._first[-1] + len(self.epoch(number)))
        number = int(np.searchsorted(self._first, k, side="right")) - 1
        return self.epoch(number)[k - self._first[number]]


def estimated_edges(world: str, num_nodes: np.ndarray) -> np.ndarray:
    """Rough number of directed edges at a 5 angstrom cutoff from sizes alone: enough to balance micro-batches."""
    nodes = np.asarray(num_nodes, dtype=np.int64)
    match world:
        case "molecule":
            return nodes * np.minimum(nodes - 1, 30).clip(min=1)
        case "crystal":
            return nodes * 45
        case _:
            return nodes * 8
