"""States of a field that a checkpoint was never taught start as copies of the taught one that they evolve most like.

What a network reads of a state and how it answers have rows of their own for each name. A temperature that is carried by a flow
is the concentration of another name, so its rows need not start at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_STATES, VOCABULARY
from atomfield.inference.silent import stepped
from atomfield.models.network import AtomFieldNet

from .extend import level_choices, trial_error
from .tasks import Task


@torch.no_grad()
def adopt_states(net: AtomFieldNet, task: Task, graphs: Sequence[Graph]) -> list[str]:
    """Give each state of ``graphs`` that no level of ``net`` was taught the rows of the taught state of the same irreps that
    predicts its first steps best, at the level where it does; says so, one line per state."""
    if task.world != "field" or task.steady:
        return []
    levels = {name: set(stepped(net, name)) for name in level_choices(net, "field")}
    taught = set().union(*levels.values())
    here = {n for g in graphs for n in g.quantities if n in FIELD_STATES}
    if taught >= set(FIELD_STATES):  # a network that was never trained
        return []
    lines = []
    for name in sorted((here & {*task.names}) - taught):
        errors = {}
        for other in sorted(taught - here):
            if VOCABULARY[other].irreps != VOCABULARY[name].irreps:
                continue
            renamed = [_renamed(g, name, other) for g in graphs]
            alone = replace(task, names=(other,))
            for level in (n for n in levels if other in levels[n]):
                errors[other, level] = trial_error(net, alone, renamed, level)
        if not errors:
            continue
        other, level = min(errors, key=lambda k: errors[k])
        _copy(net, name, other, level)
        lines.append(
            f"{name}: the checkpoint was never taught it, starts as a copy of {other} at level {level!r}"
        )
    return lines


def _renamed(graph: Graph, name: str, other: str) -> Graph:
    return graph.changed(quantities={other if k == name else k: v for k, v in graph.quantities.items()})


def _copy(net: AtomFieldNet, name: str, other: str, level: str) -> None:
    embedding, head, row = net.backbone.embedding, net.field_head, net.config.levels.index(level)
    inputs, states = net.config.field_inputs, net.config.field_states
    for table in (embedding.value, embedding.present):
        table[inputs.index(name)] = table[inputs.index(other)]
    head.weight[row, states.index(name)] = head.weight[row, states.index(other)]
