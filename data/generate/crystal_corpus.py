"""The labelled crystals of the pretraining corpus: metals and alloys, oxides, halides, chalcogenides, rare gases.

Every potential of ``potentials.py`` is a level of its own, beside effective medium theory and the insulators of GFN1-xTB. A
record is a prototype or a random solid solution on its sites, as a supercell of at most 40 atoms, pressed or stretched, sheared,
rattled, now and then with vacancies (of ions: neutral ones), an interstitial or a surface. Compositions that another source has
are left out before anything is labelled. Most records are alloys and solid solutions, which few data sets have.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from ..excluding import composition, identities_of
from ..graph import Graph
from . import crystal_structures as structures
from .chunked import Made, build_store
from .corpus import Order, shared
from .lattices import closest, labelled, reduced_formula
from .oxides import materials
from .potential_checks import checks
from .potentials import Potential, label_all, potential

if TYPE_CHECKING:
    from ase import Atoms

DATASET = "corpus/crystals"
BATCH = 50
Family = Literal["metals", "emt", "oxides", "halides", "chalcogenides", "rare-gases", "insulators"]
FAMILIES: tuple[Family, ...] = get_args(Family)
LEVELS: dict[str, str] = {
    "metals": "eam-zhou-2004",
    "oxides": "pedone-2006",
    "halides": "joung-cheatham-2008",
    "chalcogenides": "sw-zhou-2013",
    "rare-gases": "lj-bernardes-1958",
}
MAX_FORCE, MAX_STRESS = 30.0, 1.0
"""Records with a larger force (eV/angstrom) or stress (eV/angstrom^3) are left out."""
NEAREST = 0.7
"""Records with two atoms closer than this share of the shortest bond of their elements are left out before they are labelled."""


class CrystalsConfig(BaseModel):
    """``configs/corpus/crystals.yaml``. records: drawn of each family. frames_of_each_oxide: of each material in ``oxides.py``.
    insulators: whether those of the starter corpus are in it. checks: whether the potentials are compared with published
    crystals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: NonNegativeInt
    records: dict[Literal["metals", "emt", "halides", "chalcogenides", "rare-gases"], PositiveInt]
    frames_of_each_oxide: NonNegativeInt = 28
    insulators: bool = True
    checks: bool = True


@dataclass(frozen=True)
class Chunk:
    """``count`` records of a family; ``material``: prototype and elements of an oxide."""

    seed: int
    family: Family
    first: int
    count: int
    material: tuple[str, tuple[str, ...]] | None = None


def chunks_of(config: CrystalsConfig, scale: float = 1.0) -> list[Chunk]:
    """The records of the config, times ``scale``, in pieces of at most ``BATCH``."""
    found: list[Chunk] = []
    for family, wanted in config.records.items():
        total = max(1, round(wanted * scale))
        found += [
            Chunk(config.seed, family, first, min(BATCH, total - first)) for first in range(0, total, BATCH)
        ]
    if config.frames_of_each_oxide:
        frames = max(1, round(config.frames_of_each_oxide * scale))
        found += [
            Chunk(config.seed, "oxides", number, frames, material)
            for number, material in enumerate(materials())
        ]
    return [*found, Chunk(config.seed, "insulators", 0, 0)] if config.insulators else found


def crystals_of(chunk: Chunk, excluded: dict[str, str]) -> Made:
    """The graphs of one chunk; ``excluded``: identity (``excluding.identity``) -> the source that has it."""
    if chunk.family == "insulators":
        return _insulators(excluded)
    tally = {name: Counter[str]() for name in ("levels", "prototypes", "dropped", "excluded")}
    rng = np.random.default_rng([chunk.seed, FAMILIES.index(chunk.family), chunk.first])
    made: list[tuple[str, Atoms]] = []
    for prototype, atoms in _structures(chunk, rng, tally["dropped"]):
        source = excluded.get(composition(atoms.numbers))
        if source is not None:
            tally["excluded"][source] += 1
        elif closest(atoms) < NEAREST * structures.shortest_bond(atoms, chunk.family):
            tally["dropped"][f"{chunk.family}: atoms too close"] += 1
        else:
            made.append((prototype, atoms))
    graphs = []
    for (prototype, atoms), label in zip(made, _labels(chunk.family, [a for _, a in made]), strict=True):
        energy, forces, stress, level = label
        if abs(forces).max() > MAX_FORCE or abs(stress).max() > MAX_STRESS:
            tally["dropped"][f"{chunk.family}: force or stress too large"] += 1
            continue
        group = f"{reduced_formula(atoms.get_chemical_symbols())}-{prototype}"
        graphs.append(labelled(atoms, energy, forces, stress, level, group, DATASET))
        tally["levels"][level] += 1
        tally["prototypes"][f"{level}: {prototype}"] += 1
    return Made(graphs, {name: dict(counter) for name, counter in tally.items()})


