"""How wide the intervals of a rollout have to be, step by step: split conformal on rollouts of validation trajectories.

The score of a component is its error after s steps over the size of the state that the rollout began at, and a trajectory is one
unit at each step (``conformal.py``): a component drawn from a new trajectory after s steps lies inside with the probability that
was asked for, whatever the network, if that trajectory comes from where the validation ones come from. Errors of successive steps
are alike, so nothing is said of all steps together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atomfield.data.graph import Graph
from atomfield.inference.intervals import start_size
from atomfield.inference.rollout import rollout
from atomfield.models.network import AtomFieldNet
from atomfield.models.uncertainty import COVERAGES

from .assess import MAX_ROLLOUT_STEPS
from .bootstrap import resampling_units
from .conformal import living, quantile

FEWEST, MOST = 10, 60
"""Trajectories that are rolled out; with fewer there are no intervals of rollouts."""
POINTS = 2_000
"""Components of a state that are compared, at most."""


def rollout_widths(
    net: AtomFieldNet, targets: Sequence[str], valid: Sequence[Graph]
) -> tuple[np.ndarray, int]:
    """``[targets, steps, len(COVERAGES)]`` half widths in units of :func:`start_size`, infinite where trajectories are too few,
    and how many independent trajectories there are. No steps where that is below :data:`FEWEST`."""
    moving = [g for g in valid if g.world == "field" and g.num_times > 1]
    picked = [
        moving[i] for i in np.unique(np.linspace(0, len(moving) - 1, min(MOST, len(moving))).astype(int))
    ]
    units = resampling_units(picked)
    count = len(set(units.tolist()))
    if count < FEWEST:
        return np.zeros((len(targets), 0, len(COVERAGES))), count
    steps = min(max(g.num_times for g in picked) - 1, MAX_ROLLOUT_STEPS)
    scores: dict[tuple[int, int], list[tuple[np.ndarray, int]]] = {}
    for graph, unit in zip(picked, units.tolist(), strict=True):
        found = rollout(net, graph, num_steps=min(graph.num_times - 1, steps))
        for number, name in enumerate(targets):
            if name not in found:
                continue
            true = graph.quantities[name][: len(found[name])].double()
            size = start_size(true[0])
            error = living((found[name] - true).abs().numpy() / size).reshape(len(true), -1)
            kept = np.unique(np.linspace(0, error.shape[1] - 1, POINTS).astype(int))
            for step in range(1, len(error)):
                scores.setdefault((number, step), []).append((error[step, kept], unit))
    widths = np.full((len(targets), steps, len(COVERAGES)), np.inf)
    for (number, step), own in scores.items():
        values = np.nan_to_num(np.concatenate([e for e, _ in own]), nan=np.inf)
        owners = np.unique(np.concatenate([np.full(len(e), u) for e, u in own]), return_inverse=True)[1]
        widths[number, step - 1] = [quantile(values, owners, p) for p in COVERAGES]
    return widths, count


def fit_rollout_widths(net: AtomFieldNet, valid: Sequence[Graph]) -> None:
    """Give the uncertainty of ``net`` the half widths of rollouts, in place."""
    assert net.uncertainty is not None
    about = net.uncertainty.about
    states = [t for t in about.targets if t in net.config.field_states and t not in net.config.steady]
    if not states:
        return
    widths, count = rollout_widths(net, about.targets, valid)
    if widths.shape[1]:
        about = about.model_copy(update={"rollout_steps": widths.shape[1], "rollout_units": count})
        net.uncertainty.about = about
        net.uncertainty.register_buffer("rollouts", torch.from_numpy(widths).to(net.device))
        net.config = net.config.model_copy(update={"uncertainty": about})
