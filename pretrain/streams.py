"""A stream is a data set under one objective: it turns a micro-batch number into a packed batch, the same on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from atomfield.data.columns import Columns
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, GraphBatch, collate, packed
from atomfield.data.neighbors import batch_of, with_edges
from atomfield.data.sampler import Budget, EpochSampler, Mixture
from atomfield.data.subset import columns_of, edges_of, grid_axes_of, holding, largest

from .config import Objective
from .corrupt import displaced, displaced_given_forces, hide_atoms, hide_patches, noisy_state
from .dealing import EARLIER, price_of
from .losses import Targets

CACHE_EDGES = 20_000_000
"""Graphs keep their edges in memory while all of a stream's edges together stay below this (about 1 GB)."""
EQUILIBRIUM_FORCE = 1.0
"""eV/angstrom: structures whose largest force is below it count as near equilibrium and may be denoised."""


class NoItems(InputError):
    """No record has what the objective needs."""


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
        fraction: float = 0.25,
        rollout: int = 1,
        micro_batches: int = 1,
        weight: float = 1.0,
        name: str = "",
        max_graphs: int = 1 << 30,
        max_nodes: int = 1 << 60,
        parts: np.ndarray | None = None,
        mixture: Mixture = "natural",
        fourier: bool = True,
        piece_edges: int | None = None,
    ):
        if len(graphs) == 0:
            raise NoItems("no training records are left", name)
        self.graphs, self.targets, self.cutoff, self.name = graphs, targets, cutoff, name
        self.fraction, self.rollout = fraction, rollout
        self.noise, self.micro_batches, self.weight, self.seed = noise, micro_batches, weight, seed
        self.piece_edges = piece_edges
        self.items = _items(graphs, targets, rollout)
        if len(self.items) == 0:
            raise NoItems(f"no record has {_needed(targets.objective, rollout)}", name)
        if len(worlds := {w if w == "field" else "atoms" for w in columns_of(graphs)["world"]}) > 1:
            raise InputError(
                f"the records are of {' and '.join(sorted(worlds))}, expected one kind; give each its own stream",
                name,
            )
        self.price = price_of(targets.objective, field=worlds == {"field"}, direct=targets.direct)
        nodes, edges = columns_of(graphs)["num_nodes"], edges_of(graphs, cutoff)
        record = self.items.record
        has_grids = fourier and worlds == {"field"}
        self.grid_axes = (nodes * grid_axes_of(graphs))[record] if has_grids else _zeros(len(record))
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
        return self.sampler.micro_batches_per_epoch

    def batch(self, number: int) -> GraphBatch:
        """Micro-batch ``number`` (counted from the start of training); its noise depends on the seed and the number alone."""
        generator = torch.Generator().manual_seed(hash_of(self.seed, number))
        items = [self.items[k] for k in self.sampler.batch(number).tolist()]
        if self.targets.objective == "next_step":
            return self._rollout(items, self._earlier(number), generator)
        batch = batch_of([self._ready(item, generator) for item in items], self.cutoff)
        match self.targets.objective:
            case "masked_atoms":
                return hide_atoms(batch, self.fraction, generator)
            case "masked_patches":
                return hide_patches(batch, self.fraction, generator)
        return batch

    def pieces(self, batch: GraphBatch) -> list[GraphBatch]:
        """One of its micro-batches as it goes through a network: in pieces of ``piece_edges`` at most, if that is given."""
        return [batch] if self.piece_edges is None else batch.cut(self.piece_edges)

    def cost(self, number: int) -> float:
        """Estimated microseconds of the passes over micro-batch ``number``, from the sizes that its packing went by."""
        items = self.sampler.batch(number)
        sizes = (self.sampler.nodes, self.sampler.edges, self.grid_axes)
        one = self.price.of(*(float(size[items].sum()) for size in sizes))
        return one * (1 + EARLIER * self._earlier(number) if self.rollout > 1 else 1)

    def _earlier(self, number: int) -> int:
        """Steps without gradient before the one that is learnt, uniform below ``rollout``; one number for all micro-batches of a
        step, so that every rank calls the network as often."""
        step = number // self.micro_batches
        return int(np.random.default_rng([self.seed, 1, step]).integers(self.rollout))

    def _rollout(self, items: list[Item], earlier: int, generator: torch.Generator) -> GraphBatch:
        """Pairs of states, and the ``earlier`` pairs that lead to them; noise is on what the first of them reads."""
        chain = []
        for k in range(earlier + 1):
            shifted = [replace(item, time=item.time + k) for item in items]
            graphs = [self._ready(item, generator) for item in shifted]
            if self.noise and k == 0:
                noisy = collate([noisy_state(g, self.noise, generator) for g in graphs])
                states = packed(graphs, "quantities", [g.num_nodes for g in graphs])
                chain.append(
                    replace(noisy, clean={n: v for n, v in states.items() if n in noisy.next_quantities})
                )
            else:
                chain.append(collate(graphs))
        return replace(chain[-1], earlier=tuple(chain[:-1]))

    def __getstate__(self) -> dict[str, Any]:
        """For a worker process: everything but the graphs that are kept."""
        return {**vars(self), "_cache": None if self._cache is None else {}}

    def _ready(self, item: Item, generator: torch.Generator) -> Graph:
        """The record as this objective shows it; a failure names the record."""
        try:
            return self._graph(item, generator)
        except InputError:
            raise
        except Exception as error:
            what = f"record {item.record} (time {item.time}) could not be made ready"
            raise InputError(
                f"{what}: {type(error).__name__}: {error}", self.name or "training records"
            ) from error

    def _graph(self, item: Item, generator: torch.Generator) -> Graph:
        match self.targets.objective:
            case "denoise":
                return displaced(self.graphs[item.record], self.noise, generator)
            case "denoise_forces":
                return displaced_given_forces(self.graphs[item.record], self.noise, self.fraction, generator)
            case "next_step":
                return self._cached(item.record).pair(item.time, item.stride)
            case "masked_patches":
                return self._cached(item.record).snapshot(item.time)
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


