"""The vocabulary: every physical quantity and condition once, with irreps and parity, support, unit, extensivity.

Values are Cartesian wherever they rest (files, store, ``Graph``); ``to_irreps`` and ``from_irreps`` are the one
change of basis at the model's door. Component counts of the Cartesian form per node or graph:

====================  ==========  ===================================================================
irreps                shape       examples
====================  ==========  ===================================================================
``0e`` ``0o``         ``[]``      energy, pressure, charge; helicity
``1o`` ``1e``         ``[3]``     force, velocity, dipole; vorticity, magnetic field
``0e+2e``             ``[3, 3]``  stress, polarisability (symmetric)
``0e+1e+2e``          ``[3, 3]``  a velocity gradient, a Born charge (any second-rank tensor)
``2x0e+2x2e+4e``      ``[6, 6]``  elastic tensor in Voigt's order xx, yy, zz, yz, xz, xy
``Nx0e``              ``[N]``     a spectrum, a density of states
any other             ``[D]``     the D components in e3nn's order, as they are
====================  ==========  ===================================================================

Units follow ASE for atoms (eV, angstrom, e, amu, K; stress positive in tension, eV/angstrom^3). Field quantities
are in the units that their record declares; ``unit`` is then ``"field"``.
"""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Support = Literal["node", "graph"]


CARTESIAN: dict[str, tuple[int, ...]] = {
    "0e": (),
    "0o": (),
    "1o": (3,),
    "1e": (3,),
    "0e+2e": (3, 3),
    "0e+1e+2e": (3, 3),
    "2x0e+2x2e+4e": (6, 6),
}
"""Irreps whose values have a Cartesian form, with its shape."""
MAX_DEGREE = 8


@lru_cache(maxsize=1000)
def parse_irreps(text: str) -> tuple[tuple[int, int, int], ...]:
    """``"2x0e+1o"`` -> ((2, 0, 1), (1, 1, -1)): multiplicity, degree, parity. Raises ``ValueError``."""
    parts = []
    for piece in text.split("+"):
        found = re.fullmatch(r"(?:(\d+)x)?(\d+)([eo])", piece.strip())
        if found is None or int(found[1] or 1) < 1 or int(found[2]) > MAX_DEGREE:
            raise ValueError(
                f"irreps {text!r} are not readable, expected such as 0e, 1o, 0e+2e, 51x0e or 2x0e+2x2e+4e"
            )
        parts.append((int(found[1] or 1), int(found[2]), 1 if found[3] == "e" else -1))
    return tuple(parts)


def shape_of(irreps: str) -> tuple[int, ...]:
    """Shape of one value: Cartesian where there is such a form, else ``(D,)``."""
    if irreps in CARTESIAN:
        return CARTESIAN[irreps]
    return (sum(count * (2 * l + 1) for count, l, _ in parse_irreps(irreps)),)


