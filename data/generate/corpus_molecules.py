"""Molecules of the pretraining corpus, labelled by GFN2-xTB: ``corpus/molecules``.

Species come from :mod:`.corpus_species`, which stand together from
:mod:`.complexes`, geometries from :mod:`.corpus_frames`; what a
source of ``--without`` has is left out before anything is computed. Closed shells: level ``gfn2-xtb``. Open shells, broken
bonds as triplets and atoms: spin-polarised, level ``spgfn2-xtb``. Forces, dipoles and charges keep 16 significant bits,
positions lie on a grid of 2^-12 angstrom.
"""

from __future__ import annotations

from collections import Counter
from importlib import metadata
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt

from ..graph import Graph
from .chunked import Made, build_store
from .complexes import complexes
from .corpus import Order, shared
from .corpus_frames import Plan, Sample, labelled_sample
from .corpus_species import EVEN_POOLS, pool, radicals
from .frames import GRID, MAX_FORCE, MIN_GAP, Frame
from .left_out import LeftOut, left_out
from .molecules import molecule_graph
from .species import ATOMS, TASK, Species
from .xtb import require_tblite

Sort = Literal[
    "fragments", "elements", "heavy", "peptides", "bases", "sugars", "ions", "small", "radicals",
    "dimers", "clusters", "metals", "transfers",
]  # fmt: skip
MORE_ATOMS = (
    ("Al", 0, 1), ("Ge", 0, 2), ("As", 0, 3), ("Se", 0, 2), ("Li", 0, 1), ("Na", 0, 1), ("K", 0, 1), ("Mg", 0, 0), ("Ca", 0, 0),
    ("Zn", 0, 0), ("Al", 1, 0), ("Ge", 1, 1), ("As", 1, 2), ("Se", 1, 3), ("Se", -1, 1),
)  # fmt: skip
FORCE_BINS = (0.1, 0.3, 1.0, 3.0, 10.0, MAX_FORCE)
SIZE_BINS = (1, 5, 10, 15, 20, 25, 34)


class SortConfig(BaseModel):
    """One sort of molecules. molecules: how many, or how many pairs or clusters. conformers: samples of each, embedded or put
    together anew. most_atoms: hydrogens included. frames: of each sample."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    molecules: PositiveInt
    conformers: PositiveInt = 1
    most_atoms: PositiveInt = 34
    frames: Plan


class MoleculesConfig(BaseModel):
    """``configs/corpus/molecules.yaml``. atoms: whether isolated atoms are in it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: NonNegativeInt
    dataset: str = "corpus/molecules"
    samples_per_chunk: PositiveInt = 40
    atoms: bool = True
    sorts: dict[Sort, SortConfig]


class Chunk(NamedTuple):
    """Samples that are labelled by one call, and the name of the data set."""

    dataset: str
    samples: tuple[Sample, ...]


def build_molecules(config: MoleculesConfig, order: Order) -> dict[str, Any]:
    """The store and its report. Raises ``InputError`` if tblite is not installed, and for what :func:`.chunked.build_store` and
    :func:`.left_out.left_out` refuse."""
    version = require_tblite()
    most = max(sort.most_atoms for sort in config.sorts.values())
    excluded = left_out(order.without, TASK, most)
    for source, seen in excluded.records.items():
        if order.progress:
            print(f"without {source}: {seen['records']} records, {seen['not read']} not read")
    chunks = shared(chunks_of(config, samples_of(config, excluded, order.scale)), order)
    samples = [sample for chunk in chunks for sample in chunk.samples]
    report = {
        "seed": config.seed,
        "share of the chunks": list(order.share),
        "without": {
            source: {**seen, "species left out": excluded.counts[source]} for source, seen in excluded.records.items()
        },
        "samples": dict(sorted(Counter(s.sort for s in samples).items())),
        "distinct molecules, pairs and clusters": len({frozenset(Counter(s.parts).items()) for s in samples}),
        "max_force_eV_per_angstrom": MAX_FORCE,
        "min_gap_eV": MIN_GAP,
        "position_grid_angstrom": GRID,
        "versions": {"tblite": version, "rdkit": metadata.version("rdkit")},
    }  # fmt: skip
    return build_store(
        order.out, chunks, make,
        recipe=report, source=f"atomfield.data.generate/{config.dataset}", report=report,
        num_processes=order.jobs, progress=order.progress,
    )  # fmt: skip


