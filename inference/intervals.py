"""From standard deviations to intervals, and the names of both: ``NAME_std``, ``NAME_lower``, ``NAME_upper``, ``ood_score``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY
from atomfield.models.uncertainty import COVERAGES

if TYPE_CHECKING:
    from atomfield.models.config import NetworkConfig
    from atomfield.models.uncertainty import Uncertainty

SUFFIXES = ("_std", "_lower", "_upper")
OOD_SCORE = "ood_score"
"""How unusual a record is for the training set: 95 % of the validation records are below 1."""


def base_of(name: str) -> str:
    """``forces`` of ``forces_std``; a name of its own is left as it is."""
    return next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)


def support_of(name: str, config: NetworkConfig | None = None) -> Literal["node", "graph"]:
    """Whether a prediction has a value per node or per graph: a user's property of ``config``, or the vocabulary's."""
    if name == OOD_SCORE:
        return "graph"
    properties = {p.name: p.support for p in config.properties} if config else {}
    plain = name if name in properties or name in VOCABULARY else base_of(name)
    if plain in properties:
        return properties[plain]
    return VOCABULARY[plain].support if plain in VOCABULARY else "graph"


def check_coverage(coverage: float | None, where: str | None = None) -> None:
    """Raises ``InputError`` for a confidence level that no quantile is stored of."""
    if coverage is not None and coverage not in COVERAGES:
        known = ", ".join(f"{c:g}" for c in COVERAGES)
        raise InputError(f"coverage is {coverage:g}, expected one of {known}", where)


def start_size(state: Tensor) -> float:
    """What half widths of rollouts are in units of: the RMS of a scalar ``[N]``, or of the norms of vectors ``[N, 3]``, at the
    start."""
    return float(state.double().reshape(len(state), -1).square().sum(1).mean().sqrt()) or 1.0


def rollout_half_widths(
    uncertainty: Uncertainty | None,
    graph: Graph,
    states: Mapping[str, Tensor],
    coverage: float = 0.9,
) -> dict[str, np.ndarray]:
    """Name -> ``[S+1]`` half widths of the intervals of ``states [S+1, N, ...]``, a rollout from ``graph``: 0 at the start, NaN
    after more steps than were calibrated. Empty for other levels than the calibrated one.

    Each is about one component after one number of steps: that of a new trajectory lies inside with the probability
    ``coverage``, not all of them at once.
    """
    check_coverage(coverage)
    if uncertainty is None or not uncertainty.about.rollout_steps:
        return {}
    if (graph.level or uncertainty.config.default_level_field) != uncertainty.about.level:
        return {}
    out = {}
    for number, name in enumerate(uncertainty.about.targets):
        if name not in states:
            continue
        own = uncertainty.rollouts[number, :, COVERAGES.index(coverage)].cpu().numpy()
        width = np.full(len(states[name]), np.nan)
        width[0] = 0.0
        steps = min(len(own), len(width) - 1)
        width[1 : steps + 1] = np.where(np.isfinite(own[:steps]), own[:steps], np.nan)
        out[name] = width * start_size(states[name][0])
    return out


def with_intervals(
    uncertainty: Uncertainty, prediction: dict[str, np.ndarray], coverage: float
) -> dict[str, np.ndarray]:
    """``prediction`` with bounds where its standard deviation is known; nothing of what is not known (NaN: a record of another
    level; infinite: too few validation records for this confidence level)."""
    check_coverage(coverage)
    out = {
        n: v
        for n, v in prediction.items()
        if not (n == OOD_SCORE or n.endswith("_std")) or np.isfinite(v).all()
    }
    nonnegative = {p.name for p in uncertainty.config.properties if p.nonnegative}
    for name in uncertainty.about.targets:
        quantile = uncertainty.quantile(name, coverage)
        if name in out and f"{name}_std" in out and np.isfinite(quantile):
            value, half = out[name], quantile * out[f"{name}_std"]
            half = half.reshape(half.shape + (1,) * (value.ndim - half.ndim))
            lower = value - half
            if name in nonnegative:
                lower = np.maximum(lower, 0.0)
            out[f"{name}_lower"], out[f"{name}_upper"] = lower, value + half
    return out
