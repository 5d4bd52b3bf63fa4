"""A fingerprint of a structure that does not change with rotation, translation, reflection, the order of atoms or the unit cell.

Each atom has sums over its neighbours (species-weighted smooth functions of distance); the fingerprint is their mean, mean square
and product with the species over atoms. Two structures with one fingerprint are compared atom by atom (:func:`same_structure`).
Mirror images count as the same structure: every scalar label of them is the same. Distances alone cannot tell some
constructed pairs of point sets apart; two such in one data set would be counted as one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from atomfield.data.graph import Graph

CUTOFF = 6.5
"""angstrom, for atoms."""
TOLERANCE = 3e-4
"""angstrom: displacements of single atoms below about this do not make a new structure."""
CANDIDATES = 4
"""Earlier structures that one is compared with atom by atom."""
_WHOLE = 300
"""Atoms of a molecule up to which pairs beyond the cutoff count too."""
_CENTERS = np.array([0.8, 2.2, 3.6, 5.0])
_WIDTH = 1.1
_MIX = np.linspace(0.3, 0.7, 2 * len(_CENTERS))
_FEW = 48
"""Up to so many atoms all pairs are looked at, and sums are a product with a matrix of zeros and ones: faster there."""


_GEOMETRY = ("positions", "species", "cell", "pbc")


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """key: what must be equal exactly (world, reduced composition, level, conditions). values ``[6]``: what must agree."""

    key: bytes
    values: np.ndarray


def environments(graph: Graph) -> np.ndarray:
    """``[N, 5 + 2 K]``: atomic number, then for each atom sums of ``K`` radial functions over neighbours, plain and weighted by
    species; the same of the neighbours' own sums; of molecules, means over all other atoms."""
    species = graph.species.numpy()
    i, j, distance = _near(graph)
    envelope = (0.5 + 0.5 * np.cos(np.pi * np.minimum(distance / CUTOFF, 1.0))) ** 2
    radial = np.exp(-(((distance[:, None] - _CENTERS) / _WIDTH) ** 2)) * envelope[:, None]
    weight = 0.5 + np.modf(0.61803398875 * species)[0]  # neighbours in the periodic table weigh differently
    count, kinds = len(species), len(_CENTERS)
    out = np.zeros((count, 5 + 2 * kinds))
    out[:, 0] = species
    out[:, 1 : 1 + 2 * kinds] = _sums(i, np.concatenate([radial, radial * weight[j, None]], axis=1), count)
    own = np.square(out[:, 1 : 1 + 2 * kinds] @ _MIX) / 50.0
    # the surroundings of the neighbours: alloys with equal pairs on one lattice differ here
    out[:, 2 * kinds + 1 : 2 * kinds + 3] = _sums(i, radial[:, 1:3] * own[j, None], count)
    if not graph.pbc.any() and count <= _WHOLE:
        far = np.log1p(torch.cdist(graph.positions, graph.positions).numpy())
        out[:, -2], out[:, -1] = far.mean(axis=1), (far @ weight) / count
    return out


def _near(graph: Graph) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directed pairs within the cutoff ``[P]``, ``[P]`` and their distances."""
    periodic, positions = graph.pbc.numpy(), graph.positions.numpy()
    if not periodic.any() and len(positions) <= _FEW:
        i, j = _all_pairs(len(positions))
        vector = positions[j] - positions[i]
        distance = np.sqrt((vector * vector).sum(axis=1))
        near = distance < CUTOFF
        return i[near], j[near], distance[near]
    import vesin

    from atomfield.data.neighbors import completed_box

    box = graph.cell.numpy()
    if periodic.any() and not periodic.all():
        box = completed_box(box, periodic)
    finder = vesin.NeighborList(cutoff=CUTOFF, full_list=True)
    i, j, distance = finder.compute(points=positions, box=box, periodic=periodic, quantities="ijd")
    return i, j, distance


@lru_cache(maxsize=_FEW)
def _all_pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    i, j = np.nonzero(~np.eye(count, dtype=bool))
    return i, j


def _sums(index: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """``[count, C]``: rows of ``values [P, C]`` added up by ``index [P]``."""
    if count <= _FEW:
        return (index == np.arange(count)[:, None]).astype(np.float64) @ values
    return np.stack([np.bincount(index, column, minlength=count) for column in values.T], axis=1)


def fingerprint(graph: Graph, *, level: bool = True) -> Fingerprint:
    """Of atoms; a field's is the digest of its first state (float32). ``level``: whether levels of theory tell records apart."""
    conditions = sorted((k, round(v, 6)) for k, v in graph.conditions.items()) if graph.world == "field" else sorted(
        (k, v) for k, v in graph.conditions.items() if v != 0
    )  # fmt: skip
    named = [graph.world, graph.level if level else "", repr(conditions)]
    if graph.world == "field":
        return Fingerprint("\0".join([*named, _field_digest(graph)]).encode(), np.zeros(6))
    numbers, counts = np.unique(graph.species.numpy(), return_counts=True)
    if graph.world == "crystal":
        counts = counts // np.gcd.reduce(counts)
    named.append(repr(list(zip(numbers.tolist(), counts.tolist(), strict=True))))
    key = hashlib.blake2b("\0".join(named).encode(), digest_size=16).digest()
    table = environments(graph)
    sums = table[:, 1:]
    weights = np.sqrt(table[:, :1])
    half = len(_CENTERS)
    columns = [
        sums[:, 0],
        sums[:, 1],
        sums[:, -1] * weights[:, 0],
        sums[:, 1] ** 2,
        sums[:, half + 1] * weights[:, 0],
        sums[:, 2] * sums[:, half] * weights[:, 0],
    ]
    return Fingerprint(key, np.array(columns).sum(axis=1) / len(sums))


