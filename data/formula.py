"""Chemical formulas in Hill's order (E. A. Hill, J. Am. Chem. Soc. 22, 478 (1900))."""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache

import numpy as np

from .graph import Graph


def formula(graph: Graph) -> str:
    """Element counts in Hill's order, ``"C2H6O"``; empty for a field."""
    return hill_formula(graph.species.numpy())


def hill_formula(numbers: np.ndarray, *, reduced: bool = False) -> str:
    """Counts of the atomic ``numbers [N]`` (0 is left out) in Hill's order; ``reduced``: divided by what they share."""
    if len(numbers) > 200:
        kinds, many = np.unique(numbers, return_counts=True)
        counts = dict(zip(kinds.tolist(), many.tolist(), strict=True))
    else:
        counts = Counter(numbers.tolist())
    counts.pop(0, None)
    shared = math.gcd(*counts.values()) if reduced else 1
    return _hill(tuple(sorted((z, n // shared) for z, n in counts.items())))


@lru_cache(maxsize=4096)
def _hill(counts: tuple[tuple[int, int], ...]) -> str:
    """Carbon, hydrogen, the others by symbol: as ASE writes it, with or without carbon."""
    from ase.data import chemical_symbols

    of = {chemical_symbols[z]: n for z, n in counts}
    first = [x for x in ("C", "H") if x in of]
    order = [*first, *sorted(x for x in of if x not in first)]
    return "".join(f"{x}{of[x] if of[x] > 1 else ''}" for x in order)
