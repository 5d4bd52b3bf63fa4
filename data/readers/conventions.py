"""Units that a format's documents fix, or that a file declares: said once per file, and overruled by ``--units``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from atomfield.data.errors import InputError
from atomfield.data.quantities import VOCABULARY
from atomfield.data.units import factor

from .labels import logger
from .options import ReadOptions

_OURS = {"positions": "angstrom", "energy": "eV", "forces": "eV/angstrom", "stress": "eV/angstrom^3",
         "dipole": "e*angstrom", "charges": "e", "polarizability": "angstrom^3"}  # fmt: skip
_SPELLINGS = (
    (r"\s+|\\|\$", ""), (r"å|ångström|angstroms?\b", "angstrom"), (r"\bang\b", "angstrom"), (r"\beh\b|\bhartrees\b", "hartree"),
    (r"\ba0\b|\bbohrs\b|\ba_0\b", "bohr"), (r"\bev\b", "eV"), (r"\*\*|\^", "^"), (r"kcal/\(?mol\*?", "kcal/mol"),
    (r"kcal/mol[/*]?(angstrom|a)\)?", r"kcal/mol/\1"), (r"/a\b", "/angstrom"), (r"^a$", "angstrom"),
)  # fmt: skip


def assumed(
    options: ReadOptions,
    path: Path,
    units: Mapping[str, str],
    why: str,
    keys: Mapping[str, str] | None = None,
) -> ReadOptions:
    """``options`` with the units and keys that the user left open; says those that convert or flip anything.

    ``why``: whose convention, with what else should be known (which energy, say). ``units``: quantity (or ``positions``) ->
    unit in the file. ``keys``: our name -> key in the file.
    """
    units = {name: unit for name, unit in units.items() if name not in options.units}
    keys = {name: key for name, key in (keys or {}).items() if name not in options.map}
    changed = [(n, u) for n, u in units.items() if factor(n, u) != 1.0]
    if changed:
        said = ", ".join(
            f"{n} in {u.lstrip('-')}{' (opposite sign)' if u[0] == '-' else ''}" for n, u in changed
        )
        ours = ", ".join(dict.fromkeys(_OURS[n] for n, _ in changed))
        logger.warning("%s: %s (%s) -> %s", path, said, why, ours)
    elif keys:
        took = ", ".join(f"{name}={key}" for name, key in keys.items() if name != key)
        if took:
            logger.warning("%s: read as %s (%s)", path, took, why)
    return replace(
        options,
        units={**units, **options.units},
        map={**keys, **options.map},
        assumed=(*options.assumed, *keys),
    )


def undeclared(options: ReadOptions, names: Iterable[str], path: Path) -> None:
    """Says that quantities without a declared unit are taken to be in ours."""
    taken = [f"{n} as {_OURS[n]}" for n in names if n in _OURS and n not in options.units]
    if taken:
        logger.warning("%s: units are not declared: %s; say others with --units", path, ", ".join(taken))


def declared_unit(name: str, text: str, key: str, path: Path) -> str:
    """The unit of quantity ``name`` as a file's attribute spells it, in our spelling.

    Raises ``InputError`` for a unit that is not known, with the way out.
    """
    unit = text.strip().lower()
    for pattern, to in _SPELLINGS:
        unit = re.sub(pattern, to, unit)
    if name not in VOCABULARY and name != "positions":
        return text
    try:
        factor(name, unit)
    except InputError:
        raise InputError(
            f"{key!r} is declared in {text[:40]!r}, a unit that is not known for {name}; say it with --units {name}=UNIT",
            str(path),
        ) from None
    return unit
