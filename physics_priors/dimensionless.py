"""Dimensionless groups of a set of quantities, derived from their dimensions (Buckingham's pi theorem).

Dimensions are exponents of mass, length, time and temperature. The groups are the rational null space of the matrix of exponents,
found exactly with fractions; those with a name (Reynolds, Peclet, ...) are listed beside. Buckingham, Phys. Rev. 4, 345 (1914).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import gcd, lcm, prod

BASE = ("mass", "length", "time", "temperature")
DIMENSIONS: dict[str, tuple[int, int, int, int]] = {
    "length": (0, 1, 0, 0),
    "time": (0, 0, 1, 0),
    "spacing": (0, 1, 0, 0),
    "dt": (0, 0, 1, 0),
    "speed": (0, 1, -1, 0),
    "sound_speed": (0, 1, -1, 0),
    "viscosity": (0, 2, -1, 0),
    "diffusivity": (0, 2, -1, 0),
    "thermal_diffusivity": (0, 2, -1, 0),
    "frequency": (0, 0, -1, 0),
    "coriolis": (0, 0, -1, 0),
    "rate": (0, 0, -1, 0),
    "gravity": (0, 1, -2, 0),
    "depth": (0, 1, 0, 0),
    "density": (1, -3, 0, 0),
    "pressure": (1, -1, -2, 0),
    "surface_tension": (1, 0, -2, 0),
    "temperature_difference": (0, 0, 0, 1),
    "expansion": (0, 0, 0, -1),
}
"""Quantity -> exponents of ``BASE``; viscosity is the kinematic one."""

NAMED: dict[str, dict[str, int | Fraction]] = {
    "Reynolds": {"speed": 1, "length": 1, "viscosity": -1},
    "Peclet": {"speed": 1, "length": 1, "diffusivity": -1},
    "Schmidt": {"viscosity": 1, "diffusivity": -1},
    "Prandtl": {"viscosity": 1, "thermal_diffusivity": -1},
    "Mach": {"speed": 1, "sound_speed": -1},
    "Froude": {"speed": 1, "gravity": Fraction(-1, 2), "depth": Fraction(-1, 2)},
    "Rossby": {"speed": 1, "coriolis": -1, "length": -1},
    "Strouhal": {"frequency": 1, "length": 1, "speed": -1},
    "Damkoehler": {"rate": 1, "length": 1, "speed": -1},
    "Weber": {"density": 1, "speed": 2, "length": 1, "surface_tension": -1},
    "Euler": {"pressure": 1, "density": -1, "speed": -2},
    "Rayleigh": {
        "gravity": 1,
        "expansion": 1,
        "temperature_difference": 1,
        "length": 3,
        "viscosity": -1,
        "thermal_diffusivity": -1,
    },
    "Courant": {"speed": 1, "dt": 1, "spacing": -1},
    "diffusion number": {"diffusivity": 1, "dt": 1, "spacing": -2},
}
"""Name -> exponents of the quantities."""

Group = dict[str, Fraction]


def groups(dimensions: Mapping[str, tuple[int, ...]]) -> list[Group]:
    """A basis of the dimensionless products of the quantities in ``dimensions`` (name -> exponents of base units),
    integer exponents
    without a common factor, the first one positive. As many as quantities minus the rank of the matrix."""
    names = list(dimensions)
    rows = [[Fraction(e) for e in column] for column in zip(*dimensions.values(), strict=True)]
    pivots: list[int] = []
    for column in range(len(names)):
        rank = len(pivots)
        lead = next((r for r in range(rank, len(rows)) if rows[r][column]), None)
        if lead is None:
            continue
        rows[rank], rows[lead] = rows[lead], rows[rank]
        rows[rank] = [e / rows[rank][column] for e in rows[rank]]
        for r in range(len(rows)):
            if r != rank and rows[r][column]:
                rows[r] = [a - rows[r][column] * b for a, b in zip(rows[r], rows[rank], strict=True)]
        pivots.append(column)
    found = []
    for free in (c for c in range(len(names)) if c not in pivots):
        vector = [Fraction(0)] * len(names)
        vector[free] = Fraction(1)
        for row, pivot in enumerate(pivots):
            vector[pivot] = -rows[row][free]
        scale = Fraction(lcm(*(e.denominator for e in vector)))
        scale /= gcd(*(int(e * scale) for e in vector))
        scale *= 1 if next(e for e in vector if e) > 0 else -1
        found.append({name: e * scale for name, e in zip(names, vector, strict=True) if e})
    return found


def value(group: Mapping[str, int | Fraction], quantities: Mapping[str, float]) -> float:
    """The number of a group."""
    return prod(quantities[name] ** float(exponent) for name, exponent in group.items())


def named(quantities: Mapping[str, float]) -> dict[str, float]:
    """Every named group all of whose quantities are given (consistent units)."""
    return {name: value(group, quantities) for name, group in NAMED.items() if set(group) <= set(quantities)}
