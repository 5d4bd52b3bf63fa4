"""Crystals at the minima of their potentials, with properties, and frames near by: what the crystal corpus lacks.

Small cells drawn as those of ``crystal_corpus.py`` (elements, ordered compounds, solid solutions, oxides with like cations) are
shaken a little, so that no symmetry holds them on a saddle, and relaxed, atoms and cell. What does not converge, collapses or is
unstable is left out and counted. A minimum carries energy, forces, stress and ``PROPERTIES``; its frames are supercells with
small displacements and strains. Pairs of composition and prototype are drawn once; the group of a record is that pair, as in the
crystal corpus, so that splits by group agree.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from ..excluding import composition, identities_of
from ..graph import Graph
from ..quantities import Quantity
from . import crystal_structures as structures
from .chunked import Made, build_store
from .corpus import Order, shared
from .crystal_corpus import LEVELS, MAX_FORCE, MAX_STRESS, NEAREST
from .crystals import BULK_MODULUS, bulk_modulus
from .lattices import build, closest, deform, labelled, reduced_formula, snap
from .oxides import build as build_oxide
from .oxides import materials
from .phonons import squared_wavenumbers
from .potentials import Potential, potential, pressure
from .relaxation import label_in_pieces, relax_all

if TYPE_CHECKING:
    from ase import Atoms

DATASET = "corpus/crystal_minima"
BATCH = 20
Family = Literal["metals", "oxides", "halides", "chalcogenides", "rare-gases"]
FAMILIES: tuple[Family, ...] = get_args(Family)
MOST_ATOMS, MOST_OF_OXIDES, MOST_OF_FRAMES = 12, 22, 32
"""Of a solid solution's cell, of an oxide's, of a frame's supercell (or the cell itself)."""
UNSTABLE = 0.02
"""A mode is imaginary if it is by more than this share of the highest: finite differences and rounded positions leave less."""
FREE_ATOMS = ("metals", "chalcogenides", "rare-gases")
"""Families whose potentials are zero for atoms far apart. Those of ions are not: the energies of free ions are no free atoms'."""
ELEMENTAL = ("metals", "rare-gases")
"""Families whose potentials were fitted to the crystals of the elements."""
PROPERTIES: dict[str, Quantity] = {
    "bulk_modulus": BULK_MODULUS,
    "highest_phonon": Quantity(
        "highest_phonon", "0e", "graph", "1/cm", "highest phonon at the wave vectors of a small supercell"
    ),
    "cohesive_energy": Quantity(
        "cohesive_energy",
        "0e",
        "graph",
        "eV/atom",
        "energy of the free atoms less that of the crystal, per atom",
    ),
    "formation_energy": Quantity(
        "formation_energy", "0e", "graph", "eV/atom", "energy less that of the elements' crystals, per atom"
    ),
}


