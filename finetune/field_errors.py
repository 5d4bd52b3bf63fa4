"""Errors of field forecasts: VRMSE and nRMSE.

VRMSE as in Ohana et al., "The Well" (NeurIPS 2024): ``sqrt(<|u - v|^2> / <|v - <v>|^2>)`` with ``<.>`` the
mean over space at one time, ``v`` the truth; 1 is the error of the best constant. It is computed per
quantity over all its components, with the record's quadrature weights. Departure: The Well adds 1e-7 to the
variance; here the variance at one time is at least 1e-7 of its mean over the trajectory, so that units do
not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from atomfield.data.graph import Graph

from .bootstrap import Measure, measure
from .field_laws import kept_values, window_errors


def _space_mean(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Mean over nodes of ``[T, N, ...]``."""
    if weights is None:
        return values.mean(axis=1)
    return np.tensordot(values, weights / weights.sum(), axes=(1, 0))


def _square(values: np.ndarray) -> np.ndarray:
    """``[T, N, ...]`` -> ``[T, N]`` sum of squared components."""
    return np.square(values).reshape(*values.shape[:2], -1).sum(-1)


def vrmse_curve(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """``[T]`` VRMSE at each time of ``[T, N, ...]``; ``weights [N]``.

    A forecast that is not finite has an infinite error; a truth without any variance gives NaN.
    """
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        error = _space_mean(_square(predicted - truth), weights)
        error = np.where(np.isfinite(error), error, np.inf)
        variance = _space_mean(_square(truth - np.expand_dims(_space_mean(truth, weights), 1)), weights)
        floor = 1e-7 * variance.mean()
        if floor == 0:
            return np.full(len(truth), np.nan)
        return np.sqrt(error / np.maximum(variance, floor))


def nrmse(predicted: np.ndarray, truth: np.ndarray, weights: np.ndarray | None = None) -> float:
    """``sqrt(<|u - v|^2> / <|v|^2>)`` with the mean over space and time; infinite for a forecast that is
    not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        error = _space_mean(_square(predicted - truth), weights).mean()
    size = _space_mean(_square(truth), weights).mean()
    if size == 0:
        return float("nan")
    return float(np.sqrt(error / size)) if np.isfinite(error) else float("inf")


def vrmse_rows(
    graphs: Sequence[Graph], predictions: Sequence[Mapping[str, np.ndarray]], name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Curves of the rollouts in ``predictions`` (state 0 is the given one and not judged).

    Times since the start ``[S]`` of the longest rollout, and VRMSE ``[R, S]``: NaN after the end of a
    shorter one and where there is no prediction or no variance, infinite where a forecast diverged.
    """
    lengths = [
        len(p[name]) - 1 if name in p and name in g.quantities else 0
        for g, p in zip(graphs, predictions, strict=True)
    ]
    rows = np.full((len(graphs), max(lengths)), np.nan)
    for row, length, graph, prediction in zip(rows, lengths, graphs, predictions, strict=True):
        if length:
            truth = np.asarray(graph.quantities[name], dtype=np.float64)[1 : length + 1]
            row[:length] = vrmse_curve(
                np.asarray(prediction[name][1:], dtype=np.float64), truth, _weights(graph)
            )
    longest = graphs[int(np.argmax(lengths))].times
    assert longest is not None
    times = np.asarray(longest)
    return times[1 : max(lengths) + 1] - times[0], rows


def _weights(graph: Graph) -> np.ndarray | None:
    return None if graph.volume is None else np.asarray(graph.volume, dtype=np.float64)


def steady_measures(
    name: str, graphs: Sequence[Graph], predictions: Sequence[Mapping[str, np.ndarray]], units: np.ndarray
) -> list[Measure]:
    """Of a field without time, each a mean over records: relative L2 error ``|u - v| / |v|`` (the number that operator learning
    reports), VRMSE, and the largest error at a point relative to the largest value."""
    statistics: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for i, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        if name not in graph.quantities or name not in prediction:
            continue
        truth = np.asarray(graph.quantities[name], dtype=np.float64)[None]
        found, weights = np.asarray(prediction[name], dtype=np.float64)[None], _weights(graph)
        worst = float(np.sqrt(_square(found - truth).max() / max(_square(truth).max(), 1e-300)))
        for key, value in (
            (("relative_l2", "relative L2 error"), nrmse(found, truth, weights)),
            (("vrmse", "VRMSE"), float(vrmse_curve(found, truth, weights)[0])),
            (("relative_max_error", "relative largest error"), worst),
        ):
            statistics.setdefault(key, []).append((i, value))
    return _means(name, statistics, units)


def field_measures(
    name: str, graphs: Sequence[Graph], predictions: Sequence[Mapping[str, np.ndarray]], units: np.ndarray
) -> list[Measure]:
    """VRMSE and nRMSE of rollouts and single steps: each a mean over times, then over trajectories."""
    statistics: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for i, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        if name not in graph.quantities or name not in prediction:
            continue
        truth = np.asarray(graph.quantities[name], dtype=np.float64)
        weights = _weights(graph)
        rolled = np.asarray(prediction[name], dtype=np.float64)[1:]
        target = truth[1 : 1 + len(rolled)]
        curve = vrmse_curve(rolled, target, weights)
        statistics.setdefault(("rollout_vrmse", "rollout VRMSE"), []).append((i, float(np.nanmean(curve))))
        statistics.setdefault(("rollout_final_vrmse", "last-time VRMSE"), []).append((i, float(curve[-1])))
        statistics.setdefault(("rollout_nrmse", "rollout nRMSE"), []).append(
            (i, nrmse(rolled, target, weights))
        )
        with np.errstate(over="ignore", invalid="ignore"):
            squares = _space_mean(_square(rolled - target), weights)
        sizes = _space_mean(_square(target), weights)
        found = {**window_errors(curve, squares, sizes), **kept_values(graph, target, rolled)}
        for key, value in found.items():
            statistics.setdefault(key, []).append((i, value))
        if f"{name}_step" in prediction:
            later = truth[np.asarray(prediction["step_index"]) + 1]
            curve = vrmse_curve(np.asarray(prediction[f"{name}_step"], dtype=np.float64), later, weights)
            statistics.setdefault(("step_vrmse", "one-step VRMSE"), []).append((i, float(np.nanmean(curve))))
    return _means(name, statistics, units)


def _means(
    name: str, statistics: Mapping[tuple[str, str], list[tuple[int, float]]], units: np.ndarray
) -> list[Measure]:
    """The mean over records of each statistic, ``(part of the key, label) -> (record, value)``; what is not known is left out."""
    measures = []
    for (suffix, label), values in statistics.items():
        known = [(i, v) for i, v in values if not np.isnan(v)]
        if known:
            column = np.array([v for _, v in known])
            own = np.unique(units[[i for i, _ in known]], return_inverse=True)[1]

            def mean(w: np.ndarray, column: np.ndarray = column) -> float:
                return float((w[w > 0] @ column[w > 0]) / w.sum())

            measures.append(measure(f"{name}_{suffix}", f"{name} {label}", "", mean, own))
    return measures