def _structures(chunk: Chunk, rng: np.random.Generator, dropped: Counter[str]) -> list[tuple[str, Atoms]]:
    match chunk.family:
        case "metals":
            return [structures.metal(rng, structures.METAL_VOLUMES) for _ in range(chunk.count)]
        case "emt":
            return [structures.emt_alloy(rng) for _ in range(chunk.count)]
        case "halides":
            return [structures.halide(rng) for _ in range(chunk.count)]
        case "chalcogenides":
            return [structures.chalcogenide(rng) for _ in range(chunk.count)]
        case "rare-gases":
            return [structures.rare_gas(rng) for _ in range(chunk.count)]
        case "oxides":
            assert chunk.material is not None
            name, elements = chunk.material
            relaxed = structures.relaxed_oxide(name, elements, potential(LEVELS["oxides"]))
            if relaxed is None:
                dropped["oxides: not relaxed: " + name + " " + "".join(elements)] += 1
                return []
            return [(name, structures.oxide(relaxed, rng, perfect=k == 0)) for k in range(chunk.count)]
    raise AssertionError(chunk.family)


def _labels(family: str, crystals: list[Atoms]) -> list[tuple[float, np.ndarray, np.ndarray, str]]:
    """(energy, forces, stress, level) of each."""
    if family != "emt":
        level = LEVELS[family]
        return [(x.energy, x.forces, x.stress, level) for x in _in_batches(potential(level), crystals)]
    from ase.calculators.emt import EMT

    found = []
    for atoms in crystals:
        atoms.calc = EMT()
        found.append(
            (float(atoms.get_potential_energy()), atoms.get_forces(), atoms.get_stress(voigt=False), "emt")
        )
    return found


def _in_batches(chosen: Potential, crystals: list[Atoms], size: int = 25) -> list[Any]:
    return [x for k in range(0, len(crystals), size) for x in label_all(chosen, crystals[k : k + size])]


def _insulators(excluded: dict[str, str]) -> Made:
    """Those of the starter corpus that no other source has: their level is too costly to label more of it."""
    from ..source import open_source

    kept: list[Graph] = []
    counts: dict[str, Counter[str]] = {"levels": Counter(), "excluded": Counter(), "prototypes": Counter()}
    for graph in open_source("starter/crystals"):
        if graph.level != "gfn1-xtb-pbc":
            continue
        source = excluded.get(composition(graph.species.numpy()))
        if source is not None:
            counts["excluded"][source] += 1
            continue
        kept.append(replace(graph, dataset=DATASET))
        counts["levels"][graph.level] += 1
        counts["prototypes"][f"{graph.level}: {graph.group.split('-', 1)[1]}"] += 1
    return Made(kept, {name: dict(counter) for name, counter in counts.items()})


def build_crystals(config: CrystalsConfig, order: Order) -> dict[str, Any]:
    """The store and its report, with the checks of every potential. Raises ``InputError`` for what the sources of ``without`` and
    :func:`.chunked.build_store` refuse."""
    excluded = identities_of(order.without)
    names = hashlib.sha256("\n".join(sorted(excluded)).encode()).hexdigest()
    report: dict[str, Any] = {
        "seed": config.seed, "share of the chunks": list(order.share),
        "compositions left out": dict(Counter(excluded.values())),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "ase")},
    }  # fmt: skip
    recipe = {**report, "excluded": names}
    if config.checks:
        report["checks"] = checks()
    return build_store(
        order.out, shared(chunks_of(config, order.scale), order), partial(crystals_of, excluded=excluded),
        recipe=recipe, source=f"atomfield.data.generate/{DATASET}", report=report,
        num_processes=order.jobs, progress=order.progress,
    )  # fmt: skip
