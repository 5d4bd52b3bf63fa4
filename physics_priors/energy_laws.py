"""Energies between atoms as laws: what they leave of a label is the residual, what they say alone is the analytic term.

    residual = E_label - E(pairs; constants)        [G] eV

So the constants of a potential are identified by the same gradient as those of a field, and the remainder is what a network
learns beside the term. Each energy stands in its own file; D3 and charges need tables or charges of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from .buckingham import buckingham
from .law import Law, rms
from .lennard_jones import lennard_jones
from .morse import morse
from .pairs import PairEdges
from .zbl import zbl

EnergyLawName = Literal["lennard_jones", "morse", "buckingham", "zbl"]


def energy_law(name: EnergyLawName) -> Law[PairEdges]:
    """The law of that name; it explains ``energy [G]`` in eV and reads nothing but the pairs."""
    match name:
        case "lennard_jones":
            return _of_energy(name, lennard_jones, ("epsilon", "sigma"))
        case "morse":
            return _of_energy(name, morse, ("depth", "steepness", "length"))
        case "buckingham":
            return _of_energy(name, buckingham, ("strength", "range", "dispersion"))
        case "zbl":
            return _of_energy(name, zbl, ())


def _of_energy(name: str, energy: Callable[..., Tensor], constants: tuple[str, ...]) -> Law[PairEdges]:
    return Law(
        name,
        lambda pairs, _, e, c: e["energy"] - energy(pairs, *[c[k] for k in constants]),
        lambda pairs, _, e: rms(e["energy"]),
        reads=(),
        explains=("energy",),
        constants=constants,
        order=0,
    )
