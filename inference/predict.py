"""Many graphs in, one dictionary of arrays each out: packed by edges, in the order given, in physical units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph, GraphBatch, collate, step_conditions
from atomfield.data.neighbors import with_edges, with_radius_edges
from atomfield.data.quantities import VOCABULARY, Quantity
from atomfield.data.steady import unsolved
from atomfield.models.denormals import flushed_denormals

from .convert import to_graphs
from .inputs import refuse_atoms_alone, refuse_incomplete, refuse_without_bonds
from .intervals import base_of, check_coverage, support_of, with_intervals
from .levels import with_level, with_level_for_features
from .memory import explained
from .silent import silent, stepped
from .total_charge import with_stated_total
from .unseen import refuse_strangers

if TYPE_CHECKING:
    from atomfield.models.config import NetworkConfig, PropertyConfig
    from atomfield.models.network import AtomFieldNet

__all__ = [
    "Prediction",
    "batch_of_items",
    "described",
    "embed_graphs",
    "evaluating",
    "packs",
    "predict_graphs",
    "probabilities",
    "to_graphs",
]

Prediction = dict[str, np.ndarray]
"""Name -> array in the shape and unit of the vocabulary; a user's property has the shape that its irreps say."""


def predict_graphs(
    net: AtomFieldNet,
    graphs: Sequence[Graph],
    *,
    max_edges: int = 60_000,
    device: torch.device | str | None = None,
    forces: bool = True,
    stress: bool | None = None,
    added: bool = True,
    coverage: float | None = 0.9,
    progress: bool = False,
) -> list[Prediction]:
    """What ``net`` says of each graph, in the order of ``graphs``.

    Atoms: ``energy []`` eV, ``forces [N, 3]`` eV/angstrom, ``stress [3, 3]`` eV/angstrom^3 (only where periodic in three
    directions; ``stress=False`` leaves it out), ``charges [N]`` e, which add up to the total charge where it is known
    (``total_charge.py``), ``dipole [3]`` e*angstrom (only where not periodic; of ions about the centre of mass) and the user's
    properties ``[...]`` or ``[N, ...]`` (of a class the logits, see :func:`probabilities`). What the network was never trained
    to say at a record's level is left out (``silent.py``).
    Fields: the next state of each state quantity, ``[N, ...]``; of a trajectory of T times ``[T-1, N, ...]``, the
    forecasts of times 1 to T-1, each made from the given state before it.

    max_edges: a batch is closed before it exceeds this many edges; one larger graph is a batch of its own.
    A checkpoint with an uncertainty gives more: ``NAME_std``, ``NAME_lower`` and ``NAME_upper`` of each of its targets, and
    ``ood_score`` (``intervals.py``).

    Raises ``InputError`` for a field without a state that the network finds, or without an input that training always had.

    added: with the analytic terms that the labels of a level lack (``models/priors.py``); False to compare with labels.
    coverage: of the intervals, one of ``models.uncertainty.COVERAGES``; None: no uncertainty at all.
    device: where to compute; default: where ``net`` is, and ``net`` is moved otherwise.
    """
    if device is not None:
        net.to(device)
    check_coverage(coverage)
    graphs = [with_level(net, g, number) for number, g in enumerate(graphs)]
    for graph in graphs:
        refuse_atoms_alone(net, graph)
        refuse_incomplete(net, graph)
        refuse_without_bonds(net, graph)
    sure = net.uncertainty if coverage is not None else None
    quiet = {level: silent(net, level) for level in {g.level for g in graphs if g.world != "field"}}
    states = {level: stepped(net, level) for level in {g.level for g in graphs if g.world == "field"}}
    if quiet and all("energy" in names for names in quiet.values()):
        forces, stress = False, False  # nothing that they would be a derivative of
    results: list[Prediction] = [{}] * len(graphs)
    steps: dict[int, list[Prediction]] = {}
    with evaluating(net), _Progress(len(graphs), progress) as bar:
        for items in packs(net.config, graphs, max_edges, stress is not False):
            batch = batch_of_items(items, net.config.cutoff)
            with_stress = stress is not False and batch.world != "field" and bool(batch.pbc.all())
            placed = batch.to(net.device)
            with explained(net, placed, with_stress), flushed_denormals():
                out = net(placed, forces=forces, stress=with_stress, added=added, features=sure is not None)
            out = with_stated_total(out, placed)
            if sure is not None:
                out |= sure(out, placed, net.level_index(placed))
                out = {name: value for name, value in out.items() if not name.startswith("features/")}
            for item, found in zip(items, _unpacked(net.config, out, batch, forces), strict=True):
                if sure is not None and coverage is not None:
                    found = with_intervals(sure, found, coverage)
                if untold := quiet.get(item.graph.level):
                    found = {n: v for n, v in found.items() if base_of(n) not in untold}
                if batch.world == "field":  # a batch has the quantities of all its graphs
                    found = {
                        name: value
                        for name, value in found.items()
                        if name == "ood_score"
                        or (
                            base_of(name) in states[item.graph.level]
                            and (base_of(name) in item.graph.quantities or base_of(name) in net.config.steady)
                        )
                    }
                    if not found.keys() - {"ood_score"}:
                        held = ", ".join(item.graph.quantities) or "no quantities"
                        able = ", ".join(states[item.graph.level])
                        raise InputError(f"found {held}, expected one of {able}", item.graph.provenance)
                if item.is_step:
                    steps.setdefault(item.owner, []).append(found)
                else:
                    results[item.owner] = found
                bar.advance(item.owner)
    for owner, forecasts in steps.items():
        results[owner] = {name: np.stack([f[name] for f in forecasts]) for name in forecasts[0]}
    return results


