"""Properties of molecules that a store of the corpus already has: ``corpus/molecule_properties``.

One record per molecule of one or more ``--from`` stores: the frame of lowest energy among its closed-shell frames, with its
structure, level, charge and group, and graph properties by GFN2-xTB instead of energy and forces. There is no new geometry,
so that nothing can be in it that was left out of the store. Pairs and clusters (groups with a dot) and single atoms are
passed over.

Solvation energies are single points by ALPB less the gas phase, at the same geometry. They are declared intensive: the model of
solvation has one shift for each molecule, whatever its size, and surfaces do not add up as atoms do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from ..errors import InputError
from ..graph import Graph
from ..quantities import Quantity
from ..source import store_folder
from ..store import Store
from .chunked import Made, build_store
from .corpus import Order, shared
from .frames import MIN_GAP
from .xtb import NotConverged, closed_shell, require_tblite

LEVEL = "gfn2-xtb"
SOLVENTS = ("water", "octanol")
MAX_DIFFERENCE = 1e-4
"""A record whose energy (eV) differs by more from that of its store is dropped: its level would be another one."""
PROPERTIES: dict[str, Quantity] = {
    name: Quantity(name, "0e", "graph", "eV", f"{meaning}, GFN2-xTB, no experiment")
    for name, meaning in (
        *(
            (f"solvation_energy_{solvent}", f"free energy of solvation in {solvent} at a fixed geometry by ALPB")
            for solvent in SOLVENTS
        ),
        ("homo_energy", "energy of the highest filled orbital"),
        ("lumo_energy", "energy of the lowest empty orbital"),
        ("homo_lumo_gap", "lowest empty less highest filled orbital"),
    )
}  # fmt: skip


class PropertiesConfig(BaseModel):
    """``configs/corpus/molecule_properties.yaml``. most: molecules at most, drawn by ``seed`` where there are more. charges: of
    the molecules. most_atoms: hydrogens included. max_force: a molecule whose best frame has a larger force (eV/angstrom) is not
    relaxed, and dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: NonNegativeInt
    dataset: str = "corpus/molecule_properties"
    most: PositiveInt = 10_000
    charges: tuple[int, ...] = (0,)
    most_atoms: PositiveInt = 40
    max_force: PositiveFloat = 1.5
    molecules_per_chunk: PositiveInt = 100


@dataclass(frozen=True)
class Chunk:
    """Records to label, each as (number of the source, number of its record)."""

    records: tuple[tuple[int, int], ...]


def build_properties(config: PropertiesConfig, order: Order) -> dict[str, Any]:
    """The store and its report. Raises ``InputError`` if tblite is not installed, for sources that are no stores of closed-shell
    molecules, and for what :func:`.chunked.build_store` refuses."""
    version = require_tblite()
    if order.without:
        raise InputError(
            "corpus/molecule_properties is without what its --from stores are without; "
            "leave more out by `atomfield prepare STORE --out COPY --without SRC`",
            "--without",
        )
    stores = opened(order.sources)
    chosen = chosen_records(config, stores, order.scale)
    size = config.molecules_per_chunk
    chunks = [Chunk(tuple(chosen[k : k + size])) for k in range(0, len(chosen), size)]
    report = {
        **config.model_dump(mode="json"),
        "share of the chunks": list(order.share),
        "level": LEVEL,
        "solvation": "ALPB (tblite, state gsolv: equal concentrations in gas and solution) less gas phase, fixed geometry",
        "from": {str(source): store.index["num_records"] for source, store in zip(order.sources, stores, strict=True)},
        "versions": {"tblite": version},
    }  # fmt: skip
    recipe = {**report, "from": [store.index["content"] for store in stores]}
    folders = tuple(store.path.resolve() for store in stores)
    return build_store(
        order.out, shared(chunks, order), partial(make, folders=folders, config=config),
        recipe=recipe, source=f"atomfield.data.generate/{config.dataset}", report=report,
        num_processes=order.jobs, progress=order.progress,
    )  # fmt: skip


