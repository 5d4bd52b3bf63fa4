"""Parts of stores (or of lists) by record numbers, and several joined to one, without reading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np

from .graph import Graph
from .sampler import estimated_edges
from .store import Store


class Subset(Sequence[Graph]):
    """Records ``numbers [R]`` of ``whole``, in that order; each is read when it is asked for."""

    def __init__(self, whole: Sequence[Graph], numbers: np.ndarray | Sequence[int]):
        self.whole, self.numbers = whole, np.asarray(numbers, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, i: int) -> Graph: ...
    @overload
    def __getitem__(self, i: slice) -> Subset: ...
    def __getitem__(self, i: int | slice) -> Graph | Subset:
        if isinstance(i, slice):
            return Subset(self.whole, self.numbers[i])
        return self.whole[int(self.numbers[i])]

    def __iter__(self) -> Iterator[Graph]:
        return (self.whole[int(n)] for n in self.numbers)

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The named columns of ``Store.columns`` for these records."""
        whole = columns_of(self.whole)
        return {
            name: value[self.numbers]
            if isinstance(value, np.ndarray)
            else [value[n] for n in self.numbers.tolist()]
            for name, value in whole.items()
            if name != "elements"
        }


class Joined(Sequence[Graph]):
    """Several data sets one after the other. ``parts [R]`` is the number of the data set that each record is from."""

    def __init__(self, sets: Sequence[Sequence[Graph]]):
        self.sets = list(sets)
        self.starts = np.cumsum([0, *(len(s) for s in self.sets)])
        self.parts = np.repeat(np.arange(len(self.sets)), np.diff(self.starts))

    def __len__(self) -> int:
        return int(self.starts[-1])

    @overload
    def __getitem__(self, i: int) -> Graph: ...
    @overload
    def __getitem__(self, i: slice) -> Subset: ...
    def __getitem__(self, i: int | slice) -> Graph | Subset:
        if isinstance(i, slice):
            return Subset(self, np.arange(len(self))[i])
        part = int(self.parts[i])
        return self.sets[part][int(i) % len(self) - int(self.starts[part])]

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The named columns of ``Store.columns``, one set after the other."""
        tables = [columns_of(s) for s in self.sets]
        names = set.intersection(*(set(t) for t in tables)) - {"elements", "species_counts"}
        return {
            name: np.concatenate([t[name] for t in tables])
            if isinstance(tables[0][name], np.ndarray)
            else [text for t in tables for text in t[name]]
            for name in names
        }


def columns_of(graphs: Sequence[Graph]) -> dict[str, Any]:
    """What planning needs: ``num_nodes``, ``num_times`` ``[R]`` int64, ``world`` and ``group`` lists of text; without decoding
    where ``graphs`` is a store or a part of one."""
    if isinstance(graphs, (Store, Subset, Joined)):
        return graphs.columns
    return {
        "num_nodes": np.array([g.num_nodes for g in graphs], dtype=np.int64),
        "num_times": np.array([g.num_times for g in graphs], dtype=np.int64),
        "world": [g.world for g in graphs],
        "dataset": [g.dataset for g in graphs],
        "group": [g.group for g in graphs],
    }


def edges_of(graphs: Sequence[Graph]) -> np.ndarray:
    """``[R]`` int64: the number of edges of each record, an estimate where that would mean to read it."""
    if isinstance(graphs, Joined):
        return np.concatenate([edges_of(s) for s in graphs.sets])
    if not isinstance(graphs, (Store, Subset)):
        return np.array([g.num_edges or int(estimated_edges(g.world, np.array(g.num_nodes))) for g in graphs])
    columns = columns_of(graphs)
    world, nodes = np.array(columns["world"]), columns["num_nodes"]
    edges = np.zeros(len(graphs), dtype=np.int64)
    for name in np.unique(world):
        edges[world == name] = estimated_edges(str(name), nodes[world == name])
    for first, numbers in field_kinds(graphs):
        edges[numbers] = graphs[first].num_edges or edges[first]
    return edges


def grid_axes_of(graphs: Sequence[Graph]) -> np.ndarray:
    """``[R]`` int64: how many axes the regular grid of each record has, 0 where its points are none."""
    if isinstance(graphs, Joined):
        return np.concatenate([grid_axes_of(s) for s in graphs.sets])
    if not isinstance(graphs, (Store, Subset)):
        return np.array([len(g.grid_shape or ()) for g in graphs])
    axes = np.zeros(len(graphs), dtype=np.int64)
    for first, numbers in field_kinds(graphs):
        axes[numbers] = len(graphs[first].grid_shape or ())
    return axes


def field_kinds(graphs: Store | Subset) -> Iterator[tuple[int, list[int]]]:
    """The first record and the numbers of all of each kind of fields: those that come from one data set and have one number of
    points count as the first of them, which alone is read."""
    columns = columns_of(graphs)
    kinds: dict[tuple[str, int], list[int]] = {}
    for number in np.flatnonzero(np.array(columns["world"]) == "field").tolist():
        kinds.setdefault((columns["dataset"][number], int(columns["num_nodes"][number])), []).append(number)
    yield from ((numbers[0], numbers) for numbers in kinds.values())
