"""A linear map on POD coefficients: the strongest forecast of a field that is linear in its state.

Snapshots ``q`` (all target quantities, each scaled by its RMS) are centred on their mean, their leading
left singular vectors ``Phi`` are the proper orthogonal decomposition (Sirovich 1987), and a ridge
least-squares fit gives ``a(t + dt) = A a(t) + b`` for the coefficients ``a = Phi^T (q - mean)`` (dynamic
mode decomposition with a constant, Schmid 2010). Rank (at most 64) and ridge are those with the smallest
rollout error on a held-out part of the TRAINING data: whole trajectories, or the last fifth of the times
when there are fewer than five. The map is then fitted again on all of it.

Trajectories share one map when they share points, quantities and dt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from atomfield.data.graph import Graph

from .metrics import Prediction

MAX_RANK = 64
MAX_SNAPSHOTS = 1000
"""Snapshots that the basis is made from, evenly chosen from more."""
_RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_RIDGES = (1e-12, 1e-6, 1e-3)


def signature(graph: Graph, targets: Sequence[str]) -> str:
    """A key that two trajectories share when one linear map can serve both."""
    assert graph.times is not None
    names = [t for t in targets if t in graph.quantities]
    dt = float(graph.times[1] - graph.times[0])
    points = np.round(np.asarray(graph.positions) / graph.spacing, 5) + 0.0
    return hashlib.sha256(f"{names} {dt:.5g}".encode() + points.tobytes()).hexdigest()


@dataclass(frozen=True)
class LinearMap:
    """``a -> A a + b`` on the coefficients of ``basis [D, r]`` about ``mean [D]``; ``scales`` in the order
    of ``names``."""

    names: tuple[str, ...]
    scales: tuple[float, ...]
    mean: np.ndarray
    basis: np.ndarray
    matrix: np.ndarray
    offset: np.ndarray

    @property
    def rank(self) -> int:
        return len(self.offset)

    def rollout(self, graph: Graph, num_steps: int, step_index: np.ndarray) -> Prediction:
        """As ``baselines.persistence``: the rollout from the first state and single steps from the true
        states.

        State 0 of the rollout is the given one, later ones lie in the span of the basis.
        """
        states = _states(graph, self.names, self.scales)
        coefficients = (states[np.concatenate([[0], step_index]).astype(int)] - self.mean) @ self.basis
        trace = _roll(self.matrix, self.offset, coefficients[0], num_steps)
        rolled = trace @ self.basis.T + self.mean
        stepped = (coefficients[1:] @ self.matrix.T + self.offset) @ self.basis.T + self.mean
        out: Prediction = {"step_index": step_index}
        start = 0
        for name, scale in zip(self.names, self.scales, strict=True):
            truth = np.asarray(graph.quantities[name], dtype=np.float64)
            stop = start + truth[0].size
            out[name] = scale * rolled[:, start:stop].reshape(num_steps + 1, *truth.shape[1:])
            out[name][0] = truth[0]
            out[f"{name}_step"] = scale * stepped[:, start:stop].reshape(len(step_index), *truth.shape[1:])
            start = stop
        return out


@dataclass(frozen=True)
class PodBaseline:
    """Maps by signature; ``notes`` says what was fitted and why a trajectory may have none."""

    targets: tuple[str, ...]
    maps: dict[str, LinearMap] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def rollout(self, graph: Graph, num_steps: int, step_index: np.ndarray) -> Prediction | None:
        """None when no training trajectory has the points, quantities and dt of ``graph``."""
        found = self.maps.get(signature(graph, self.targets))
        return None if found is None else found.rollout(graph, num_steps, step_index)


def _roll(matrix: np.ndarray, offset: np.ndarray, start: np.ndarray, num_steps: int) -> np.ndarray:
    """``[..., r]`` coefficients -> ``[S+1, ..., r]``."""
    trace = [start]
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(num_steps):
            trace.append(trace[-1] @ matrix.T + offset)
    return np.stack(trace)


def _states(graph: Graph, names: Sequence[str], scales: Sequence[float]) -> np.ndarray:
    """``[T, D]`` scaled states."""
    parts = [
        np.asarray(graph.quantities[n], dtype=np.float64).reshape(graph.num_times, -1) / s
        for n, s in zip(names, scales, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def _ridge(pairs: tuple[np.ndarray, np.ndarray], ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """``A [r, r], b [r]`` that minimise ``|A x + b - y|^2 + ridge <x^2> |A|^2``."""
    x, y = pairs
    x_mean, y_mean = x.mean(0), y.mean(0)
    gram = (x - x_mean).T @ (x - x_mean)
    gram[np.diag_indices_from(gram)] += ridge * (np.trace(gram) / len(gram) + 1e-300)
    matrix = np.linalg.lstsq(gram, (x - x_mean).T @ (y - y_mean), rcond=1e-14)[0].T
    return matrix, y_mean - matrix @ x_mean


def _pairs(traces: list[np.ndarray], rank: int) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([t[:-1, :rank] for t in traces]), np.concatenate([t[1:, :rank] for t in traces])


def _rollout_error(traces: list[np.ndarray], matrix: np.ndarray, offset: np.ndarray) -> float:
    """Mean relative squared rollout error in coefficients; modes beyond the rank count as forecast to be
    zero."""
    rank = len(offset)
    errors = []
    for trace in traces:
        rolled = np.zeros_like(trace)
        rolled[:, :rank] = _roll(matrix, offset, trace[0, :rank], len(trace) - 1)
        with np.errstate(over="ignore", invalid="ignore"):
            error = np.square(rolled[1:] - trace[1:]).sum() / max(np.square(trace[1:]).sum(), 1e-300)
        errors.append(error if np.isfinite(error) else np.inf)
    return float(np.mean(errors))


def _choose(traces: list[np.ndarray]) -> tuple[int, float]:
    """Rank and ridge by the rollout error on the held-out part of the training data."""
    if len(traces) >= 5:
        fit = [t for i, t in enumerate(traces) if i % 5 != 4]
        held = [t for i, t in enumerate(traces) if i % 5 == 4]
    else:
        cuts = [max(2, int(0.8 * len(t))) for t in traces]
        fit = [t[:c] for t, c in zip(traces, cuts, strict=True)]
        held = [t[c - 1 :] for t, c in zip(traces, cuts, strict=True)]
    held = [t for t in held if len(t) > 1] or fit
    largest = traces[0].shape[1]
    best = (np.inf, 1, _RIDGES[0])
    for rank in sorted({min(r, largest) for r in _RANKS}):
        for ridge in _RIDGES:
            error = _rollout_error(held, *_ridge(_pairs(fit, rank), ridge))
            if error < best[0] * (1 - 1e-6):
                best = (error, rank, ridge)
    return best[1], best[2]


def _basis(snapshots: np.ndarray) -> np.ndarray:
    """``[D, r]`` leading singular vectors of centred ``[S, D]`` snapshots, from the smaller of the two Gram
    matrices."""
    if snapshots.shape[0] <= snapshots.shape[1]:
        values, vectors = np.linalg.eigh(snapshots @ snapshots.T)
        keep = np.argsort(values)[::-1][:MAX_RANK]
        keep = keep[values[keep] > 1e-13 * values.max()]
        basis, _ = np.linalg.qr(snapshots.T @ (vectors[:, keep] / np.sqrt(values[keep])))
        return basis
    values, vectors = np.linalg.eigh(snapshots.T @ snapshots)
    keep = np.argsort(values)[::-1][:MAX_RANK]
    return vectors[:, keep[values[keep] > 1e-13 * values.max()]]


def _fit(graphs: list[Graph], targets: Sequence[str]) -> tuple[LinearMap, float]:
    names = tuple(t for t in targets if t in graphs[0].quantities)
    scales = tuple(
        float(np.sqrt(np.mean([np.square(np.asarray(g.quantities[n])).mean() for g in graphs]))) or 1.0
        for n in names
    )
    mean = np.mean([_states(g, names, scales).mean(axis=0) for g in graphs], axis=0)
    stride = max(1, -(-sum(g.num_times for g in graphs) // MAX_SNAPSHOTS))
    snapshots = np.concatenate([_states(g, names, scales)[::stride] for g in graphs]) - mean
    total = float(np.square(snapshots).sum())
    if total == 0:
        zero = np.zeros((1, 1))
        return LinearMap(names, scales, mean, np.zeros((len(mean), 1)), zero, zero[0]), 1.0
    basis = _basis(snapshots)
    traces = [(_states(g, names, scales) - mean) @ basis for g in graphs]
    rank, ridge = _choose(traces)
    matrix, offset = _ridge(_pairs(traces, rank), ridge)
    kept = float(np.square(snapshots @ basis[:, :rank]).sum()) / total
    return LinearMap(names, scales, mean, basis[:, :rank], matrix, offset), kept


def fit_pod(train: Sequence[Graph], targets: Sequence[str]) -> PodBaseline:
    """Fit one map per set of training trajectories with the same points; the test set plays no part."""
    sets: dict[str, list[Graph]] = {}
    for graph in train:
        if graph.times is not None and graph.num_times > 2 and any(t in graph.quantities for t in targets):
            sets.setdefault(signature(graph, targets), []).append(graph)
    baseline = PodBaseline(tuple(targets))
    alone = 0
    for key, graphs in sets.items():
        if sum(g.num_times - 1 for g in graphs) < 8:
            alone += 1
            continue
        linear, kept = _fit(graphs, targets)
        baseline.maps[key] = linear
        baseline.notes.append(
            f"POD linear map: {len(graphs)} training trajectories on the same {graphs[0].num_nodes} points, "
            f"rank {linear.rank} with {100 * kept:.2f} % of the variance"
        )
    if alone:
        baseline.notes.append(
            f"POD linear map: {alone} sets of training trajectories have fewer than 8 steps and no map"
        )
    if not sets:
        baseline.notes.append(
            "POD linear map: no training trajectories with more than two times, so none was fitted"
        )
    return baseline