def samples_of(config: MoleculesConfig, excluded: LeftOut, scale: float = 1.0) -> list[Sample]:
    """All samples in the order of the config: a smaller ``scale`` gives a prefix of each sort. No molecule is left that
    ``excluded`` has, alone or beside others."""
    out: list[Sample] = []
    for number, (sort, wanted) in enumerate(config.sorts.items()):
        groups: list[tuple[Species, ...]]
        if sort in EVEN_POOLS:
            listed = pool(sort, wanted.molecules + wanted.molecules // 5, config.seed, wanted.most_atoms)
            groups = [(s,) for s in excluded.kept(listed)[: wanted.molecules]]
        elif sort == "radicals":
            listed = radicals(wanted.molecules + wanted.molecules // 5, config.seed, wanted.most_atoms)
            groups = [(s,) for s in excluded.kept(listed)[: wanted.molecules]]
        else:
            groups = complexes(sort, wanted.molecules, wanted.most_atoms, config.seed, excluded)
        groups = groups[: max(1, round(len(groups) * min(scale, 1.0)))]
        for k, parts in enumerate(groups):
            for conformer in range(wanted.conformers):
                seed = (config.seed % 100) * 10_000_000 + number * 500_000 + k * 20 + conformer
                out.append(Sample(sort, parts, seed, wanted.frames))
    if config.atoms:
        for k, (symbol, charge, unpaired) in enumerate((*ATOMS, *MORE_ATOMS)):
            sign = "" if charge == 0 else "+" if charge > 0 else "-"
            out.append(
                Sample("atoms", (Species(f"[{symbol}{sign}]", charge, unpaired, 1),), k, Plan(embedded=1))
            )
    return out


def chunks_of(config: MoleculesConfig, samples: list[Sample]) -> list[Chunk]:
    """Shuffled, so that chunks cost about the same and a part of the store is like the whole."""
    order = np.random.default_rng(config.seed).permutation(len(samples))
    size = config.samples_per_chunk
    return [
        Chunk(config.dataset, tuple(samples[i] for i in order[k : k + size]))
        for k in range(0, len(order), size)
    ]


def make(chunk: Chunk) -> Made:
    """The labelled graphs of one chunk."""
    graphs: list[Graph] = []
    counts: dict[str, Counter[str]] = {}

    def count(heading: str, name: str, number: int = 1) -> None:
        counts.setdefault(heading, Counter())[name] += number

    for sample in chunk.samples:
        frames, dropped = labelled_sample(sample)
        for reason, number in dropped.items():
            count("dropped", reason, number)
        for frame, unpaired in frames:
            level = "spgfn2-xtb" if unpaired else "gfn2-xtb"
            graph = molecule_graph(sample.parts, frame, unpaired, level, chunk.dataset)
            graphs.append(graph)
            for heading, name in _described(sample, frame, graph):
                count(heading, name)
    return Made(graphs, {heading: dict(names) for heading, names in counts.items()})


def _described(sample: Sample, frame: Frame, graph: Graph) -> list[tuple[str, str]]:
    """Headings and names under which a record is counted."""
    from ase.data import chemical_symbols

    force = float(np.linalg.norm(frame.label.forces, axis=1).max())
    elements = [chemical_symbols[z] for z in sorted(set(frame.numbers.tolist()))]
    return [
        ("sorts", sample.sort),
        ("frames", frame.kind),
        ("levels", graph.level),
        ("charges", f"{int(graph.conditions['charge']):+d}"),
        ("atoms", _bin(graph.num_nodes, SIZE_BINS)),
        ("largest force, eV/angstrom", _bin(force, FORCE_BINS)),
        *(("graphs with element", f"{graph.level} {symbol}") for symbol in elements),
    ]


def _bin(value: float, edges: tuple[float, ...]) -> str:
    """Its bin, named by the upper end so that names in alphabetical order grow."""
    return f"up to {next((edge for edge in edges if value <= edge), edges[-1]):04.1f}"
