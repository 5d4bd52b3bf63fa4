"""What a rollout should keep beside its points: the spectrum band by band, the mean, the energy.

Spectral error: on periodic grids the Fourier coefficients of each band of wave numbers, ``sqrt(sum |u_k - v_k|^2 / sum
|v_k|^2)``. The bands split (k_min, k_max) at equal steps of log k into low, middle and high, with k in units of the smallest
wave of the box, up to what all directions resolve (Ohana et al., "The Well", NeurIPS 2024, report the same three bands).

Drift of the mean: ``|<u> - <v>|`` relative to the root mean square of v over the trajectory: of a conserved density
(concentration on a periodic box, momentum) what is created or lost. Energy error: ``<|u|^2> / <|v|^2> - 1`` in size; of a
velocity the kinetic energy, of a vorticity the enstrophy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from atomfield.data.graph import Graph

BANDS = ("low", "middle", "high")
WINDOWS = ((1, 5), (6, 12), (13, 30), (31, 100))
"""Steps of a rollout, first and last, that errors are also averaged over; 6 to 12 and 13 to 30 are those of The Well."""


def kept_values(graph: Graph, truth: np.ndarray, rolled: np.ndarray) -> dict[tuple[str, str], float]:
    """(part of the key, label) -> value for one rollout; ``truth`` and ``rolled`` ``[S, N, ...]`` without the given state."""
    weights = None if graph.volume is None else np.asarray(graph.volume, dtype=np.float64)
    weights = np.full(graph.num_nodes, 1 / graph.num_nodes) if weights is None else weights / weights.sum()
    t, p = (x.reshape(*x.shape[:2], -1) for x in (truth, rolled))
    mean = lambda x: np.einsum("snd,n->sd", x, weights)  # noqa: E731
    with np.errstate(over="ignore", invalid="ignore"):
        energy_t, energy_p = mean(t**2).sum(1), mean(p**2).sum(1)
        size = float(np.sqrt(energy_t.mean()))
        if size == 0:
            return {}
        drift = np.linalg.norm(mean(p) - mean(t), axis=1) / size
        energy = np.abs(energy_p - energy_t) / energy_t.mean()
        out = {
            ("rollout_mean_drift", "drift of the mean"): _finite(drift.mean()),
            ("rollout_energy_error", "energy error"): _finite(energy.mean()),
        }
        for band, value in zip(BANDS, spectral_errors(graph, t, p), strict=False):
            out["rollout_spectral_" + band, f"spectral error, {band} k"] = value
    return out


def spectral_errors(graph: Graph, truth: np.ndarray, predicted: np.ndarray) -> list[float]:
    """Error of each band, ``[S, N, D]`` in; empty unless the points are a periodic grid."""
    shape = graph.grid_shape
    if shape is None or not bool(graph.pbc[: len(shape)].all()) or min(shape) < 8:
        return []
    axes = tuple(range(1, 1 + len(shape)))
    transform = lambda x: np.fft.fftn(x.reshape(len(x), *shape, -1), axes=axes)  # noqa: E731
    wave = _wave_numbers(graph, shape)
    most = min(n // 2 for n in shape)
    edges = np.geomspace(1, most, len(BANDS) + 1)
    error, size = (
        np.square(np.abs(x)).sum(axis=(0, -1)) for x in (transform(predicted - truth), transform(truth))
    )
    out = []
    for k in range(len(BANDS)):
        own = (wave >= edges[k] * (1 - 1e-9)) & (wave < edges[k + 1] * (1 - 1e-9) if k < 2 else wave <= most)
        total = float(size[own].sum())
        if total > 1e-24 * float(size.sum()):
            out.append(_finite(float(np.sqrt(error[own].sum() / total))))
        else:
            out.append(float("nan"))
    return out


def _wave_numbers(graph: Graph, shape: tuple[int, ...]) -> np.ndarray:
    """|k| of each Fourier coefficient in units of the smallest wave of the shortest side."""
    sides = np.linalg.norm(np.asarray(graph.cell)[: len(shape)], axis=1)
    grids = [np.fft.fftfreq(n, 1 / n) * sides.min() / side for n, side in zip(shape, sides, strict=True)]
    return np.sqrt(sum(g**2 for g in np.meshgrid(*grids, indexing="ij")))


def window_errors(
    curve: np.ndarray, squares: np.ndarray, sizes: np.ndarray
) -> Mapping[tuple[str, str], float]:
    """VRMSE and nRMSE over the windows that the rollout reaches; of each step: ``curve`` VRMSE, ``squares`` mean squared
    error, ``sizes`` mean square of the truth.
    """
    out = {}
    for first, last in WINDOWS:
        if len(curve) < last and not (first == 1 or len(curve) >= first + 2):
            continue
        own = slice(first - 1, min(last, len(curve)))
        tail, label = f"steps_{first}_{last}", f"steps {first} to {last}"
        out[f"rollout_vrmse_{tail}", f"VRMSE, {label}"] = float(np.nanmean(curve[own]))
        if (size := float(sizes[own].mean())) > 0:
            out[f"rollout_nrmse_{tail}", f"nRMSE, {label}"] = _finite(
                float(np.sqrt(squares[own].mean() / size))
            )
    return out


def _finite(value: float) -> float:
    """A forecast that diverged has an infinite error."""
    return float(value) if np.isfinite(value) else float("inf")
