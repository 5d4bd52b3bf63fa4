"""A field forward in time: the network's forecast is fed back as its next input."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph, collate, step_conditions
from atomfield.data.neighbors import with_edges
from atomfield.models.denormals import flushed_denormals
from atomfield.models.gpu import replaying

from .inputs import refuse_atoms_alone, refuse_incomplete
from .predict import evaluating
from .silent import stepped

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


WORTH_RECORDING = 32
"""Steps from which on recording the kernels of a step takes less time than it saves."""


def rollout(
    net: AtomFieldNet, graph: Graph, num_steps: int | None = None, dt: float | None = None
) -> dict[str, Tensor]:
    """States ``[S+1, N, ...]`` (float64, CPU) of every state in ``graph`` that the network was trained to step; entry 0 is the
    given one.

    graph: a trajectory, which is started from its time 0, or a snapshot. num_steps: default: as many as the trajectory
    has. dt: default: the trajectory's own time steps (the last one is repeated beyond its end), or the snapshot's
    condition ``dt``. Inputs (permeability, gravity, a velocity that the network was never to find) follow the trajectory where
    it has them.

    A rollout that diverges is returned as it is, with values that are not finite. Raises ``InputError`` for atoms, for a
    graph without a state quantity that the network knows or without an input that training always had, and where the number of
    steps or dt is not given.
    """
    if not isinstance(graph, Graph):
        raise InputError(f"a rollout needs a field as a Graph, got {type(graph).__name__}")
    if graph.world != "field":
        raise InputError(
            f"a rollout needs a field, got a {graph.world}; run dynamics of atoms instead", graph.provenance
        )
    refuse_atoms_alone(net, graph)
    refuse_incomplete(net, graph)
    able = stepped(net, graph.level)
    names = [n for n in able if n in graph.quantities]
    if not names:
        found = ", ".join(graph.quantities) or "no quantities"
        raise InputError(f"found {found}, expected one of {', '.join(able)}", graph.provenance)
    sizes = step_sizes(graph, num_steps, dt)
    start = graph if graph.times is None else graph.snapshot(0)
    ready = with_edges(start, net.config.cutoff)
    states = {name: [start.quantities[name].double()] for name in names}
    batch = collate([ready]).to(net.device)
    with evaluating(net), replaying(net, net.device.type == "cuda" and len(sizes) >= WORTH_RECORDING):
        for step, size in enumerate(sizes):
            conditions = {
                name: torch.tensor([value], dtype=torch.float64, device=net.device)
                for name, value in step_conditions(start.conditions, size, ready.spacing).items()
            }
            inputs = (
                {} if graph.times is None or step == 0 else _given(graph, step, names, batch.positions.device)
            )
            batch = replace(batch, conditions=conditions, quantities={**batch.quantities, **inputs})
            with flushed_denormals():
                out = net(batch)
            batch.quantities.update({name: out[name].double() for name in names})
            for name in names:
                states[name].append(out[name].double().cpu())
    return {name: torch.stack(values) for name, values in states.items()}


def step_sizes(graph: Graph, num_steps: int | None, dt: float | None) -> list[float]:
    """Of each step that :func:`rollout` makes with these arguments. Raises ``InputError`` as it does."""
    if num_steps is not None and num_steps < 1:
        raise InputError(f"num_steps is {num_steps}, expected at least 1", graph.provenance)
    if dt is not None and not dt > 0:
        raise InputError(f"dt is {dt}, expected a positive number", graph.provenance)
    own = [] if graph.times is None else [float(d) for d in graph.times.diff()]
    if not own and dt is None:
        dt = graph.conditions.get("dt")
    if not own and (num_steps is None or dt is None):
        missing = "num_steps" if num_steps is None else "dt"
        raise InputError(f"{missing} is not given and the record is a single state; say it", graph.provenance)
    count = len(own) if num_steps is None else num_steps
    if dt is not None:
        return [dt] * count
    return [own[min(step, len(own) - 1)] for step in range(count)]


def _given(graph: Graph, step: int, names: list[str], device: torch.device) -> dict[str, Tensor]:
    """Inputs that are not states at this step (the last time's beyond the end), packed for one graph."""
    now = graph.snapshot(min(step, graph.num_times - 1))
    out = {}
    for name, value in now.quantities.items():
        q = graph.definition(name)
        if name not in names:
            shape = (graph.num_nodes, *q.shape) if q.support == "node" else (1, *q.shape)
            out[name] = value.to(torch.float64).reshape(shape).to(device)
    return out
