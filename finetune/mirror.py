"""Whether fields drift in a direction that the records do not name.

The network answers alike in a mirror and after a turn. A number at each point that always moves to the right (a concentration in
a wind that nobody wrote down, waves of the Korteweg-de Vries equation), or one that is really a velocity along the line
(Burgers), follows a law without that symmetry, which no training can find. Told by the correlation of steps with slopes: under
a law with the symmetry its sign is as often plus as minus.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_INPUTS

from .tasks import Task

FEWEST = 4
"""Trajectories that are compared."""
MOST = 64
CLEAR, CHANCE = 0.2, 2e-3
"""Mean correlation over trajectories, and the probability of such a mean where it is zero (t test)."""
AXES = "xyz"


def drift(task: Task, graphs: Sequence[Graph]) -> list[str]:
    """One line for each target of numbers that moves along an axis of a regular grid as a mirror forbids, where no vector enters
    that could say which way."""
    plain = [g for g in graphs if g.grid_shape is not None and g.num_times > 1][:MOST]
    if task.world != "field" or task.steady or len(plain) < FEWEST:
        return []
    if any(
        g.definition(n).shape or g.definition(n).irreps != "0e"
        for g in plain
        for n in g.quantities
        if n in FIELD_INPUTS
    ):
        return []
    lines = []
    for name in task.names:
        found = [_odd(g, name) for g in plain if name in g.quantities]
        if len(found) < FEWEST or len({len(f) for f in found}) > 1:
            continue
        values = np.stack(found)  # trajectories, axes, two slopes
        mean = values.mean(0)
        error = np.maximum(values.std(0, ddof=1) / np.sqrt(len(values)), 1e-9)
        chance = 2 * stats.t(len(values) - 1).sf(np.abs(mean) / error)
        wrong = (np.abs(mean) > CLEAR) & (chance < CHANCE)
        if wrong.any():
            axis, kind = np.argwhere(wrong)[0]
            lines.append(_sentence(name, AXES[axis], kind == 0, float(mean[axis, kind]), len(values)))
    return lines


def _sentence(name: str, axis: str, one_way: bool, mean: float, count: int) -> str:
    how, factor = (
        ("one way", "its slope") if one_way else ("the way of its own sign", "itself times its slope")
    )
    advice = (
        "give the wind as velocity, or the direction as gravity"
        if one_way
        else f"if it is a velocity, --map velocity=... instead of {name}"
    )
    return (
        f"{name} moves {how} along {axis} (its steps correlate with {factor}, {mean:+.2f} in the mean of {count} trajectories), "
        f"but nothing in the records has a direction, and the network cannot tell left from right: {advice}"
    )


def _odd(graph: Graph, name: str) -> np.ndarray:
    """``[axes, 2]`` correlations of the steps of a trajectory with the slope, and with the value times the slope."""
    assert graph.grid_shape is not None
    value = np.asarray(graph.quantities[name], dtype=np.float64).reshape(graph.num_times, *graph.grid_shape)
    step, now = np.diff(value, axis=0), value[:-1]
    out = np.zeros((len(graph.grid_shape), 2))
    for axis, periodic in enumerate(np.asarray(graph.pbc).tolist()[: len(graph.grid_shape)]):
        if graph.grid_shape[axis] < 3:
            continue
        slope = np.roll(now, -1, axis + 1) - np.roll(now, 1, axis + 1)
        if not periodic:
            keep = np.arange(1, graph.grid_shape[axis] - 1)
            cut = [np.take(x, keep, axis + 1) for x in (step, now, slope)]
        else:
            cut = [step, now, slope]
        out[axis] = _correlation(cut[0], cut[2]), _correlation(cut[0], (cut[1] - now.mean()) * cut[2])
    return out


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else 0.0
