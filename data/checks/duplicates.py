"""One structure several times in a source: with the same labels (it only weighs more) or with others (one is wrong)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomfield.data.graph import Graph

from .findings import Finding
from .fingerprint import Fingerprint, close_pairs, same_structure

ENERGY_TOLERANCE = 2e-3
"""eV per atom, and of user's scalars relative to their standard deviation: labels that differ by more contradict each other."""
SPREAD_TOLERANCE = 0.02
VECTOR_TOLERANCE, _SMALLEST = 0.05, {"stress": 0.01}
"""Sizes of vectors and tensors may differ by this share of the largest in the record (of one unit at least; stresses of 0.01):
a displacement that is too small to tell structures apart changes them by less."""


def duplicate_pairs(graphs: Sequence[Graph], prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """``(earlier, later)`` record numbers of equal structures, one pair for each repetition."""
    pairs: dict[int, int] = {}
    for i, j in close_pairs(prints):
        if j not in pairs and same_structure(graphs[i], graphs[j]):
            pairs[j] = i
    return [(i, j) for j, i in sorted(pairs.items())]


def check_duplicates(
    where: str, graphs: Sequence[Graph], prints: Sequence[Fingerprint], scales: dict[str, float]
) -> list[Finding]:
    """scales: standard deviation of each scalar label, for what a difference of it means."""
    same, other = [], []
    for i, j in duplicate_pairs(graphs, prints):
        first, second = graphs[i], graphs[j]
        difference = _difference(first, second, scales)
        text = f"{second.provenance}: the same structure as {first.provenance}"
        if difference:
            other.append(f"{text}, {difference}")
        else:
            same.append(text)
    found = []
    if other:
        message = f"{len(other)} records repeat the structure of an earlier one with another label"
        advice = "one of them is wrong, or they are of different methods (give each its --level)"
        found.append(Finding("duplicates", "suspect", where, message, advice, tuple(other), len(other)))
    if same:
        message = f"{len(same)} records repeat the structure and the labels of an earlier one"
        advice = "they weigh more in training, and may fall on both sides of a split"
        found.append(Finding("duplicates", "note", where, message, advice, tuple(same), len(same)))
    return found


def _difference(first: Graph, second: Graph, scales: dict[str, float]) -> str:
    """The first label that contradicts, in words; empty where all agree. Scalars first, then sizes of vectors and tensors."""
    shared = [name for name in first.quantities if name in second.quantities]
    for name in shared:
        value = first.quantities[name]
        if value.ndim or first.definition(name).support != "graph":
            continue
        a, b = float(value), float(second.quantities[name])
        if name == "energy":
            a, b, allowed, unit = a / first.num_nodes, b / second.num_nodes, ENERGY_TOLERANCE, " eV/atom"
        else:
            allowed, unit = SPREAD_TOLERANCE * scales.get(name, 0.0) + 1e-9 * abs(a), ""
        if not np.isclose(a, b, rtol=0, atol=allowed):
            return f"but {name} is {b:.6g} instead of {a:.6g}{unit}"
    for name in shared:
        if first.world == "field" or not first.definition(name).shape:
            continue
        x, y = _sizes(first, name), _sizes(second, name)
        if len(x) != len(y):  # a crystal in a larger cell
            times = int(np.lcm(len(x), len(y)))
            x, y = np.repeat(x, times // len(x)), np.repeat(y, times // len(y))
        miss = np.abs(x - y)
        allowed = VECTOR_TOLERANCE * max(float(np.abs(x).max()), _SMALLEST.get(name, 1.0))
        if miss.max() > allowed:
            k = int(miss.argmax())
            unit = first.definition(name).unit
            return f"but {name} has a size of {y[k]:.6g} instead of {x[k]:.6g} {unit}"
    return ""


def _sizes(graph: Graph, name: str) -> np.ndarray:
    """Norms of a vector or tensor, which do not turn with the structure: of each atom, sorted within its element."""
    flat = graph.quantities[name].numpy().astype(np.float64).reshape(-1, graph.definition(name).components)
    size = np.linalg.norm(flat, axis=1)
    return size if len(size) == 1 else size[np.lexsort((size, graph.species.numpy()))]
