"""Oxides of the corpus: prototypes by space group, and which elements stand in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from .potential_constants import OXIDES

if TYPE_CHECKING:
    from ase import Atoms

Site = tuple[str, tuple[float, float, float]]
ANGLES = {"cubic": (90.0, 90.0, 90.0), "hexagonal": (90.0, 90.0, 120.0)}


@dataclass(frozen=True)
class Prototype:
    """A structure type: space group (and its setting), sites with the letters A, B and O in fractional coordinates, starting
    lengths a, b, c in angstrom. What is built is relaxed afterwards."""

    group: int
    sites: tuple[Site, ...]
    lengths: tuple[float, float, float]
    angles: str = "cubic"
    setting: int = 1


T = 1 / 3
PROTOTYPES: dict[str, Prototype] = {
    "rocksalt": Prototype(225, (("A", (0, 0, 0)), ("O", (0.5, 0.5, 0.5))), (4.2, 4.2, 4.2)),
    "wurtzite": Prototype(
        186, (("A", (T, 2 * T, 0)), ("O", (T, 2 * T, 0.38))), (3.1, 3.1, 5.0), "hexagonal"
    ),
    "antifluorite": Prototype(225, (("A", (0.25, 0.25, 0.25)), ("O", (0, 0, 0))), (4.7, 4.7, 4.7)),
    "fluorite": Prototype(225, (("A", (0, 0, 0)), ("O", (0.25, 0.25, 0.25))), (5.1, 5.1, 5.1)),
    "rutile": Prototype(136, (("A", (0, 0, 0)), ("O", (0.305, 0.305, 0))), (4.6, 4.6, 3.0)),
    "quartz": Prototype(
        152, (("A", (0.47, 0, T)), ("O", (0.414, 0.267, 0.214))), (4.91, 4.91, 5.4), "hexagonal"
    ),
    "cuprite": Prototype(224, (("A", (0.25, 0.25, 0.25)), ("O", (0, 0, 0))), (4.3, 4.3, 4.3)),
    "corundum": Prototype(
        167, (("A", (0, 0, 0.352)), ("O", (0.306, 0, 0.25))), (4.9, 4.9, 13.4), "hexagonal"
    ),
    "bixbyite": Prototype(
        206, (("A", (0.25, 0.25, 0.25)), ("A", (0.968, 0, 0.25)), ("O", (0.391, 0.154, 0.38))), (10.2, 10.2, 10.2)
    ),
    "A-R2O3": Prototype(
        164,
        (("A", (T, 2 * T, 0.246)), ("O", (0, 0, 0)), ("O", (T, 2 * T, 0.647))),
        (3.83, 3.83, 6.0),
        "hexagonal",
    ),
    "berlinite": Prototype(
        152,
        (("A", (0.466, 0, T)), ("B", (0.467, 0, 5 / 6)), ("O", (0.416, 0.292, 0.398)), ("O", (0.416, 0.258, 0.884))),
        (4.94, 4.94, 10.97),
        "hexagonal",
    ),
    "ilmenite": Prototype(
        148, (("A", (0, 0, 0.355)), ("B", (0, 0, 0.146)), ("O", (0.317, 0.023, 0.245))), (5.0, 5.0, 14.0), "hexagonal"
    ),
    "perovskite": Prototype(
        221, (("A", (0, 0, 0)), ("B", (0.5, 0.5, 0.5)), ("O", (0.5, 0.5, 0))), (3.95, 3.95, 3.95)
    ),
    "spinel": Prototype(
        227, (("A", (0.125, 0.125, 0.125)), ("B", (0.5, 0.5, 0.5)), ("O", (0.2625, 0.2625, 0.2625))),
        (8.3, 8.3, 8.3), setting=2,
    ),
    "layered": Prototype(
        166, (("A", (0, 0, 0.5)), ("B", (0, 0, 0)), ("O", (0, 0, 0.24))), (2.9, 2.9, 14.2), "hexagonal"
    ),
    "delafossite": Prototype(
        166, (("A", (0, 0, 0)), ("B", (0, 0, 0.5)), ("O", (0, 0, 0.11))), (2.95, 2.95, 17.1), "hexagonal"
    ),
    "zircon": Prototype(
        141, (("A", (0, 0.75, 0.125)), ("B", (0, 0.25, 0.375)), ("O", (0, 0.066, 0.195))), (6.7, 6.7, 6.0), setting=2
    ),
    "olivine": Prototype(
        62,
        (
            ("A", (0, 0, 0)), ("A", (0.277, 0.25, 0.991)), ("B", (0.094, 0.25, 0.426)), ("O", (0.092, 0.25, 0.766)),
            ("O", (0.447, 0.25, 0.221)), ("O", (0.163, 0.033, 0.277)),
        ),
        (10.2, 5.98, 4.76),
    ),
    "pyrochlore": Prototype(
        227,
        (("A", (0.5, 0.5, 0.5)), ("B", (0, 0, 0)), ("O", (0.33, 0.125, 0.125)), ("O", (0.375, 0.375, 0.375))),
        (10.3, 10.3, 10.3), setting=2,
    ),
}  # fmt: skip
"""Fractional coordinates from the textbook structures (Wyckoff, *Crystal Structures*)."""
ONE, TWO, THREE, FOUR = (
    ("Li",),
    ("Mg", "Mn", "Co", "Ni", "Zn"),
    ("Al", "Cr", "Fe"),
    ("Ti", "Sn", "Ge", "Zr"),
)
MATERIALS: dict[str, tuple[tuple[str, ...], ...]] = {
    "rocksalt": (("Mg", "Ca", "Sr", "Ba", "Mn", "Co", "Ni"),),
    "wurtzite": (("Be", "Zn"),),
    "antifluorite": (("Li",),),
    "fluorite": (("Zr",),),
    "rutile": (("Ti", "Sn", "Ge"),),
    "quartz": (("Si", "Ge"),),
    "cuprite": (("Cu", "Ag"),),
    "corundum": (THREE,),
    "bixbyite": (("Sc", "Gd", "Er"),),
    "A-R2O3": (("Nd", "Gd"),),
    "berlinite": (THREE, ("P",)),
    "ilmenite": (TWO, ("Ti", "Ge", "Sn")),
    "perovskite": (("Ca", "Sr", "Ba"), ("Ti", "Zr", "Sn")),
    "spinel": (TWO, (*THREE, "Sc")),
    "layered": (ONE, (*THREE, "Sc", "Er", "Gd", "Nd")),
    "delafossite": (("Cu", "Ag"), (*THREE, "Sc", "Er", "Gd", "Nd")),
    "zircon": (("Zr",), ("Si", "Ge")),
    "olivine": (("Mg", "Mn", "Co", "Ni", "Zn", "Ca"), ("Si", "Ge")),
    "pyrochlore": (("Nd", "Gd", "Er"), ("Ti", "Sn", "Zr")),
}
"""Prototype -> elements that may stand at A and at B, all combinations of them."""
MORE: tuple[tuple[str, tuple[str, ...]], ...] = (
    *(("perovskite", (a, b)) for a in ("Nd", "Gd") for b in (*THREE, "Sc")),
    *(("spinel", (a, b)) for a in ("Ge", "Sn", "Ti") for b in TWO),
    *(("zircon", (a, "P")) for a in ("Sc", "Er", "Gd", "Nd")),
    ("olivine", ("Al", "Be")),
)
"""The same with other charges at the sites."""


def materials() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every (prototype, elements at A and B)."""
    for name, choices in MATERIALS.items():
        for elements in product(*choices):
            yield name, elements
    yield from MORE


def build(name: str, elements: tuple[str, ...], lengths: tuple[float, float, float] | None = None) -> Atoms:
    """The primitive cell of a prototype; ``lengths`` of the conventional cell where they are known (angstrom)."""
    from ase.spacegroup import crystal

    p = PROTOTYPES[name]
    symbols = ["O" if letter == "O" else elements["AB".index(letter)] for letter, _ in p.sites]
    return crystal(
        symbols,
        [xyz for _, xyz in p.sites],
        spacegroup=p.group,
        setting=p.setting,
        cellpar=(*(lengths or p.lengths), *ANGLES[p.angles]),
        primitive_cell=True,
    )


def charge(symbols: list[str]) -> float:
    """The total charge in e."""
    return sum(OXIDES[s][0] for s in symbols)
