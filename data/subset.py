"""Parts of stores (or of lists) by record numbers, and several joined to one, without reading them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Literal, TypeGuard, overload

import numpy as np

from .columns import Columns
from .graph import Graph
from .neighbors import with_edges
from .sampler import estimated_edges
from .store import Store

LOOKED_AT = 64
"""Records of a data set whose edges are counted, for the estimate of the others; of many data sets fewer of each."""
MOST_LOOKED_AT = 1024


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

    def __reduce__(self) -> tuple[type[Subset], tuple[Sequence[Graph], np.ndarray]]:
        return Subset, (self.whole, self.numbers)  # columns are made anew where they are needed

    @cached_property
    def columns(self) -> Columns:
        """The columns of ``Store.columns`` for these records."""
        return columns_of(self.whole).of(self.numbers)


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

    def __reduce__(self) -> tuple[type[Joined], tuple[list[Sequence[Graph]]]]:
        return Joined, (self.sets,)

    @cached_property
    def columns(self) -> Columns:
        """The columns of ``Store.columns``, one set after the other, but those of elements."""
        tables = [columns_of(s) for s in self.sets]
        shared = set.intersection(*(set(t) for t in tables)) - {"elements", "species_counts", "species_bits"}

        def joined(name: str) -> Any:
            found = [t[name] for t in tables]
            if isinstance(found[0], np.ndarray):
                return np.concatenate(found)
            return [text for column in found for text in column]

        return Columns({name: partial(joined, name) for name in shared})


def columns_of(graphs: Sequence[Graph]) -> Columns:
    """What planning needs: ``num_nodes``, ``num_times`` ``[R]`` int64, ``world``, ``level``, ``dataset`` and ``group`` lists of
    text; without decoding where ``graphs`` is a store or a part of one."""
    if isinstance(graphs, (Store, Subset, Joined)):
        return graphs.columns
    whole: dict[str, Callable[[], Any]] = {
        "num_nodes": lambda: np.array([g.num_nodes for g in graphs], dtype=np.int64),
        "num_times": lambda: np.array([g.num_times for g in graphs], dtype=np.int64),
        "world": lambda: [g.world for g in graphs],
        "level": lambda: [g.level for g in graphs],
        "dataset": lambda: [g.dataset for g in graphs],
        "group": lambda: [g.group for g in graphs],
    }
    return Columns(whole)


def forget_columns(graphs: Sequence[Graph]) -> None:
    """Give back the memory of the columns of a store and its parts; they are made again when they are asked for."""
    match graphs:
        case Store():
            graphs.columns.forget()
        case Subset():
            graphs.columns.forget()
            forget_columns(graphs.whole)
        case Joined():
            graphs.columns.forget()
            for one in graphs.sets:
                forget_columns(one)


def in_store(graphs: Sequence[Graph]) -> TypeGuard[Store | Subset]:
    """Whether ``graphs`` is a store or a part of one, so that its columns are known without reading it."""
    return isinstance(graphs, Store) or (isinstance(graphs, Subset) and in_store(graphs.whole))


def holding(
    graphs: Sequence[Graph], name: str, kind: Literal["quantity", "next", "condition"] = "quantity"
) -> np.ndarray:
    """``[R]`` bool: which records have the quantity (of the next state) or condition ``name``; stores are not decoded."""
    match graphs:
        case Store():
            return graphs.holding(name, kind)
        case Subset():
            return holding(graphs.whole, name, kind)[graphs.numbers]
        case Joined():
            return np.concatenate([holding(s, name, kind) for s in graphs.sets])
    held = {"quantity": "quantities", "next": "next_quantities", "condition": "conditions"}[kind]
    return np.array([name in getattr(g, held) for g in graphs], dtype=bool)


def largest(graphs: Sequence[Graph], name: str) -> np.ndarray:
    """``[R]`` float64: the largest norm among the vectors of quantity ``name`` of each record, NaN where it has none; stores
    are not decoded."""
    match graphs:
        case Store():
            return graphs.largest(name)
        case Subset():
            return largest(graphs.whole, name)[graphs.numbers]
        case Joined():
            return np.concatenate([largest(s, name) for s in graphs.sets])
    vectors = (g.quantities.get(name) for g in graphs)
    return np.array(
        [np.nan if v is None or not len(v) else float(v.double().norm(dim=-1).max()) for v in vectors]
    )


def names_in(
    graphs: Sequence[Graph], kind: Literal["quantity", "next", "condition"] = "quantity"
) -> list[str]:
    """Names of the quantities (of the next state) or conditions that some record has."""
    match graphs:
        case Store():
            return graphs.names(kind)
        case Subset():
            return [name for name in names_in(graphs.whole, kind) if holding(graphs, name, kind).any()]
        case Joined():
            return list(dict.fromkeys(name for s in graphs.sets for name in names_in(s, kind)))
    held = {"quantity": "quantities", "next": "next_quantities", "condition": "conditions"}[kind]
    return sorted({name for g in graphs for name in getattr(g, held)})


def edges_of(graphs: Sequence[Graph], cutoff: float = 5.0) -> np.ndarray:
    """``[R]`` int64: the number of edges of each record within ``cutoff`` (angstrom, of atoms), an estimate where that would mean
    to read it.

    In stores from the number of atoms and the volume of the cell; the estimates of a data set are multiplied by what the true
    numbers of :data:`LOOKED_AT` of its records say.
    """
    if isinstance(graphs, Joined):
        return np.concatenate([edges_of(s, cutoff) for s in graphs.sets])
    if not in_store(graphs):
        return np.array(
            [g.num_edges or int(estimated_edges(g.world, np.array(g.num_nodes), cutoff)) for g in graphs]
        )
    columns = columns_of(graphs)
    world, nodes, volume = np.array(columns["world"]), columns["num_nodes"], columns["volume"]
    edges = np.zeros(len(graphs), dtype=np.int64)
    for name in np.unique(world):
        here = world == name
        edges[here] = estimated_edges(str(name), nodes[here], cutoff, volume[here])
    kinds: dict[tuple[str, str], list[int]] = {}
    for number in np.flatnonzero(world != "field").tolist():
        kinds.setdefault((columns["dataset"][number], world[number]), []).append(number)
    of_each = min(LOOKED_AT, max(4, MOST_LOOKED_AT // max(len(kinds), 1)))
    for numbers in kinds.values():
        few = sorted({numbers[k] for k in np.linspace(0, len(numbers) - 1, of_each).astype(int)})
        true = sum(with_edges(graphs[k], cutoff).num_edges for k in few)
        edges[numbers] = (
            np.rint(edges[numbers] * (max(true, 1) / edges[few].sum())).astype(np.int64).clip(min=1)
        )
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