def _field_digest(graph: Graph) -> str:
    digest = hashlib.sha256()
    state = graph.snapshot(0).quantities if graph.times is not None else graph.quantities
    digest.update(graph.positions.to(torch.float32).numpy().tobytes())
    for name in sorted(state):
        digest.update(name.encode())
        digest.update((state[name].to(torch.float32) + 0.0).contiguous().numpy().tobytes())
    return digest.hexdigest()


def same_structure(first: Graph, second: Graph) -> bool:
    """Whether every atom of one has an atom in the other with the same environment, within :data:`TOLERANCE`.

    A supercell has each environment of its cell several times and counts as the same crystal.
    """
    if first.world == "field":
        return first.num_nodes == second.num_nodes
    if all(torch.equal(getattr(first, name), getattr(second, name)) for name in _GEOMETRY):
        return True
    a, b = _ordered(environments(first)), _ordered(environments(second))
    if len(a) != len(b):
        times = np.lcm(len(a), len(b))
        a, b = np.repeat(a, times // len(a), axis=0), np.repeat(b, times // len(b), axis=0)
    if not np.array_equal(a[:, 0], b[:, 0]):
        return False
    allowed = TOLERANCE * (
        1.0 + 0.1 * np.abs(a[:, 1:]).max(axis=0)
    )  # a sum over many neighbours changes by more
    return bool((np.abs(a[:, 1:] - b[:, 1:]) < allowed).all())


def _ordered(table: np.ndarray) -> np.ndarray:
    """Rows in an order that small errors do not change for distinct environments."""
    mixed = table[:, 1:] @ (1.0 + np.arange(table.shape[1] - 1) * 0.61803398875)
    return table[np.lexsort((np.round(mixed, 6), table[:, 0]))]


def close_pairs(prints: Sequence[Fingerprint]) -> list[tuple[int, int]]:
    """Index pairs ``i < j`` whose keys are equal and whose values agree to the tolerance: candidates for ``same_structure``.

    Each record comes with at most :data:`CANDIDATES` earlier ones of its bucket, nearest first.
    """
    groups: dict[bytes, list[int]] = {}
    for index, one in enumerate(prints):
        groups.setdefault(one.key, []).append(index)
    pairs = []
    for members in groups.values():
        if len(members) < 2:
            continue
        order = sorted(members, key=lambda m: float(prints[m].values[0]))
        values = np.stack([prints[m].values for m in order])
        allowed = 2 * TOLERANCE * (1.0 + np.abs(values))
        first = values[:, 0]
        earlier: dict[int, list[tuple[float, int]]] = {}
        for a in range(len(order)):
            stop = int(np.searchsorted(first, first[a] + allowed[a, 0], side="right"))
            miss = np.abs(values[a + 1 : stop] - values[a]) / allowed[a]
            for offset in np.flatnonzero((miss <= 1.0).all(axis=1))[: 8 * CANDIDATES].tolist():
                i, j = sorted((order[a], order[a + 1 + offset]))
                earlier.setdefault(j, []).append((float(miss[offset].max()), i))
        pairs += [(i, j) for j, found in earlier.items() for _, i in sorted(found)[:CANDIDATES]]
    return sorted(pairs, key=lambda pair: (pair[1], pair[0]))