@dataclass(frozen=True)
class Quantity:
    """One entry of the vocabulary.

    ``irreps``: O(3) content with parity. ``support``: one value per node or per graph. ``unit``: as stored.
    ``extensive``: adds up over separated parts (graph quantities only). ``synonyms``: keys that files commonly use;
    they are suggestions for ``--map`` and, when ``trusted``, read without being named.
    """

    name: str
    irreps: str
    support: Support
    unit: str
    meaning: str
    extensive: bool = False
    synonyms: tuple[str, ...] = ()
    trusted: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Cartesian shape of one value, by the table above."""
        return shape_of(self.irreps)

    @property
    def components(self) -> int:
        """Number of stored Cartesian numbers per value: 1, 3, 9, ..."""
        return math.prod(self.shape)


_ATOMS = (
    Quantity(
        "energy",
        "0e",
        "graph",
        "eV",
        "potential energy of the whole structure",
        True,
        ("REF_energy", "dft_energy", "E", "total_energy", "free_energy", "Energy", "U0"),
        ("energy",),
    ),
    Quantity(
        "forces",
        "1o",
        "node",
        "eV/angstrom",
        "minus the gradient of the energy",
        synonyms=("REF_forces", "dft_forces", "force", "F", "Forces"),
        trusted=("forces",),
    ),
    Quantity(
        "stress",
        "0e+2e",
        "graph",
        "eV/angstrom^3",
        "strain derivative of the energy per volume, ASE's sign",
        synonyms=("REF_stress", "dft_stress"),
        trusted=("stress",),
    ),
    Quantity(
        "dipole",
        "1o",
        "graph",
        "e*angstrom",
        "electric dipole; of ions: about the centre of mass",
        synonyms=("REF_dipole", "mu", "dipole_moment"),
        trusted=("dipole",),
    ),
    Quantity(
        "polarizability", "0e+2e", "graph", "angstrom^3", "static electric polarisability", True, ("alpha",)
    ),
    Quantity(
        "charges",
        "0e",
        "node",
        "e",
        "atomic partial charges",
        synonyms=("mulliken_charges", "q", "initial_charges"),
        trusted=("charges",),
    ),
    Quantity(
        "fragment_charge",
        "0e",
        "node",
        "e",
        "total charge of the separate molecule or ion that the atom belongs to; read instead of the condition charge",
        trusted=("fragment_charge",),
    ),
    Quantity(
        "fragment_spin",
        "0e",
        "node",
        "1",
        "unpaired electrons of the separate molecule or ion that the atom belongs to; read instead of the condition spin",
        trusted=("fragment_spin",),
    ),
    Quantity("magmoms", "0e", "node", "mu_B", "collinear atomic magnetic moments", trusted=("magmoms",)),
    Quantity(
        "displacement_noise", "1o", "node", "angstrom", "noise added to positions, the target of denoising"
    ),
    Quantity(
        "given_forces",
        "1o",
        "node",
        "eV/angstrom",
        "forces as an input: those that were before positions were disturbed",
    ),
)
_FIELDS = (
    Quantity(
        "velocity", "1o", "node", "field", "flow velocity", synonyms=("u", "U", "vel"), trusted=("velocity",)
    ),
    Quantity(
        "vorticity",
        "1e",
        "node",
        "field",
        "curl of the velocity (in 2D along z)",
        synonyms=("omega", "w", "vort"),
        trusted=("vorticity",),
    ),
    Quantity(
        "pressure",
        "0e",
        "node",
        "field",
        "kinematic pressure, zero mean where periodic",
        synonyms=("p",),
        trusted=("pressure",),
    ),
    Quantity(
        "concentration",
        "0e",
        "node",
        "field",
        "advected scalar",
        synonyms=("c", "scalar", "tracer", "phi"),
        trusted=("concentration",),
    ),
    Quantity(
        "temperature",
        "0e",
        "node",
        "field",
        "temperature",
        synonyms=("T", "temp", "tas", "sst"),
        trusted=("temperature",),
    ),
    Quantity("density", "0e", "node", "field", "mass density", synonyms=("rho",), trusted=("density",)),
    Quantity(
        "depth",
        "0e",
        "node",
        "field",
        "depth of shallow water",
        synonyms=("h",),
        trusted=("depth",),
    ),
    Quantity(
        "second_concentration",
        "0e",
        "node",
        "field",
        "concentration of the second of two species that react",
        trusted=("second_concentration",),
    ),
    Quantity(
        "permeability",
        "0e",
        "node",
        "field",
        "coefficient of a Darcy or diffusion problem",
        synonyms=("a", "coefficient"),
        trusted=("permeability",),
    ),
    Quantity(
        "solution",
        "0e",
        "node",
        "field",
        "scalar solution of a partial differential equation",
        synonyms=("y", "sol"),
        trusted=("solution",),
    ),
    Quantity(
        "solution_before",
        "0e",
        "node",
        "field",
        "solution one step earlier: what is of second order in time cannot be judged without; made from trajectories",
    ),
    Quantity(
        "magnetic_field",
        "1e",
        "node",
        "field",
        "magnetic flux density",
        synonyms=("B",),
        trusted=("magnetic_field",),
    ),
    Quantity(
        "normal", "1o", "node", "1", "outward unit normal of a wall, zero elsewhere", trusted=("normal",)
    ),
    Quantity("gravity", "1o", "graph", "field", "uniform body force", synonyms=("g",), trusted=("gravity",)),
    Quantity(
        "inflow",
        "1o",
        "graph",
        "field",
        "velocity far upstream, which no point of an open domain may show",
        synonyms=("freestream", "U_inf", "u_inf"),
        trusted=("inflow",),
    ),
)
VOCABULARY: dict[str, Quantity] = {q.name: q for q in _ATOMS + _FIELDS}
FIELD_STATES: tuple[str, ...] = (
    "velocity",
    "vorticity",
    "pressure",
    "concentration",
    "temperature",
    "density",
    "solution",
    "magnetic_field",
    "depth",
    "second_concentration",
)
"""Quantities of a field that evolve in time, in the order of the model's channels."""
FIELD_INPUTS: tuple[str, ...] = (*FIELD_STATES, "permeability", "normal", "gravity", "inflow")
"""Quantities of a field that the model reads."""
EARLIER_STATES = {"solution": "solution_before"}
"""States whose value one step earlier stands beside a step, where the record has it: state -> its name there."""
DIRECTIONS = ("gravity", "inflow")
"""Vectors of a whole record that name a direction, the first that is there."""


