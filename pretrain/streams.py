"""A stream is a data set under one objective: it turns a micro-batch number into a packed batch, the same on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch, collate
from atomfield.data.neighbors import with_edges
from atomfield.data.quantities import FIELD_STATES
from atomfield.data.sampler import EpochSampler, estimated_edges

from .losses import Targets

CACHE_EDGES = 20_000_000
"""Graphs keep their edges in memory while all of a stream's edges together stay below this (about 1 GB)."""
EQUILIBRIUM_FORCE = 1.0
"""eV/angstrom: structures whose largest force is below it count as near equilibrium and may be denoised."""


@dataclass(frozen=True)
class Item:
    """A record, and for a trajectory the time of the first state and the stride to the second."""

    record: int
    time: int = 0
    stride: int = 1


class Stream:
    """Micro-batches of one world and one objective."""

    def __init__(
        self,
        graphs: Sequence[Graph],
        targets: Targets,
        *,
        cutoff: float,
        max_edges: int,
        seed: int,
        noise: float = 0.0,
        micro_batches: int = 1,
        weight: float = 1.0,
        name: str = "",
        max_graphs: int = 1 << 30,
    ):
        if len(graphs) == 0:
            raise InputError("no training records are left", name)
        self.graphs, self.targets, self.cutoff, self.name = graphs, targets, cutoff, name
        self.noise, self.micro_batches, self.weight, self.seed = noise, micro_batches, weight, seed
        self.items = _items(graphs, targets)
        if not self.items:
            raise InputError(
                "no record has what this objective needs (two times of a trajectory, or a structure near "
                "equilibrium to denoise)",
                name,
            )
        sizes = np.array([_edges(graphs[i.record]) for i in self.items])
        self.sampler = EpochSampler(sizes, max_edges, seed=seed, max_items=max_graphs)
        self._cache: dict[int, Graph] | None = {} if sizes.sum() < CACHE_EDGES else None

    @property
    def micro_batches_per_epoch(self) -> int:
        return len(self.sampler.epoch(0))

    def batch(self, number: int) -> GraphBatch:
        """Micro-batch ``number`` (counted from the start of training); its noise depends on the seed and the number alone."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, number))
        return collate([self._graph(self.items[k], generator) for k in self.sampler.batch(number)])

    def _graph(self, item: Item, generator: torch.Generator) -> Graph:
        match self.targets.objective:
            case "denoise":
                graph = self.graphs[item.record]
                shape = graph.positions.shape
                noise = self.noise * torch.randn(shape, generator=generator, dtype=torch.float64)
                noisy = replace(
                    graph, positions=graph.positions + noise, quantities={"displacement_noise": noise}
                )
                return with_edges(noisy, self.cutoff)
            case "next_step":
                graph = self._cached(item.record).pair(item.time, item.stride)
                return _noisy_state(graph, self.noise, generator) if self.noise else graph
            case _:
                return self._cached(item.record)

    def _cached(self, record: int) -> Graph:
        if self._cache is None:
            return with_edges(self.graphs[record], self.cutoff)
        if record not in self._cache:
            self._cache[record] = with_edges(self.graphs[record], self.cutoff)
        return self._cache[record]


def hash_of(seed: int, number: int) -> int:
    """A well-mixed 63-bit seed from two integers."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _items(graphs: Sequence[Graph], targets: Targets) -> list[Item]:
    match targets.objective:
        case "next_step":
            return [Item(r, t) for r in range(len(graphs)) for t in range(graphs[r].num_times - 1)]
        case "denoise":
            return [Item(r) for r in range(len(graphs)) if _near_equilibrium(graphs[r])]
        case _:
            return [Item(r) for r in range(len(graphs))]


def _near_equilibrium(graph: Graph) -> bool:
    forces = graph.quantities.get("forces")
    return graph.num_nodes > 1 and (forces is None or float(forces.norm(dim=1).max()) < EQUILIBRIUM_FORCE)


def _edges(graph: Graph) -> int:
    return graph.num_edges or int(estimated_edges(graph.world, np.array(graph.num_nodes)))


def _noisy_state(graph: Graph, noise: float, generator: torch.Generator) -> Graph:
    """Input noise on the state, relative to each quantity's RMS and only along components that are in use, so that a flow in a
    plane stays in it."""
    noisy = dict(graph.quantities)
    for name in FIELD_STATES:
        if name not in graph.next_quantities:
            continue
        value = noisy[name].double()
        used = (
            (value.flatten(1) != 0).any(0).reshape(value.shape[1:]) if value.ndim > 1 else torch.tensor(True)
        )
        draw = torch.randn(value.shape, generator=generator, dtype=torch.float64)
        noisy[name] = value + noise * value.square().mean().sqrt() * draw * used
    return replace(graph, quantities=noisy)
