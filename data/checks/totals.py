"""Energies that cannot be totals: they do not grow with the number of atoms, or every molecule has its own zero."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from atomfield.data.graph import Graph

from .findings import Finding

MIN_RECORDS = 20
MIN_SPREAD = 0.15
"""Relative standard deviation of the number of atoms below which nothing can be said."""
_RATIO = 0.6
_MOST_NAMED = 200
_MOST_SYSTEMS = 100_000
"""Groups whose lowest energy is remembered; of later ones nothing is, so that memory stays bounded."""
_GREATEST = 1e6
"""eV per atom: the innermost electrons of the heaviest atoms bind less."""


class Totals:
    """Composition and energy of records, at most 16 of each composition."""

    def __init__(self, most: int = 20_000) -> None:
        self.most = most
        self.num_records = 0
        self._counts: list[np.ndarray] = []
        self._energies: list[float] = []
        self._seen: dict[bytes, int] = defaultdict(int)
        self._lowest: dict[str, tuple[float, int]] = {}
        self.huge: list[str] = []
        self.num_huge = 0

    def add(self, record: int, graph: Graph) -> None:
        if "energy" not in graph.quantities or graph.world == "field":
            return
        self.num_records += 1
        energy = float(graph.quantities["energy"])
        if abs(energy) > _GREATEST * graph.num_nodes:
            self.num_huge += 1
            if len(self.huge) < _MOST_NAMED:
                self.huge.append(f"{graph.provenance}: {energy / graph.num_nodes:.3g} eV per atom")
        if graph.num_nodes < 2:
            return
        species = graph.species.numpy()
        key = np.sort(species).astype(np.uint8).tobytes()
        system = graph.group or repr(key)
        if system in self._lowest or len(self._lowest) < _MOST_SYSTEMS:
            lowest, frames = self._lowest.get(system, (energy, 0))
            self._lowest[system] = (min(lowest, energy), frames + 1)
        if len(self._energies) < self.most:
            self._seen[key] += 1
            if self._seen[key] <= 16:
                self._counts.append(np.bincount(species, minlength=119))
                self._energies.append(energy)

    def findings(self, where: str) -> list[Finding]:
        found = []
        if self.huge:
            message = f"energies of {self.num_huge} records are beyond {_GREATEST:.0e} eV per atom, which no matter has"
            advice = "check the key and --units energy=..."
            found.append(Finding("totals", "wrong", where, message, advice, tuple(self.huge), self.num_huge))
        if len(self._energies) < MIN_RECORDS:
            return found
        counts, energies = np.array(self._counts, dtype=np.float64), np.array(self._energies)
        sizes = counts.sum(axis=1)
        if sizes.std() < MIN_SPREAD * sizes.mean():
            return found
        sums, means = _miss(counts, energies), _miss(counts / sizes[:, None], energies)
        own_zero = [e for e, n in self._lowest.values() if n > 1]
        if len(own_zero) >= 5 and np.abs(own_zero).max() < 1e-6 * max(1e-3, float(np.abs(energies).max())):
            message = f"the lowest energy of each of {len(own_zero)} systems is zero: energies are relative to their own minimum"
            advice = "give total energies; relative ones of different systems have no common zero"
            found.append(Finding("totals", "wrong", where, message, advice, (), self.num_records))
        elif means < _RATIO * sums and sums > 1e-6:
            message = (
                f"energies do not grow with the number of atoms ({sizes.min():.0f} to {sizes.max():.0f}): fractions of elements "
                f"explain them to {means:.3g} eV, numbers of atoms only to {sums:.3g} eV (cross-validated RMSE); they look like "
                "energies per atom"
            )
            advice = "multiply by the number of atoms, or read the key as a property of its own (--target NAME) instead of energy"
            found.append(Finding("totals", "wrong", where, message, advice, (), self.num_records))
        return found


def _miss(design: np.ndarray, values: np.ndarray, folds: int = 5) -> float:
    """Cross-validated RMSE of a ridge fit on the elements that occur; folds by a fixed permutation."""
    design = design[:, design.any(axis=0)]
    fold = np.random.default_rng(0).permutation(len(values)) % folds
    total = 0.0
    for k in range(folds):
        kept, held = fold != k, fold == k
        gram = design[kept].T @ design[kept]
        ridge = 1e-6 * np.trace(gram) / len(gram) * np.eye(len(gram))
        fit = np.linalg.solve(gram + ridge, design[kept].T @ values[kept])
        total += float(((design[held] @ fit - values[held]) ** 2).sum())
    return float(np.sqrt(total / len(values)))