class MinimaConfig(BaseModel):
    """``configs/corpus/crystal_minima.yaml``. records: drawn of each family, before what repeats or is left out.
    variants_of_each_oxide: the material of ``oxides.py`` itself and with like cations. frames: around each minimum."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: NonNegativeInt
    records: dict[Literal["metals", "halides", "chalcogenides", "rare-gases"], PositiveInt]
    variants_of_each_oxide: NonNegativeInt = 4
    frames: NonNegativeInt = 3


@dataclass(frozen=True)
class Chunk:
    """The crystals of ``family`` with these ``numbers``, which are the seeds of their draws."""

    seed: int
    family: Family
    numbers: tuple[int, ...]
    variants: int
    frames: int


# ---------------------------------------------------------------------- draw
def draw(seed: int, family: Family, number: int, variants: int) -> tuple[str, Atoms] | None:
    """Prototype and ideal crystal of that number; None for an oxide whose cell is too large."""
    rng = _rng(seed, family, number, 0)
    match family:
        case "metals":
            return structures.ideal_metal(rng, structures.METAL_VOLUMES, MOST_ATOMS, repeat=False)
        case "halides":
            return structures.ideal_halide(rng, MOST_ATOMS)
        case "chalcogenides":
            return structures.ideal_chalcogenide(rng, MOST_ATOMS)
        case "rare-gases":
            return structures.ideal_rare_gas(rng, MOST_ATOMS)
        case "oxides":
            name, elements = list(materials())[number // variants]
            atoms = build_oxide(name, elements)
            if number % variants:
                structures.replace_cations(atoms, rng)
            return (name, atoms) if len(atoms) <= MOST_OF_OXIDES else None
    raise AssertionError(family)


def _rng(seed: int, family: Family, number: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([seed, FAMILIES.index(family), number, purpose])


def _group(prototype: str, atoms: Atoms) -> str:
    return f"{reduced_formula(atoms.get_chemical_symbols())}-{prototype}"


def chunks_of(
    config: MinimaConfig, excluded: dict[str, str], scale: float = 1.0
) -> tuple[list[Chunk], dict[str, dict[str, int]]]:
    """The crystals to make, each pair of composition and prototype once, in pieces of ``BATCH``; and the counts of what was
    drawn, repeated, too large or excluded. ``excluded``: identity (``excluding.identity``) -> the source that has it."""
    counts = {name: Counter[str]() for name in ("drawn", "left out", "excluded")}
    wanted: dict[Family, int] = dict(config.records)  # type: ignore[arg-type]
    wanted["oxides"] = config.variants_of_each_oxide * len(list(materials()))
    chunks: list[Chunk] = []
    for family in FAMILIES:
        seen: set[str] = set()
        numbers = []
        total = wanted.get(family, 0)
        for number in range(total if total == 0 else max(1, round(total * scale))):
            counts["drawn"][family] += 1
            drawn = draw(config.seed, family, number, config.variants_of_each_oxide)
            if drawn is None:
                counts["left out"][f"{family}: cell too large"] += 1
            elif (source := excluded.get(composition(drawn[1].numbers))) is not None:
                counts["excluded"][source] += 1
            elif (group := _group(*drawn)) in seen:
                counts["left out"][f"{family}: drawn before"] += 1
            else:
                seen.add(group)
                numbers.append(number)
        chunks += [
            Chunk(config.seed, family, tuple(numbers[k : k + BATCH]), config.variants_of_each_oxide, config.frames)
            for k in range(0, len(numbers), BATCH)
        ]  # fmt: skip
    return chunks, {name: dict(counter) for name, counter in counts.items()}


# ---------------------------------------------------------------------- make
def minima_of(chunk: Chunk) -> Made:
    """The minima of one chunk with their properties, each followed by its frames."""
    level = LEVELS[chunk.family]
    chosen = potential(level)
    counts = {name: Counter[str]() for name in ("levels", "minima", "frames", "dropped", "prototypes")}
    graphs: list[Graph] = []
    for number, prototype, atoms in _relaxed(chunk, chosen, counts["dropped"]):
        properties = properties_of(atoms, chunk.family, chosen)
        if properties is None:
            counts["dropped"][f"{chunk.family}: unstable"] += 1
            continue
        near = frames_of(atoms, _rng(chunk.seed, chunk.family, number, 2), chunk.frames)
        group = _group(prototype, atoms)
        for k, (one, label) in enumerate(
            zip([atoms, *near], label_in_pieces(chosen, [atoms, *near]), strict=True)
        ):
            if k and (abs(label.forces).max() > MAX_FORCE or abs(label.stress).max() > MAX_STRESS):
                counts["dropped"][f"{chunk.family}: frame with force or stress too large"] += 1
                continue
            graph = labelled(one, label.energy, label.forces, label.stress, level, group, DATASET)
            graphs.append(_with(graph, properties) if k == 0 else graph)
            counts["levels"][level] += 1
            counts["minima" if k == 0 else "frames"][level] += 1
        counts["prototypes"][f"{level}: {prototype}"] += 1
    return Made(graphs, {name: dict(counter) for name, counter in counts.items()})


def _relaxed(chunk: Chunk, chosen: Potential, dropped: Counter[str]) -> list[tuple[int, str, Atoms]]:
    """(number, prototype, crystal) of the minima that were found; the others are counted."""
    started = []
    for number in chunk.numbers:
        drawn = draw(chunk.seed, chunk.family, number, chunk.variants)
        assert drawn is not None
        started.append((number, *drawn))
    crystals = [atoms for _, _, atoms in started]
    if chunk.family == "oxides":
        _scale_all(crystals, chosen)
    for number, _, atoms in started:
        deform(atoms, _rng(chunk.seed, chunk.family, number, 1), (0.99, 1.01), 0.005, (0.03, 0.03))
    found = []
    for one, converged in zip(started, relax_all(crystals, chosen), strict=True):
        if not converged:
            dropped[f"{chunk.family}: not relaxed"] += 1
        elif closest(one[2]) < NEAREST * structures.shortest_bond(one[2], chunk.family):
            dropped[f"{chunk.family}: collapsed"] += 1
        else:
            snap(one[2])
            found.append(one)
    return found


def _scale_all(crystals: list[Atoms], chosen: Potential) -> None:
    """The size of lowest energy of a few, in place: the lengths of a prototype are those of one of its materials."""
    factors = np.linspace(0.88, 1.27, 14)
    scaled = []
    for atoms in crystals:
        for factor in factors:
            scaled.append(atoms.copy())
            scaled[-1].set_cell(atoms.cell.array * factor, scale_atoms=True)
    energies = np.array([x.energy for x in label_in_pieces(chosen, scaled)]).reshape(len(crystals), -1)
    for atoms, row in zip(crystals, energies, strict=True):
        atoms.set_cell(atoms.cell.array * factors[int(row.argmin())], scale_atoms=True)


def properties_of(atoms: Atoms, family: Family, chosen: Potential) -> dict[str, float] | None:
    """``PROPERTIES`` of a relaxed crystal, as far as its potential has them; None where a mode is imaginary or the modulus is
    not positive."""
    modulus = bulk_modulus(atoms, pressure=partial(pressure, chosen))
    squared = squared_wavenumbers(atoms, chosen)
    highest = float(squared.max())
    if modulus <= 0 or highest <= 0 or float(squared.min()) < -(UNSTABLE**2) * highest:
        return None
    found = {"bulk_modulus": modulus, "highest_phonon": highest**0.5}
    energy = label_in_pieces(chosen, [atoms])[0].energy / len(atoms)
    if family in FREE_ATOMS:
        found["cohesive_energy"] = -energy
    if family in ELEMENTAL:
        elements = elemental_energies(family)
        mean = float(np.mean([elements[s] for s in atoms.get_chemical_symbols()]))
        found["formation_energy"] = energy - mean
    return found


@cache
def elemental_energies(family: Family) -> dict[str, float]:
    """eV per atom of each element's most stable crystal of fcc, bcc and hcp in the family's potential."""
    chosen = potential(LEVELS[family])
    volumes = structures.METAL_VOLUMES
    if family == "rare-gases":
        volumes = {s: d**3 * 0.5**0.5 for s, d in structures.ATOMIC_SPACING.items()}
    crystals = [build(name, (s,), volumes) for s in volumes for name in ("fcc", "bcc", "hcp")]
    relax_all(crystals, chosen)
    lowest: dict[str, float] = {}
    for atoms, label in zip(crystals, label_in_pieces(chosen, crystals), strict=True):
        symbol = atoms[0].symbol
        lowest[symbol] = min(lowest.get(symbol, np.inf), label.energy / len(atoms))
    return lowest


def frames_of(atoms: Atoms, rng: np.random.Generator, count: int) -> list[Atoms]:
    """Supercells with displacements of 0.01 to 0.12 angstrom (root mean square of a component, even in its logarithm) and
    strains of up to about 3 %."""
    found = []
    for _ in range(count):
        frame = structures.repeated(rng, atoms, most=MOST_OF_FRAMES)
        width = float(np.exp(rng.uniform(np.log(0.01), np.log(0.12))))
        deform(frame, rng, (0.95, 1.05), float(rng.uniform(0, 0.01)), (width, width))
        found.append(frame)
    return found


def _with(graph: Graph, properties: dict[str, float]) -> Graph:
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in properties.items()}
    return replace(
        graph,
        quantities={**graph.quantities, **values},
        properties={name: PROPERTIES[name] for name in properties},
    )


def build_minima(config: MinimaConfig, order: Order) -> dict[str, Any]:
    """The store and its report. Raises ``InputError`` for what the sources of ``without`` and :func:`.chunked.build_store`
    refuse."""
    excluded = identities_of(order.without)
    chunks, counts = chunks_of(config, excluded, order.scale)
    names = hashlib.sha256("\n".join(sorted(excluded)).encode()).hexdigest()
    report: dict[str, Any] = {
        "seed": config.seed, "share of the chunks": list(order.share),
        "compositions left out": dict(Counter(excluded.values())), **counts,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "ase")},
    }  # fmt: skip
    return build_store(
        order.out, shared(chunks, order), minima_of,
        recipe={**report, "excluded": names}, source=f"atomfield.data.generate/{DATASET}", report=report,
        num_processes=order.jobs, progress=order.progress,
    )  # fmt: skip