@dataclass(frozen=True)
class Condition:
    """A number that describes the system or the step. Missing (NaN) is a state of its own, never zero.

    ``scale``: how the model reads it, ``"signed"`` (asinh), ``"log"`` (positive, spans decades). ``special``: a constant of one
    equation; a network reads it only where its training records have it, so that the others keep their size.
    """

    name: str
    unit: str
    scale: Literal["signed", "log"]
    meaning: str
    special: bool = False


CONDITIONS: dict[str, Condition] = {
    c.name: c
    for c in (
        Condition("charge", "e", "signed", "total charge"),
        Condition("spin", "1", "signed", "number of unpaired electrons"),
        Condition("dt", "field", "log", "time between a state and the next one"),
        Condition("viscosity", "field", "log", "kinematic viscosity"),
        Condition(
            "diffusivity", "field", "log", "diffusivity of the scalar, of two species that of the first"
        ),
        Condition("diffusion_number", "1", "log", "(viscosity or diffusivity) * dt / spacing^2"),
        Condition(
            "dt_over_spacing", "field", "log", "dt / spacing; times a velocity it is the Courant number"
        ),
        Condition(
            "wave_speed", "field", "log", "speed of sound, or of long waves on still water, sqrt(g depth)"
        ),
        Condition("reaction_rate", "field", "log", "reactions per time; feed and loss are in units of it"),
        Condition("feed", "1", "log", "inflow of the first species over the reaction rate (Gray-Scott's F)"),
        Condition("kill", "1", "log", "loss of the second species over the reaction rate (Gray-Scott's k)"),
        Condition("advection", "field", "signed", "a in a u du/dx of a wave u (Korteweg-de Vries)", True),
        Condition("dispersion", "field", "signed", "b in b d3u/dx3 (Korteweg-de Vries)", True),
        Condition(
            "antidiffusivity",
            "field",
            "log",
            "b in b laplacian(u), which lets u grow (Kuramoto-Sivashinsky)",
            True,
        ),
        Condition(
            "hyperdiffusivity", "field", "log", "c in c laplacian(laplacian(u)) (Kuramoto-Sivashinsky)", True
        ),
        Condition(
            "double_well_rate", "field", "log", "r in r (u - u^3), phases at u = +-1 (Allen-Cahn)", True
        ),
        Condition("source", "field", "signed", "f of -div(k grad u) = f, the same everywhere (Darcy)", True),
    )
}
READ_ALWAYS: tuple[str, ...] = tuple(n for n, c in CONDITIONS.items() if not c.special)
"""Conditions that every network reads."""


PER_FRAGMENT = {"charge": "fragment_charge", "spin": "fragment_spin"}
"""Conditions of a system of atoms that may be known for each of its fragments: condition -> quantity of nodes."""


def quantity(name: str) -> Quantity:
    """The entry called ``name``; raises ``KeyError`` that names the nearest entries."""
    if name not in VOCABULARY:
        near = difflib.get_close_matches(name, VOCABULARY, n=3, cutoff=0.5)
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        raise KeyError(f"quantity {name!r} is not in the vocabulary{hint}")
    return VOCABULARY[name]


def scalar_property(name: str, unit: str = "", extensive: bool = False) -> Quantity:
    """A user's own scalar target per graph (a CSV column, say): ``0e`` with the name it has in the file."""
    return VOCABULARY.get(name) or Quantity(name, "0e", "graph", unit, "user-defined scalar", extensive)


PER_ATOM = "/atom"


def declared_property(name: str, declaration: str, unit: str = "") -> Quantity:
    """A user's own target by what it is declared as: irreps, and ``/atom`` for one value per atom, e.g. ``0e+1e+2e/atom``.

    Raises ``ValueError`` for what cannot be read, and where the vocabulary says otherwise of that name.
    """
    irreps = declaration.strip().removesuffix(PER_ATOM).replace(" ", "")
    parse_irreps(irreps)
    support: Support = "node" if declaration.strip().endswith(PER_ATOM) else "graph"
    known = VOCABULARY.get(name)
    if known is not None and (known.irreps, known.support) != (irreps, support):
        has = known.irreps + (PER_ATOM if known.support == "node" else "")
        raise ValueError(
            f"{name!r} is {has} in the vocabulary, found {declaration!r}; give it a name of its own"
        )
    return known or Quantity(name, irreps, support, unit, "user-defined property")


def suggestions(key: str) -> list[str]:
    """Vocabulary names that an unrecognised file key may stand for, best first."""
    by_synonym = [q.name for q in VOCABULARY.values() if key in q.synonyms]
    by_case = [
        q.name for q in VOCABULARY.values() if key.lower() in {s.lower() for s in (q.name, *q.synonyms)}
    ]
    near = difflib.get_close_matches(key.lower(), VOCABULARY, n=2, cutoff=0.6)
    return list(dict.fromkeys([*by_synonym, *by_case, *near]))
