"""One measured number with its bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from atomfield.data.graph import Graph


@dataclass(frozen=True)
class Measure:
    """One number: flat ``key``, a label and unit for tables, and its 95 % interval (NaN where not
    computed)."""

    key: str
    label: str
    unit: str
    value: float
    low: float = float("nan")
    high: float = float("nan")
    larger_is_better: bool = False


def resampling_units(graphs: Sequence[Graph]) -> np.ndarray:
    """``[R]`` index of the unit that each record is resampled with."""
    groups = [g.group for g in graphs]
    if "" not in groups and len(set(groups)) >= 10:
        return np.unique(groups, return_inverse=True)[1]
    return np.arange(len(graphs))


def interval(
    statistic: Callable[[np.ndarray], float], units: np.ndarray, *, samples: int = 200, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979): 2.5 % and 97.5 % of ``statistic(weights [R])``, whole units drawn
    with replacement.

    NaN for fewer than five units.
    """
    num_units = int(units.max()) + 1 if len(units) else 0
    if num_units < 5:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    values = [
        statistic(
            np.bincount(rng.integers(num_units, size=num_units), minlength=num_units)[units].astype(float)
        )
        for _ in range(samples)
    ]
    finite = [v for v in values if np.isfinite(v)]
    if len(finite) < samples // 2:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def measure(
    key: str,
    label: str,
    unit: str,
    statistic: Callable[[np.ndarray], float],
    units: np.ndarray,
    larger: bool = False,
) -> Measure:
    value = float(statistic(np.ones(len(units))))
    low, high = interval(statistic, units) if np.isfinite(value) else (float("nan"), float("nan"))
    return Measure(key, label, unit, value, low, high, larger)