def _items(graphs: Sequence[Graph], targets: Targets, rollout: int = 1) -> Items:
    columns = columns_of(graphs)
    match targets.objective:
        case "next_step":
            return _each_time(columns["num_times"] - rollout)
        case "masked_patches":
            return _each_time(columns["num_times"] * np.array([w == "field" for w in columns["world"]]))
        case "denoise":
            calm = ~holding(graphs, "forces") | (largest(graphs, "forces") < EQUILIBRIUM_FORCE)
            record = np.flatnonzero(_bonded(columns) & calm)
        case "denoise_forces":
            record = np.flatnonzero((columns["num_nodes"] > 1) & holding(graphs, "forces"))
        case "masked_atoms":
            record = np.flatnonzero(_bonded(columns))
        case "supervised":  # a record with several times is for next_step
            record = np.flatnonzero(columns["num_times"] <= 1)
    return Items(record.astype(np.int32), _zeros(len(record)))


def _zeros(count: int) -> np.ndarray:
    """``[count]`` that take the memory of one."""
    return np.broadcast_to(np.int32(0), count)


def _each_time(counts: np.ndarray) -> Items:
    """The first ``counts [R]`` times of each record."""
    counts = np.maximum(counts, 0)
    record = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    time = np.arange(len(record)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Items(record, time.astype(np.int32))


def _needed(objective: Objective, rollout: int) -> str:
    """What a record must have, for the message that none has it."""
    match objective:
        case "next_step":
            return f"{rollout + 1} times, which next_step with rollout {rollout} needs"
        case "masked_patches":
            return "a field, which masked_patches needs"
        case "denoise":
            return f"atoms with forces below {EQUILIBRIUM_FORCE} eV/angstrom, which denoise needs; denoise_forces takes others"
        case "denoise_forces":
            return "forces and more than one atom, which denoise_forces needs"
        case "masked_atoms":
            return "more than one atom, which masked_atoms needs"
        case "supervised":
            return "a single time, which supervised needs: give flows `objective: next_step`"


def _bonded(columns: Columns) -> np.ndarray:
    """``[R]`` bool: atoms, and more than one."""
    return (columns["num_nodes"] > 1) & np.array([w != "field" for w in columns["world"]])


@dataclass(frozen=True)
class Batches:
    """What a loader's worker does: batch ``number`` of stream number ``which``, for the key ``(which, number)``."""

    streams: tuple[Stream, ...]

    def __call__(self, key: tuple[int, int]) -> GraphBatch:
        which, number = key
        return self.streams[which].batch(number)