@contextmanager
def evaluating(net: AtomFieldNet) -> Iterator[None]:
    """No gradients of weights, no dropout and no inference mode inside, in which forces could not be derivatives; the network's
    mode is put back afterwards."""
    was_training = net.training
    net.eval()
    try:
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        net.train(was_training)


def embed_graphs(net: AtomFieldNet, graphs: Sequence[Graph], *, max_edges: int = 60_000) -> list[Prediction]:
    """Features of each graph: ``invariant [C]`` and, for lmax > 0, ``vector [3, C]``; of a trajectory those of its first
    state. Raises ``InputError`` for elements that training never showed at any level."""
    first = [with_level_for_features(net, g if g.times is None else g.snapshot(0)) for g in graphs]
    for number, graph in enumerate(first):
        if graph.world != "field":
            where = graph.provenance if graph.provenance.file else Provenance("<input>", number)
            refuse_strangers(net, graph.species, graph.level, where)
    results: list[Prediction] = [{}] * len(graphs)
    with evaluating(net):
        for items in packs(net.config, first, max_edges, False):
            batch = batch_of_items(items, net.config.cutoff).to(net.device)
            with flushed_denormals():
                found = net.embed(batch)
            out = {k: v.double().cpu().numpy() for k, v in found.items()}
            for row, item in enumerate(items):
                results[item.owner] = {k: v[row] for k, v in out.items()}
    return results


def probabilities(
    properties: Sequence[PropertyConfig], predictions: Sequence[Prediction]
) -> list[Prediction]:
    """The same predictions with probabilities in place of logits: of class 1; of many classes ``NAME`` is the number of the most
    likely one and ``NAME_p_CLASS`` the probability of each."""
    return [_with_probabilities(properties, one) for one in predictions]


def _with_probabilities(properties: Sequence[PropertyConfig], prediction: Prediction) -> Prediction:
    out = dict(prediction)
    for prop in properties:
        if prop.name not in out:
            continue
        logits = out[prop.name]
        if prop.kind == "classification":
            out[prop.name] = 1 / (1 + np.exp(-logits))
        if prop.kind == "multiclass":
            raised = np.exp(logits - logits.max())
            out[prop.name] = np.asarray(float(logits.argmax()))
            out |= {f"{prop.name}_p_{c}": p for c, p in zip(prop.classes, raised / raised.sum(), strict=True)}
    return out


# ---------------------------------------------------------------- packing
@dataclass(frozen=True)
class Item:
    """A snapshot, the number of the graph that it is from, whether it is one step of a trajectory, and the edges
    that it has, or may
    have at most where they are found together with those of its batch."""

    owner: int
    graph: Graph
    is_step: bool
    num_edges: int


TOGETHER = 100
"""Nodes up to which molecules find their neighbours in one call for the whole batch."""


