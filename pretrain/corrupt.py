"""What self-supervised objectives do to structures and fields: noise on positions, hidden atoms, hidden patches.

Every draw comes from the generator that is passed in, so that a micro-batch follows from the seed and its number. What is chosen
depends on distances alone, never on axes, and what is hidden is replaced by learnt scalars: predictions turn with their input.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Generator, Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch
from atomfield.data.quantities import FIELD_STATES, PER_FRAGMENT
from atomfield.models.auxiliary import HIDDEN

from .normalize import offset_of

CLOSEST = 0.3
"""Angstrom between two atoms that noise may leave."""
TRIES = 100


def displaced(graph: Graph, noise: float, generator: Generator) -> Graph:
    """Gaussian noise of ``noise`` angstrom on all positions; no label but the noise is left."""
    draw = _noise(graph, noise, torch.ones(graph.num_nodes, dtype=torch.bool), generator)
    kept = {n: v for n, v in graph.quantities.items() if n in PER_FRAGMENT.values()}
    kept["displacement_noise"] = draw
    return graph.changed(positions=graph.positions + draw, quantities=kept, edges={})


def displaced_given_forces(graph: Graph, noise: float, fraction: float, generator: Generator) -> Graph:
    """Noise on a random part of the atoms, whose forces before that become an input (DeNS, arXiv:2403.09549).

    The forces are what makes the task well-posed away from equilibrium: many structures are that noise away from the
    disturbed one, the forces say which of them it was. The noise of an atom that was left alone is NaN, no label, and so are the
    forces that it is given. The energy stays, as the label of the undisturbed structure.
    """
    chosen = _some(graph.num_nodes, fraction, generator)
    draw = _noise(graph, noise, chosen, generator)
    kept = {n: v for n, v in graph.quantities.items() if n in (*PER_FRAGMENT.values(), "energy")}
    kept["displacement_noise"] = torch.where(chosen[:, None], draw, float("nan"))
    forces = graph.quantities["forces"].double()
    kept["given_forces"] = torch.where(chosen[:, None], forces, float("nan"))
    positions = graph.positions + torch.where(chosen[:, None], draw, 0.0)
    return graph.changed(positions=positions, quantities=kept, edges={})


def hide_atoms(batch: GraphBatch, fraction: float, generator: Generator) -> GraphBatch:
    """The batch without the species of a random part of each structure: they are in ``next_quantities``, NaN elsewhere."""
    hidden = torch.cat([_some(n, fraction, generator) for n in batch.nodes_per_graph().tolist()])
    kept = {n: v for n, v in batch.quantities.items() if n in PER_FRAGMENT.values()}
    return replace(
        batch,
        species=torch.where(hidden, 0, batch.species),
        quantities={**kept, HIDDEN: hidden.double()},
        next_quantities={"species": torch.where(hidden, batch.species.double(), float("nan"))},
    )


def hide_patches(batch: GraphBatch, fraction: float, generator: Generator) -> GraphBatch:
    """The batch of fields without the state at the points closest to one point of each graph; ``next_quantities`` has what was
    there, NaN elsewhere. Inputs that are no state (normals, permeability, gravity) stay."""
    hidden = torch.zeros(batch.num_nodes, dtype=torch.bool)
    first = 0
    for number, size in enumerate(batch.nodes_per_graph().tolist()):
        part = slice(first, first + size)
        centre = int(torch.randint(size, (), generator=generator))
        distance = _distances(batch.positions[part], centre, batch.cell[number], batch.pbc[number])
        # rounded, so that points at one distance are in or out together and the choice does not hang on the axes
        radius = torch.quantile(distance, min(fraction, 1.0)) * (1 + 1e-9)
        hidden[part] = distance <= radius
        first += size
    states = {n: v for n, v in batch.quantities.items() if n in FIELD_STATES and v.shape[:1] == hidden.shape}
    given = {n: torch.where(_like(hidden, v), float("nan"), v) for n, v in states.items()}
    wanted = {n: torch.where(_like(hidden, v), v, float("nan")) for n, v in states.items()}
    return replace(
        batch, quantities={**batch.quantities, **given, HIDDEN: hidden.double()}, next_quantities=wanted
    )


def noisy_state(graph: Graph, noise: float, generator: Generator) -> Graph:
    """Input noise on the state, relative to each quantity's RMS (of a number that stands off zero, to that about its mean) and
    only along components that are in use, so that a flow in a plane stays in it."""
    noisy = dict(graph.quantities)
    for name in FIELD_STATES:
        if name not in graph.next_quantities:
            continue
        value = noisy[name].double()
        used = (
            (value.flatten(1) != 0).any(0).reshape(value.shape[1:]) if value.ndim > 1 else torch.tensor(True)
        )
        draw = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        mean = offset_of(float(value.mean()), float(value.square().mean())) if value.ndim == 1 else 0.0
        noisy[name] = value + noise * (value - mean).square().mean().sqrt() * draw * used
    return graph.changed(quantities=noisy)


def _noise(graph: Graph, noise: float, chosen: Tensor, generator: Generator) -> Tensor:
    """``[N, 3]`` angstrom, Gaussian; drawn again for ``chosen`` atoms that would come within ``CLOSEST`` of another one. Of many
    structures some would, now and then, and a pair that close has forces like nothing else."""
    draw = noise * torch.randn(graph.positions.shape, generator=generator, dtype=torch.float64)
    for _ in range(TRIES):
        moved = graph.positions + torch.where(chosen[:, None], draw, 0.0)
        close = torch.cdist(moved, moved).fill_diagonal_(CLOSEST) < CLOSEST
        again = close.any(1) & chosen
        if not bool(again.any()):
            return draw
        draw[again] = noise * torch.randn((int(again.sum()), 3), generator=generator, dtype=torch.float64)
    raise InputError(
        f"noise of {noise:g} angstrom brought atoms within {CLOSEST} angstrom of each other {TRIES} times; use less",
        graph.provenance,
    )


def _some(count: int, fraction: float, generator: Generator) -> Tensor:
    """Bool ``[count]``: the rounded fraction of the nodes, at least one."""
    number = min(count, max(1, round(fraction * count)))
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.randperm(count, generator=generator)[:number]] = True
    return chosen


def _distances(positions: Tensor, centre: int, cell: Tensor, pbc: Tensor) -> Tensor:
    """``[N]`` from node ``centre``, to the closest image along each periodic lattice vector."""
    offset = positions - positions[centre]
    if bool(pbc.any()):
        lattice = cell[pbc]
        offset = offset - torch.round(offset @ torch.linalg.pinv(lattice)) @ lattice
    return offset.norm(dim=1)


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(-1, *(1,) * (value.ndim - 1))
