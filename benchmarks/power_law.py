"""A power law in two variables, y = y0 (N / N0)^-a (D / D0)^-b, fitted by least squares in logarithms, and what it foretells.

Uncertainties are those of linear regression: the residual variance with n - 3 degrees of freedom and Student's t. They say how
well the points fit a power law, not whether it goes on beyond them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

Point = tuple[float, float, float]
"""N, D, y."""


@dataclass(frozen=True)
class PowerLaw:
    """coefficients: log y0, -a, -b. center: log N0, log D0, the means of the points. covariance ``[3, 3]`` of the coefficients,
    variance of the residuals, degrees of freedom, share of the variance of log y that is explained."""

    coefficients: np.ndarray
    center: np.ndarray
    covariance: np.ndarray
    variance: float
    freedom: int
    explained: float

    @property
    def exponents(self) -> tuple[float, float]:
        """a of N and b of D; positive where more is better."""
        return -float(self.coefficients[1]), -float(self.coefficients[2])

    def half_widths(self, confidence: float = 0.9) -> tuple[float, float]:
        """Of the intervals of the two exponents."""
        factor = student.ppf(0.5 + confidence / 2, self.freedom)
        return tuple(float(factor * math.sqrt(self.covariance[i, i])) for i in (1, 2))  # type: ignore[return-value]

    def predict(self, n: float, d: float, confidence: float = 0.9) -> tuple[float, float, float]:
        """y at (n, d), with the interval in which one new measurement would lie."""
        row = np.array([1.0, math.log(n) - self.center[0], math.log(d) - self.center[1]])
        middle = float(row @ self.coefficients)
        spread = math.sqrt(self.variance + float(row @ self.covariance @ row))
        half = float(student.ppf(0.5 + confidence / 2, self.freedom)) * spread
        return math.exp(middle), math.exp(middle - half), math.exp(middle + half)


def fit(points: Sequence[Point]) -> PowerLaw | None:
    """None for fewer than five points, or where N or D does not vary."""
    if len(points) < 5:
        return None
    values = np.log(np.array(points, dtype=float))
    center = values[:, :2].mean(0)
    design = np.column_stack([np.ones(len(values)), values[:, :2] - center])
    if np.linalg.matrix_rank(design) < 3:
        return None
    found = np.linalg.lstsq(design, values[:, 2], rcond=None)[0]
    rest = values[:, 2] - design @ found
    freedom = len(points) - 3
    variance = float(rest @ rest) / freedom
    total = float(np.square(values[:, 2] - values[:, 2].mean()).sum())
    explained = 1 - float(rest @ rest) / total if total > 0 else 0.0
    covariance = variance * np.linalg.inv(design.T @ design)
    return PowerLaw(found, center, covariance, variance, freedom, explained)