def opened(sources: tuple[str, ...]) -> list[Store]:
    """The stores of ``--from``, which have energies and charges of molecules."""
    if not sources:
        raise InputError(
            "needs a finished store of molecules, made by corpus/molecules for example; give it by --from STORE",
            "corpus/molecule_properties",
        )
    stores = []
    for source in sources:
        folder = store_folder(source)
        if folder is None:
            raise InputError("is no store, expected one made by corpus/molecules for example", source)
        store = Store(folder)
        held = store.index
        if LEVEL not in held["levels"] or not {"energy", "forces"} <= set(held["quantities"]) \
                or not {"charge", "spin"} <= set(held["conditions"]):  # fmt: skip
            raise InputError(
                f"has no molecules of level {LEVEL} with energy, forces, charge and spin", str(source)
            )
        stores.append(store)
    return stores


def chosen_records(
    config: PropertiesConfig, stores: list[Store], scale: float = 1.0
) -> list[tuple[int, int]]:
    """(number of the store, number of the record): for each molecule its frame of lowest energy. The order, and which stay if
    there are too many, depend on the seed and the molecules' names alone; a smaller ``scale`` gives a prefix."""
    best: dict[str, tuple[float, int, int]] = {}
    for number, store in enumerate(stores):
        columns = store.columns
        energy, charge, spin = store.values("energy"), store.values("charge"), store.values("spin")
        allowed = (
            (np.array(columns["level"]) == LEVEL)
            & (np.array(columns["world"]) == "molecule")
            & (spin == 0)
            & np.isin(charge, config.charges)
            & np.isfinite(energy)
            & (columns["num_nodes"] > 1)
            & (columns["num_nodes"] <= config.most_atoms)
        )
        for record in np.flatnonzero(allowed).tolist():
            group = columns["group"][record]
            found = (float(energy[record]), number, record)
            if group and "." not in group and (group not in best or found < best[group]):
                best[group] = found
    if not best:
        raise InputError(f"no molecule of the --from stores has level {LEVEL}, a closed shell and a group")
    names = sorted(best)
    shuffled = np.random.default_rng(config.seed).permutation(len(names))
    wanted = min(len(names), config.most)
    return [best[names[k]][1:] for k in shuffled[: max(1, round(wanted * min(scale, 1.0)))]]


def make(chunk: Chunk, folders: tuple[Path, ...], config: PropertiesConfig) -> Made:
    """The labelled molecules of one chunk; ``folders``: the stores, in the order of the chunk's numbers."""
    stores = [Store(folder) for folder in folders]
    graphs: list[Graph] = []
    counts: dict[str, Counter[str]] = {
        "dropped": Counter(),
        "labels": Counter(),
        "records of charge": Counter(),
    }
    for number, record in chunk.records:
        graph = stores[number][record]
        values, dropped = properties_of(graph, config.max_force)
        counts["dropped"].update(dropped)
        if values:
            counts["labels"].update(values.keys())
            counts["records of charge"][f"{int(graph.conditions['charge']):+d}"] += 1
            graphs.append(
                graph.changed(
                    quantities={k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()},
                    properties={k: PROPERTIES[k] for k in values},
                    dataset=config.dataset,
                )
            )
    return Made(graphs, {heading: dict(names) for heading, names in counts.items()})


def properties_of(graph: Graph, max_force: float) -> tuple[dict[str, float], list[str]]:
    """Property -> value in eV, rounded to 1e-6, and why the record or a label of it is dropped. A record has no value if it is
    not relaxed, not converged in the gas phase, or not the same molecule as in its store."""
    if float(graph.quantities["forces"].norm(dim=1).max()) > max_force:
        return {}, [f"record: force above {max_force:g} eV/angstrom"]
    numbers, positions = graph.species.numpy(), graph.positions.numpy()
    charge = int(graph.conditions["charge"])
    try:
        gas = closed_shell(numbers, positions, charge=charge)
    except NotConverged:
        return {}, ["record: not converged"]
    if abs(gas.energy - float(graph.quantities["energy"])) > MAX_DIFFERENCE:
        return {}, [f"record: energy differs by more than {MAX_DIFFERENCE:g} eV from its store"]
    if gas.lumo - gas.homo < MIN_GAP:
        return {}, [f"record: gap below {MIN_GAP:g} eV"]
    values = {"homo_energy": gas.homo, "lumo_energy": gas.lumo, "homo_lumo_gap": gas.lumo - gas.homo}
    dropped = []
    for solvent in SOLVENTS:
        name = f"solvation_energy_{solvent}"
        try:
            values[name] = (
                closed_shell(numbers, positions, charge=charge, solvent=solvent).energy - gas.energy
            )
        except NotConverged:
            dropped.append(f"{name}: not converged")
    return {name: round(value, 6) for name, value in values.items()}, dropped