def _items(graphs: Sequence[Graph], config: NetworkConfig) -> Iterator[Item]:
    """Every snapshot that has a forecast; the edges of a trajectory are built once."""
    for owner, graph in enumerate(graphs):
        if graph.times is None:
            if _found_together(graph):
                yield Item(owner, graph, False, graph.num_nodes * (graph.num_nodes - 1))
                continue
            ready = with_edges(graph, config.cutoff)
            yield Item(owner, ready, False, ready.num_edges)
            continue
        ready = with_edges(graph.snapshot(0), config.cutoff)
        if graph.num_times < 2:
            yield Item(owner, ready, False, ready.num_edges)
        for t in range(graph.num_times - 1):
            dt = float(graph.times[t + 1] - graph.times[t])
            now = graph.snapshot(t)
            conditions = step_conditions(now.conditions, dt, ready.spacing)
            now = replace(now, edges=ready.edges, spacing=ready.spacing, conditions=conditions)
            yield Item(owner, now, True, now.num_edges)


def _found_together(graph: Graph) -> bool:
    return graph.world != "field" and not graph.pbc.any() and graph.num_nodes <= TOGETHER and not graph.edges


def batch_of_items(items: list[Item], cutoff: float) -> GraphBatch:
    if all(_found_together(item.graph) for item in items):
        return with_radius_edges(collate([item.graph for item in items]), cutoff)
    return collate([with_edges(i.graph, cutoff) if _found_together(i.graph) else i.graph for i in items])


def packs(
    config: NetworkConfig, graphs: Sequence[Graph], max_edges: int, by_stress: bool
) -> Iterator[list[Item]]:
    """Packs of one kind each (fields, atoms, and crystals that get a stress) of at most ``max_edges``."""
    waiting: dict[str, list[Item]] = {"field": [], "atoms": [], "solid": []}
    sizes = dict.fromkeys(waiting, 0)
    for item in _items(graphs, config):
        graph = item.graph
        solid = by_stress and bool(graph.pbc.all())
        kind = "field" if graph.world == "field" else "solid" if solid else "atoms"
        if waiting[kind] and sizes[kind] + item.num_edges > max_edges:
            yield waiting[kind]
            waiting[kind], sizes[kind] = [], 0
        waiting[kind].append(item)
        sizes[kind] += item.num_edges
    yield from (pack for pack in waiting.values() if pack)


def _unpacked(
    config: NetworkConfig, out: dict[str, Tensor], batch: GraphBatch, forces: bool
) -> Iterator[Prediction]:
    """One dictionary per graph; arrays are float64 copies on the CPU."""
    arrays = {name: value.detach().double().cpu().numpy() for name, value in out.items()}
    ends = np.cumsum(batch.nodes_per_graph().cpu().numpy())
    periodic = batch.pbc.any(dim=1).cpu().numpy()
    per_node = {n for n in arrays if support_of(n, config) == "node"}
    for row, end in enumerate(ends):
        start = ends[row - 1] if row else 0
        one = {n: (v[start:end] if n in per_node else v[row]).copy() for n, v in arrays.items()}
        one = {n: np.asarray(v) for n, v in one.items()}
        if periodic[row]:
            # the dipole depends on which image of each atom is listed
            one = {n: v for n, v in one.items() if base_of(n) != "dipole"}
        if not forces:
            one = {n: v for n, v in one.items() if base_of(n) != "forces"}
        yield one


class _Progress:
    """A rich progress bar over graphs, or nothing."""

    def __init__(self, total: int, shown: bool):
        self.total, self.shown, self.last = total, shown, -1

    def __enter__(self) -> _Progress:
        if self.shown:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, transient=True)
            self.task = self.bar.add_task("predict", total=self.total)
            self.bar.start()
        return self

    def advance(self, owner: int) -> None:
        """Called once per snapshot; a trajectory counts once, at its first."""
        if self.shown and owner != self.last:
            self.bar.advance(self.task)
        self.last = owner

    def __exit__(self, *_: object) -> None:
        if self.shown:
            self.bar.stop()


def described(graph: Graph, config: NetworkConfig) -> Graph:
    """``graph`` with the definitions of the network's own properties, so that a file of predictions knows shapes and units,
    and the solution of a steady problem as a label.
    """
    own = {
        p.name: Quantity(p.name, p.irreps, p.support, p.unit, "user-defined property")
        for p in config.properties
        if p.name not in VOCABULARY
    }
    return unsolved(graph, config.steady).changed(properties={**own, **graph.properties})
