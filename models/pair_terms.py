"""Pair potentials as analytic terms: their names carry the constants of each kind of pair.

    lennard_jones:Ar-Ar=0.0104/3.4,Ar-Ne=0.0061/3.1        morse:H-H=4.5/1.9/0.74        buckingham:Na-Cl=900/0.35/60

In the order and the units of the law (``physics_priors/lennard_jones.py``, ``morse.py``, ``buckingham.py``). Pairs that are not
named have none of the term.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from atomfield.physics_priors.buckingham import buckingham
from atomfield.physics_priors.energy_laws import energy_law
from atomfield.physics_priors.lennard_jones import lennard_jones
from atomfield.physics_priors.morse import morse
from atomfield.physics_priors.pairs import PairEdges

LAWS = ("lennard_jones", "morse", "buckingham")
EXAMPLE = "'lennard_jones:Ar-Ar=0.0104/3.4,Ar-Ne=0.0061/3.1'"


def is_pair_term(term: str) -> bool:
    return term.partition(":")[0] in LAWS


@lru_cache(maxsize=100)
def constants_of(term: str) -> dict[tuple[int, int], tuple[float, ...]]:
    """Pair of atomic numbers, the smaller first -> constants. ``ValueError`` that says what cannot be read."""
    from ase.data import atomic_numbers

    name, _, text = term.partition(":")
    wanted = energy_law(name).constants  # type: ignore[arg-type]
    form = f"expected such as {EXAMPLE}, with {'/'.join(wanted)} for each pair of elements"
    found: dict[tuple[int, int], tuple[float, ...]] = {}
    for part in text.split(","):
        kind, _, numbers = part.strip().partition("=")
        symbols = kind.strip().split("-")
        if len(symbols) != 2 or any(atomic_numbers.get(s, 0) < 1 for s in symbols):
            raise ValueError(f"prior {term!r} has {kind!r} for a pair of elements, {form}")
        pair = tuple(sorted(atomic_numbers[s] for s in symbols))
        try:
            values = tuple(float(x) for x in numbers.split("/"))
        except ValueError:
            raise ValueError(f"prior {term!r} has {numbers!r} for {kind}, {form}") from None
        if len(values) != len(wanted) or not all(0 < v < float("inf") for v in values):
            raise ValueError(f"prior {term!r} has {numbers!r} for {kind}, positive numbers are {form}")
        if pair in found:
            raise ValueError(f"prior {term!r} has {kind} twice")
        found[pair] = values  # type: ignore[index]
    return found


def written(name: str, kinds: dict[str, tuple[float, ...]]) -> str:
    """The term of a law from the constants of pairs such as ``Ar-Ne``, to six digits."""
    return f"{name}:{','.join(f'{k}=' + '/'.join(f'{v:.6g}' for v in values) for k, values in kinds.items())}"


@lru_cache(maxsize=100)
def _tables(term: str) -> tuple[Tensor, ...]:
    """``[119, 119]`` by atomic numbers for each constant, float64; of pairs that are not named the amplitudes are 0."""
    found = constants_of(term)
    count = len(next(iter(found.values())))
    tables = [torch.full((119, 119), float(k > 0), dtype=torch.float64) for k in range(count)]
    if term.startswith("buckingham:"):
        tables[2].zero_()
    for (a, b), values in found.items():
        for table, value in zip(tables, values, strict=True):
            table[a, b] = table[b, a] = value
    return tuple(tables)


def pair_energy(term: str, pairs: PairEdges, cutoff: float) -> Tensor:
    """``[G]`` eV, switched off over the last fifth of ``cutoff`` (angstrom)."""
    tables = [t.to(pairs.positions.device) for t in _tables(term)]
    match term.partition(":")[0]:
        case "lennard_jones":
            return lennard_jones(pairs, tables[0], tables[1], cutoff)
        case "morse":
            return morse(pairs, tables[0], tables[1], tables[2], cutoff)
        case _:
            return buckingham(pairs, tables[0], tables[1], tables[2], cutoff)
