"""Units of users' files, converted once when they are read: to eV, angstrom, e for atoms (ASE's conventions).

A unit with a leading minus says that the file's sign is the opposite of ours: stress here is positive in tension, as
in ASE; VASP prints it in ``-kbar``, positive in compression. ``stress=virial`` is the virial in eV,
``-stress * volume``, and ``stress=-virial`` its negative.

Six numbers of a symmetric tensor are in ASE's order, xx yy zz yz xz xy, unless the unit names another:
``stress=-kbar:xx-yy-zz-xy-yz-zx``, for which ``stress=vasp`` is short.
"""

from __future__ import annotations

from .errors import InputError

_ENERGY = {
    "eV": 1.0,
    "meV": 1e-3,
    "kcal/mol": 0.0433641153087705,
    "kJ/mol": 0.0103642696562622,
    "hartree": 27.211386245988,
    "Ha": 27.211386245988,
    "rydberg": 13.605693122994,
    "Ry": 13.605693122994,
    "J": 6.241509074460763e18,
    "cm^-1": 1.2398419843320026e-4,
}
"""CODATA 2018; 1 kcal = 4.184 kJ."""
_LENGTH = {"angstrom": 1.0, "A": 1.0, "bohr": 0.529177210903, "nm": 10.0, "pm": 0.01, "m": 1e10}
_PRESSURE = {
    "eV/angstrom^3": 1.0,
    "eV/A^3": 1.0,
    "GPa": 0.006241509074460763,
    "MPa": 6.241509074460763e-06,
    "Pa": 6.241509074460763e-12,
    "bar": 6.241509074460763e-07,
    "kbar": 6.241509074460763e-04,
    "virial": 1.0,
}
_DIPOLE = {
    "e*angstrom": 1.0,
    "debye": 0.20819433270935597,
    "D": 0.20819433270935597,
    "au": 0.529177210903,
    "e*bohr": 0.529177210903,
}
_CHARGE = {"e": 1.0}
_FORCE = {f"{e}/{a}": x / y for e, x in _ENERGY.items() for a, y in _LENGTH.items()}
_POLARIZABILITY = {"angstrom^3": 1.0, "A^3": 1.0, "bohr^3": 0.529177210903**3, "au": 0.529177210903**3}

_TABLES: dict[str, dict[str, float]] = {
    "positions": _LENGTH,
    "energy": _ENERGY,
    "forces": _FORCE,
    "stress": _PRESSURE,
    "dipole": _DIPOLE,
    "charges": _CHARGE,
    "polarizability": _POLARIZABILITY,
}


VOIGT = "xx-yy-zz-yz-xz-xy"
"""ASE's order of the six components of a symmetric tensor."""
_SHORT = {"vasp": "-kbar:xx-yy-zz-xy-yz-zx", "-vasp": "kbar:xx-yy-zz-xy-yz-zx"}


def split_order(unit: str) -> tuple[str, str]:
    """A unit and the order of six components that it names (empty if none): ``-kbar:xx-yy-...`` -> ``-kbar``, ``xx-yy-...``."""
    plain, _, order = _SHORT.get(unit.lower(), unit).partition(":")
    return plain, order.lower()


def component_order(order: str) -> list[tuple[int, int]]:
    """Row and column of each of the six components. Raises ``InputError`` unless each is named once."""
    pairs = [tuple(sorted("xyz".find(c) for c in part)) for part in (order or VOIGT).split("-")]
    if len(pairs) != 6 or len(set(pairs)) != 6 or any(len(p) != 2 or p[0] < 0 for p in pairs):
        raise InputError(f"order of components is {order!r}, expected the six like {VOIGT}")
    return [(p[0], p[1]) for p in pairs]


def factor(name: str, unit: str) -> float:
    """What a file's numbers of quantity ``name`` (or ``positions``) are multiplied with to be in our unit.

    A user's own property has the unit it is given in: its factor is 1 (-1 with a leading minus).
    Raises ``InputError`` for an unknown unit of a known quantity.
    """
    unit, order = split_order(unit)
    if order:
        component_order(order)
    sign, plain = (-1.0, unit[1:]) if unit.startswith("-") else (1.0, unit)
    table = _TABLES.get(name)
    if table is None:
        return sign
    by_case = {u.lower(): u for u in table}
    known = plain if plain in table else by_case.get(plain.lower())
    if known is None:
        shown = [u for u in table if u.count("/") < 2][:12]
        raise InputError(f"unit {unit!r} of {name} is not known; expected one of {', '.join(shown)}")
    if known == "virial":
        sign = -sign  # the reader divides by the volume
    return sign * table[known]
