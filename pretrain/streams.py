"""A stream is a data set under one objective: it turns a micro-batch number into a packed batch, the same on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch
from atomfield.data.neighbors import batch_of, with_edges
from atomfield.data.quantities import FIELD_STATES, PER_FRAGMENT
from atomfield.data.sampler import Budget, EpochSampler, Mixture
from atomfield.data.subset import columns_of, edges_of

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


@dataclass(frozen=True)
class Items(Sequence[Item]):
    """Many items as arrays: ``record [I]`` and ``time [I]``."""

    record: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.record)

    def __getitem__(self, k: int) -> Item:  # type: ignore[override]  # one at a time
        return Item(int(self.record[k]), int(self.time[k]))


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
        max_nodes: int = 1 << 60,
        parts: np.ndarray | None = None,
        mixture: Mixture = "natural",
    ):
        if len(graphs) == 0:
            raise InputError("no training records are left", name)
        self.graphs, self.targets, self.cutoff, self.name = graphs, targets, cutoff, name
        self.noise, self.micro_batches, self.weight, self.seed = noise, micro_batches, weight, seed
        self.items = _items(graphs, targets)
        if len(self.items) == 0:
            raise InputError(
                "no record has what this objective needs (two times of a trajectory, or a structure near "
                "equilibrium to denoise)",
                name,
            )
        if len(worlds := {w if w == "field" else "atoms" for w in columns_of(graphs)["world"]}) > 1:
            raise InputError(
                f"the records are of {' and '.join(sorted(worlds))}, expected one kind; give each its own stream",
                name,
            )
        nodes, edges = columns_of(graphs)["num_nodes"], edges_of(graphs)
        record = self.items.record
        self.sampler = EpochSampler(
            nodes[record],
            edges[record],
            Budget(max_nodes, max_edges, max_graphs),
            seed=seed,
            parts=None if parts is None else parts[record],
            mixture=mixture,
        )
        self._cache: dict[int, Graph] | None = {} if edges.sum() < CACHE_EDGES else None

    @property
    def micro_batches_per_epoch(self) -> int:
        return len(self.sampler.epoch(0))

    def batch(self, number: int) -> GraphBatch:
        """Micro-batch ``number`` (counted from the start of training); its noise depends on the seed and the number alone."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, number))
        graphs = []
        for k in self.sampler.batch(number).tolist():
            item = self.items[k]
            try:
                graphs.append(self._graph(item, generator))
            except InputError:
                raise
            except Exception as error:
                what = f"record {item.record} (time {item.time}) could not be made ready"
                raise InputError(
                    f"{what}: {type(error).__name__}: {error}", self.name or "training records"
                ) from error
        return batch_of(graphs, self.cutoff)

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: everything but the graphs that are kept."""
        return {**vars(self), "_cache": None if self._cache is None else {}}

    def _graph(self, item: Item, generator: torch.Generator) -> Graph:
        match self.targets.objective:
            case "denoise":
                graph = self.graphs[item.record]
                shape = graph.positions.shape
                noise = self.noise * torch.randn(shape, generator=generator, dtype=torch.float64)
                kept = {n: v for n, v in graph.quantities.items() if n in PER_FRAGMENT.values()}
                kept["displacement_noise"] = noise
                return replace(graph, positions=graph.positions + noise, quantities=kept)
            case "next_step":
                graph = self._cached(item.record).pair(item.time, item.stride)
                return _noisy_state(graph, self.noise, generator) if self.noise else graph
            case _:
                return self._cached(item.record)

    def _cached(self, record: int) -> Graph:
        """The record with its edges where they are kept; else atoms come bare, and their batch is searched in one go."""
        if self._cache is None:
            graph = self.graphs[record]
            return with_edges(graph, self.cutoff) if graph.world == "field" else graph
        if record not in self._cache:
            self._cache[record] = with_edges(self.graphs[record], self.cutoff)
        return self._cache[record]


def hash_of(seed: int, number: int) -> int:
    """A well-mixed 63-bit seed from two integers."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] >> 1)


def _items(graphs: Sequence[Graph], targets: Targets) -> Items:
    match targets.objective:
        case "next_step":
            pairs = columns_of(graphs)["num_times"] - 1
            record = np.repeat(np.arange(len(graphs)), pairs)
            return Items(record, np.arange(len(record)) - np.repeat(np.cumsum(pairs) - pairs, pairs))
        case "denoise":
            record = np.flatnonzero([_near_equilibrium(g) for g in graphs])
        case _:
            record = np.arange(len(graphs))
    return Items(record, np.zeros(len(record), dtype=np.int64))


def _near_equilibrium(graph: Graph) -> bool:
    forces = graph.quantities.get("forces")
    return graph.num_nodes > 1 and (forces is None or float(forces.norm(dim=1).max()) < EQUILIBRIUM_FORCE)


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
    return graph.changed(quantities=noisy)


@dataclass(frozen=True)
class Batches:
    """What a loader's worker does: batch ``number`` of stream number ``which``, for the key ``(which, number)``."""

    streams: tuple[Stream, ...]

    def __call__(self, key: tuple[int, int]) -> GraphBatch:
        which, number = key
        return self.streams[which].batch(number)
