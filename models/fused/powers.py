"""Products of features at nodes as expressions: P2(a, a) and P3 = P(P2, a), channel by channel, and their derivatives.

Legend: ``N`` nodes, ``M`` = (lmax+1)^2 components, ``C`` natural and ``U`` unnatural channels, ``K`` = C + U.
``P`` is the Clebsch-Gordan product with one weight per path and channel. The first U natural channels are multiplied together
with the unnatural ones in the doubled space of both parity classes; the others in the natural class alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from atomfield.models.clebsch import clebsch_gordan

from .expressions import Expressions


@dataclass(frozen=True)
class Path:
    """(class, degree) of both factors and of the product, with the nonzero ``(i, j, k, value)`` in components of the space."""

    target: tuple[int, int]
    terms: tuple[tuple[int, int, int, float], ...]


@lru_cache(maxsize=16)
def paths(lmax: int, both_classes: bool) -> tuple[Path, ...]:
    """Every parity-allowed path; classes are 0 natural, 1 unnatural, whose components follow the natural ones."""
    size = (lmax + 1) ** 2
    classes = (0, 1) if both_classes else (0,)
    return tuple(_paths(lmax, size, classes))


def _paths(lmax: int, size: int, classes: tuple[int, ...]) -> Iterator[Path]:
    inputs = [(k, l) for k in classes for l in range(lmax + 1)]
    for k1, l1 in inputs:
        for k2, l2 in inputs:
            for l3 in range(abs(l1 - l2), min(lmax, l1 + l2) + 1):
                k3 = (k1 + k2 + l1 + l2 + l3) % 2
                if k3 not in classes:
                    continue
                table = clebsch_gordan(l1, l2, l3) * (2 * l3 + 1) ** 0.5
                first, second, third = k1 * size + l1 * l1, k2 * size + l2 * l2, k3 * size + l3 * l3
                terms = tuple(
                    (first + i, second + j, third + k, float(table[i, j, k]))
                    for i, j, k in (table.abs() > 1e-12).nonzero().tolist()
                )
                yield Path((k3, l3), terms)


@dataclass(frozen=True)
class PowerShape:
    """One library: features ``[N, (lmax+1)^2, channels + unnatural]``; ``correlation`` 2 gives P2, 3 gives P2 and P3."""

    lmax: int
    channels: int
    unnatural: int
    correlation: int

    @property
    def components(self) -> int:
        return (self.lmax + 1) ** 2

    @property
    def width(self) -> int:
        return self.channels + self.unnatural

    @property
    def groups(self) -> list[tuple[bool, int, int]]:
        """(both classes?, first natural channel, end) of each group of channels that is multiplied alike."""
        out = []
        if self.unnatural:
            out.append((True, 0, self.unnatural))
        if self.channels > self.unnatural:
            out.append((False, self.unnatural, self.channels))
        return out

    @property
    def offsets(self) -> list[list[int]]:
        """``[power - 2][group]``: where the path weights of a group begin in the flat weights, power by power."""
        found, place = [], 0
        for _ in range(self.correlation - 1):
            row = []
            for both, start, stop in self.groups:
                row.append(place)
                place += len(paths(self.lmax, both)) * (stop - start)
            found.append(row)
        return found

    @property
    def num_weights(self) -> int:
        """Flat path weights: for each power, for each group, ``[paths, channels of the group]``."""
        return (self.correlation - 1) * sum(
            len(paths(self.lmax, both)) * (stop - start) for both, start, stop in self.groups
        )


class PowerChannel:
    """One channel of a group. Variables: ``a<i>`` the features, ``w<power>_<path>``, ``g<power>_<k>`` cotangents of the products
    and ``t<i>`` the cotangents of the first derivative; F = sum of g P, and the second derivative is that of t . dF/da."""

    def __init__(self, lmax: int, both: bool, correlation: int):
        e = self.e = Expressions()
        dim = (2 if both else 1) * (lmax + 1) ** 2
        self.a = [f"a{i}" for i in range(dim)]
        self.w: list[str] = []
        self.g: list[str] = []
        self.products: list[int] = []
        """P2 by component, then P3."""
        features = [e.var(name) for name in self.a]
        power, total = features, []
        for number in range(2, correlation + 1):
            sums: list[list[tuple[float, int]]] = [[] for _ in range(dim)]
            for which, path in enumerate(paths(lmax, both)):
                name = f"w{number}_{which}"
                self.w.append(name)
                inner: dict[int, list[tuple[float, int]]] = {}
                for i, j, k, value in path.terms:
                    inner.setdefault(k, []).append((value, e.mul(power[i], features[j])))
                for k, terms in inner.items():
                    sums[k].append((1.0, e.mul(e.var(name), e.sum(terms))))
            power = [e.sum(terms) for terms in sums]
            names = [f"g{number}_{k}" for k in range(dim)]
            self.g += names
            self.products += power
            total += [(1.0, e.mul(e.var(name), node)) for name, node in zip(names, power, strict=True)]
        self.total = e.sum(total)
        self.tangent = e.tangent([self.total], {e.var(f"a{i}"): e.var(f"t{i}") for i in range(dim)})[0]

    def first(self, names: list[str]) -> list[int]:
        return self.e.gradient({self.total: self.e.one}, [self.e.var(n) for n in names])

    def second(self, names: list[str]) -> list[int]:
        return self.e.gradient({self.tangent: self.e.one}, [self.e.var(n) for n in names])
