"""When a run should stop by itself: what a potential has not learnt shows in forces, distances, temperatures and uncertainty.

:func:`reason_to_stop` is the one function that simulations call after every step. It reads what the attached calculator holds
for exactly these positions; nothing of the network is computed again.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from ase import Atoms

EXAMPLE = "--stop-when 'force>50,distance<0.6'"


@dataclass(frozen=True)
class Limits:
    """Beyond any of these a run stops; None is not watched.

    force: eV/angstrom, of any atom. distance: angstrom, of any two atoms, images included. temperature: K.
    uncertainty, ood_score:
    what the calculator's results hold under these names: the standard deviation of the energy (eV), and how far the
    structure lies from
    what training showed.
    """

    force: float | None = None
    distance: float | None = None
    temperature: float | None = None
    uncertainty: float | None = None
    ood_score: float | None = None

    @classmethod
    def parse(cls, terms: tuple[str, ...]) -> Limits:
        """``("force>50", "distance<0.6")``; only a distance has a lower bound."""
        known = [f.name for f in fields(cls)]
        found: dict[str, float] = {}
        for term in terms:
            sign = "<" if "<" in term else ">"
            name, _, number = (part.strip() for part in term.partition(sign))
            wanted = "<" if name == "distance" else ">"
            try:
                value = float(number)
            except ValueError:
                value = float("nan")
            if name not in known or sign != wanted or not (value > 0 and np.isfinite(value)):
                listed = ", ".join(f"{k}{'<' if k == 'distance' else '>'}NUMBER" for k in known)
                raise InputError(
                    f"found {term!r}, expected some of {listed}; for example {EXAMPLE}", "--stop-when"
                )
            if name in found:
                raise InputError(f"found {name} twice, expected one limit of each kind", "--stop-when")
            found[name] = value
        return cls(**found)

    def __bool__(self) -> bool:
        return any(getattr(self, f.name) is not None for f in fields(self))


NOTHING = Limits()
"""Nothing is watched."""


def reason_to_stop(atoms: Atoms, limits: Limits, temperature: float | None = None) -> str:
    """What passed a limit, in words with numbers; empty where nothing did.

    ``atoms`` carry the calculator that has just been asked for their forces. temperature: K, of dynamics.
    Raises ``InputError`` where an uncertainty is watched that the calculator does not give.
    """
    if limits.force is not None:
        norms = np.linalg.norm(atoms.get_forces(), axis=1)
        worst = int(norms.argmax())
        if not norms[worst] <= limits.force:
            return f"the force on atom {worst} is {norms[worst]:.4g} eV/angstrom, more than {limits.force:g}"
    if limits.temperature is not None and temperature is not None and not temperature <= limits.temperature:
        return f"the temperature is {temperature:.4g} K, more than {limits.temperature:g}"
    if limits.distance is not None and (pair := closest_pair(atoms, limits.distance)) is not None:
        i, j, distance = pair
        return f"atoms {i} and {j} are {distance:.3g} angstrom apart, less than {limits.distance:g}"
    for name, limit in (("uncertainty", limits.uncertainty), ("ood_score", limits.ood_score)):
        if limit is None:
            continue
        value = None if atoms.calc is None else atoms.calc.results.get(name)
        if value is None:
            raise InputError(
                f"this model gives no {name}; watch force, distance or temperature", "--stop-when"
            )
        if not float(value) <= limit:
            return f"the {name} is {float(value):.4g}, more than {limit:g}"
    return ""


def closest_pair(atoms: Atoms, within: float) -> tuple[int, int, float] | None:
    """The two closest atoms and their distance (angstrom), images included; None where none are closer than ``within``."""
    import vesin

    from atomfield.data.radius import completed_box

    box = completed_box(atoms.cell.array, atoms.pbc) if atoms.pbc.any() else np.eye(3)
    finder = vesin.NeighborList(cutoff=within, full_list=False)
    first, second, distance = finder.compute(atoms.positions, box, atoms.pbc, "ijd")
    if not len(distance):
        return None
    at = int(np.argmin(distance))
    return int(first[at]), int(second[at]), float(distance[at])
