"""Measures of vectors, tensors and spectra beside MAE and RMSE of their components.

``relative``: ``<|p - t|> / <|t|>`` with the Frobenius norm. Of vectors the mean cosine with the truth. Of symmetric 3x3
tensors the MAE of the isotropic part (a third of the trace) and of the anisotropy, the norm of what remains. Of spectra the
RMSE of the sum of all entries, relative to its mean: the number of states, the sum rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bootstrap import Measure, measure


def tensor_measures(
    name: str,
    irreps: str,
    unit: tuple[str, str],
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    units: np.ndarray,
) -> list[Measure]:
    """``truth`` and ``predicted``: per record ``[values, ...]`` in Cartesian form; ``unit``: as shown, and as part of a key."""
    rank = truth[0].ndim - 1
    norm = lambda x: np.sqrt(np.square(x).reshape(len(x), -1).sum(1))  # noqa: E731
    error = np.array([norm(p - t).sum() for t, p in zip(truth, predicted, strict=True)])
    size = np.array([norm(t).sum() for t in truth])
    out = [
        measure(
            f"{name}_relative_error",
            f"{name} relative error",
            "",
            lambda w: _ratio(w @ error, w @ size),
            units,
        )
    ]
    if rank == 1 and irreps in ("1o", "1e"):
        cosine, count = [], []
        for t, p in zip(truth, predicted, strict=True):
            long = norm(t) > 1e-3 * max(float(size.sum()) / max(sum(map(len, truth)), 1), 1e-300)
            cosine.append(((t * p).sum(1) / np.maximum(norm(t) * norm(p), 1e-300))[long].sum())
            count.append(float(long.sum()))
        total, counts = np.array(cosine), np.array(count)
        out.append(
            measure(
                f"{name}_cosine", f"{name} cosine", "", lambda w: _ratio(w @ total, w @ counts), units, True
            )
        )
    if irreps in ("0e+2e", "0e+1e+2e"):
        out += _isotropic(name, unit, truth, predicted, units)
    if rank == 1 and irreps.endswith("x0e"):
        sums = np.array([(p - t).sum(1) @ (p - t).sum(1) for t, p in zip(truth, predicted, strict=True)])
        whole = np.array([t.sum(1).sum() for t in truth])
        number = np.array([float(len(t)) for t in truth])

        def relative(w: np.ndarray) -> float:
            return _ratio(float(np.sqrt(_ratio(w @ sums, w @ number))), abs(_ratio(w @ whole, w @ number)))

        out.append(
            measure(f"{name}_sum_relative_rmse", f"{name} relative RMSE of the sum", "", relative, units)
        )
    return out


def _isotropic(
    name: str,
    unit: tuple[str, str],
    truth: Sequence[np.ndarray],
    predicted: Sequence[np.ndarray],
    units: np.ndarray,
) -> list[Measure]:
    count = np.array([float(len(t)) for t in truth])
    trace = lambda x: np.trace(x, axis1=1, axis2=2) / 3  # noqa: E731

    def anisotropy(x: np.ndarray) -> np.ndarray:
        rest = (x + np.swapaxes(x, 1, 2)) / 2 - trace(x)[:, None, None] * np.eye(3)
        return np.sqrt(np.square(rest).sum((1, 2)))

    out = []
    for key, label, of in (("isotropic", "isotropic part", trace), ("anisotropy", "anisotropy", anisotropy)):
        error = np.array([np.abs(of(p) - of(t)).sum() for t, p in zip(truth, predicted, strict=True)])
        tail = f"_{unit[1]}" if unit[1] else ""

        def mean(w: np.ndarray, error: np.ndarray = error) -> float:
            return _ratio(w @ error, w @ count)

        out.append(measure(f"{name}_{key}_mae{tail}", f"{name} {label} MAE", unit[0], mean, units))
    return out


def _ratio(above: float, below: float) -> float:
    return float(above / below) if below > 0 else float("nan")
