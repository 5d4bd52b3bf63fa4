"""What an identification needs of records: the equations of a law from a trajectory of a field, or from structures of atoms."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, NodeType, collate
from atomfield.data.neighbors import with_edges
from atomfield.data.readers import ReadOptions
from atomfield.data.source import open_source
from atomfield.models.field_operators import direction_of, parts_of
from atomfield.physics_priors.energy_laws import EnergyLawName, energy_law
from atomfield.physics_priors.field_laws import FieldLawName, field_law
from atomfield.physics_priors.law_equations import Labelled, energy_equations, field_equations
from atomfield.physics_priors.law_fit import Equations
from atomfield.physics_priors.pairs import find_pairs
from atomfield.physics_priors.periodic_cell import PeriodicCell
from atomfield.pretrain.physics_loss import DIRECTION

from .identify_config import ConstantConfig, IdentifyConfig

MOST_ATOMS = 500
"""Of a structure: every pair is tried."""
TILES = 4
"""Points without a grid are put into so many parts along each axis for the bootstrap."""


@dataclass(frozen=True)
class Problem:
    """``names [K]`` of the constants, their ``given`` configuration, ``start [K]``, the equations, and a remark on the data;
    ``kinds [K]``: the pair of elements of each, of atoms."""

    names: tuple[str, ...]
    given: tuple[ConstantConfig, ...]
    start: Tensor
    equations: Equations
    positive: bool
    note: str
    kinds: tuple[str, ...] = ()


def problem_of_field(config: IdentifyConfig, name: FieldLawName) -> Problem:
    """From one record, whose own conditions are the references where none are given.

    Raises ``InputError`` for a record that lacks what the law reads or is no trajectory of uniform steps.
    """
    law, (where, graph) = field_law(name), _record(config)
    wanted = tuple(n for n in dict.fromkeys((*law.reads, *law.explains)) if n != DIRECTION)
    missing = [q for q in wanted if q not in graph.quantities]
    if missing:
        held = ", ".join(graph.quantities) or "nothing"
        raise InputError(
            f"has no {missing[0]}, which {name} needs; it has {held}. Name it by data.columns: {{{missing[0]}: KEY}}",
            where,
        )
    steps = torch.zeros(0) if graph.times is None else graph.times.diff()
    if law.time_order and not len(steps):
        raise InputError(f"is one state, expected a trajectory for {name}", where)
    if law.time_order and float((steps - steps.mean()).abs().max()) > 1e-3 * float(steps.mean()):
        raise InputError(
            f"its times are not uniform: steps from {float(steps.min()):g} to {float(steps.max()):g}; resample it",
            where,
        )
    states, generator = {}, torch.Generator().manual_seed(config.seed)
    for quantity in wanted:
        value = graph.quantities[quantity].double()
        if graph.times is None or value.shape[:2] != (graph.num_times, graph.num_nodes):
            value = value[None].expand(graph.num_times, *value.shape)
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"{quantity} has values that are not finite", where)
        value = value.movedim(1, -1)
        noise = torch.randn(value.shape, dtype=torch.float64, generator=generator)
        states[quantity] = value + config.noise * value.std() * noise if config.noise else value
    batch = collate([with_edges(graph.snapshot(0) if graph.times is not None else graph, 1.0)])
    if DIRECTION in law.reads:
        direction = direction_of(batch)
        if direction is None or not bool(torch.isfinite(direction).all()):
            raise InputError(
                f"names no direction, which {name} needs: give one that never changes, data.columns: {{gravity: '1'}} on a "
                "line along x, '1+0' in a plane",
                where,
            )
        states[DIRECTION] = direction[0, None, :, None].expand(max(1, graph.num_times), 3, graph.num_nodes)
    operators = next(parts_of(batch)).for_order(law.order)
    low, high = graph.positions.amin(0), graph.positions.amax(0)
    tile = ((graph.positions - low) / (high - low).clamp_min(1e-12) * TILES).long().clamp_max(TILES - 1)
    inside = graph.node_type == int(NodeType.INTERIOR)
    equations = field_equations(
        law, operators, states, float(steps.mean()) if len(steps) else 1.0, inside,
        (tile * torch.tensor([TILES * TILES, TILES, 1])).sum(1),
    )  # fmt: skip
    known = {n: ConstantConfig(reference=graph.conditions.get(n)) for n in law.constants}
    given = tuple(config.constants.get(n, known[n]) for n in law.constants)
    start = torch.tensor([1.0 if c.start is None else c.start for c in given], dtype=torch.float64)
    grid = graph.grid_shape and " x ".join(map(str, graph.grid_shape))
    note = f"{max(1, graph.num_times)} times on " + (
        f"a grid of {grid}" if grid else f"{int(inside.sum())} points"
    )
    if not isinstance(operators, PeriodicCell):
        note += ", derivatives by least squares, whose error the deviations do not hold"
    return Problem(law.constants, given, start, equations, False, note)


def _record(config: IdentifyConfig) -> tuple[str, Graph]:
    graphs = open_source(str(config.data.file), ReadOptions(map=dict(config.data.columns)))
    number = config.data.record or 0
    if number >= len(graphs):
        raise InputError(
            f"data.record is {number}, the source has {len(graphs)} records (from 0)", str(config.data.file)
        )
    graph = graphs[number]
    if graph.world != "field":
        raise InputError(
            f"record {number} is a {graph.world}, expected a field for {config.law}", str(config.data.file)
        )
    return f"{config.data.file} (record {number})", graph


def problem_of_atoms(config: IdentifyConfig, name: EnergyLawName) -> Problem:
    """From all structures of a source, by their forces, or by energies where a structure has none."""
    law, where = energy_law(name), str(config.data.file)
    structures, kinds = [], set()
    for number, graph in enumerate(open_source(where, ReadOptions(map=dict(config.data.columns)))):
        structures.append(_labelled(graph, f"{where} (record {number})", config.cutoff))
        pairs = structures[-1].pairs
        both = torch.stack([pairs.species[pairs.sender], pairs.species[pairs.receiver]], dim=1)
        kinds |= {(a, b) for a, b in both.unique(dim=0).tolist() if a <= b}
    if not kinds:
        raise InputError("no structure has a pair of atoms", where)
    from ase.data import chemical_symbols

    order = sorted(kinds)
    names, given, labels = [], [], []
    for a, b in order:
        kind = f"{chemical_symbols[a]}-{chemical_symbols[b]}"
        label = "" if len(order) == 1 else f" {kind}"
        for constant in law.constants:
            labels.append(kind)
            names.append(constant + label)
            given.append(config.constants.get(constant + label, config.constants[constant]))
    start = torch.tensor(
        [c.start or config.constants[n.split(" ")[0]].start for n, c in zip(names, given, strict=True)]
    )
    by = "forces" if all(s.forces is not None for s in structures) else "energies (zero: atoms far apart)"
    return Problem(
        tuple(names), tuple(given), start.double(), energy_equations(law, order, structures), True,
        f"{len(structures)} structures, by their {by}", tuple(labels),
    )  # fmt: skip


def _labelled(graph: Graph, where: str, cutoff: float) -> Labelled:
    periodic = graph.pbc.tolist()
    if graph.world == "field" or graph.num_nodes > MOST_ATOMS:
        what = "a field" if graph.world == "field" else f"{graph.num_nodes} atoms"
        raise InputError(f"is {what}, expected a structure of at most {MOST_ATOMS} atoms", where)
    if any(periodic) and not all(periodic):
        raise InputError("repeats in some directions only, expected a molecule or a crystal", where)
    labels = {k: graph.quantities.get(k) for k in ("energy", "forces")}
    if labels["energy"] is None and labels["forces"] is None:
        held = ", ".join(graph.quantities) or "nothing"
        raise InputError(f"has neither energy nor forces; it has {held}", where)
    cell = graph.cell.double() * graph.pbc[:, None]
    index = torch.zeros(graph.num_nodes, dtype=torch.int64)
    pairs = find_pairs(graph.positions, cell[None], graph.species, index, cutoff)
    energy, forces = labels["energy"], labels["forces"]
    return Labelled(
        pairs,
        None if energy is None else energy.double().reshape(1),
        None if forces is None else forces.double(),
    )
