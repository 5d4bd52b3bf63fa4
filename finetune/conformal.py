"""From errors on validation records to standard deviations and widths of intervals: a scale model and conformal quantiles.

The scale is log s = theta . z (what z is stands in ``models/uncertainty.py``), theta by maximum likelihood of a Laplace
distribution, sum w (log s + |e| / s), which is convex and less moved by outliers than a Gaussian. Slopes are bounded and
drawn to what theory says, so that few records suffice.

Widths are split conformal (Vovk, Gammerman, Shafer, Algorithmic Learning in a Random World (2005); Lei et al., J. Am. Stat.
Assoc. 113, 1094 (2018)): of K independent units with one score |e| / s each, the ceil((K + 1) p)-th smallest. Units with
several scores (the components of a structure, the conformers of a molecule) share their weight among these (Lee, Barber,
Willett, "Distribution-free inference with hierarchical data" (2023)). A component drawn from a new unit then lies inside
with probability p or more, whatever the network, if that unit comes from where the validation units come from. Scores are
made by a scale that was fitted without their fold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import minimize, minimize_scalar

FOLDS = 5
UNITS_FOR_SLOPES = 20
"""With fewer units the slopes keep what theory says."""
FARTHEST = 5.0
"""Errors count in the standard deviation up to so many times what nine in ten stay below: a label of 99999 for what was not
measured is not how far the network may be off. Quantiles take errors as they are."""
STRENGTH = 3.0
"""Of the pull to theory, in units."""


@dataclass(frozen=True)
class Errors:
    """``absolute [M]`` errors, ``covariates [M, 4]`` and ``units [M]``, the independent unit that each belongs to."""

    absolute: np.ndarray
    covariates: np.ndarray
    units: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """``coefficients [4]`` of the standard deviation and the ``quantiles`` of |error| / std, infinite where there are too
    few units."""

    coefficients: np.ndarray
    quantiles: np.ndarray
    num_units: int


def calibrate(errors: Errors, extensive: bool, coverages: Sequence[float]) -> Calibration:
    """Fit scale and quantiles. ``extensive``: errors are expected to grow with the number of atoms."""
    units = np.unique(errors.units, return_inverse=True)[1]
    num_units = int(units.max()) + 1
    weights = 1.0 / np.bincount(units)[units]
    prior = np.array([0.0, 0.5, 1.0 if extensive else 0.0, 0.0])
    floor = 1e-9 * max(float(np.abs(errors.absolute).max()), 1e-300)
    absolute = np.maximum(errors.absolute, floor)
    z = errors.covariates
    near = _within(absolute / np.exp(z @ prior)) * np.exp(z @ prior)
    coefficients = _fit(near, z, weights, prior)
    scores = absolute / np.exp(z @ coefficients)
    if num_units >= UNITS_FOR_SLOPES:
        fold = np.random.default_rng(0).permutation(num_units)[units] % FOLDS
        for k in range(FOLDS):
            own = fold == k
            theta = _fit(near[~own], z[~own], weights[~own], prior)
            scores[own] = absolute[own] / np.exp(z[own] @ theta)
    scale = max(math.sqrt(float(weights @ _within(scores) ** 2 / weights.sum())), 1e-12)
    coefficients = coefficients + np.array([math.log(scale), 0.0, 0.0, 0.0])
    quantiles = np.array([quantile(scores / scale, units, p) for p in coverages])
    return Calibration(coefficients, quantiles, num_units)


def _within(scores: np.ndarray) -> np.ndarray:
    """``scores [M]``, cut off where a label must be spoilt."""
    return np.minimum(scores, FARTHEST * float(np.quantile(scores, 0.9)))


def quantile(scores: np.ndarray, units: np.ndarray, coverage: float) -> float:
    """The smallest score that a share ``coverage`` of all units and of the new one stays below; infinite for too few units."""
    num_units = int(units.max()) + 1
    weights = 1.0 / np.bincount(units)[units] / (num_units + 1)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weights[order])
    place = int(np.searchsorted(reached, coverage - 1e-12))
    return float(scores[order[place]]) if place < len(scores) else math.inf


def living(errors: np.ndarray) -> np.ndarray:
    """``errors [..., N, 3]`` of a vector field without the components that have none at all: out of its plane a flow is zero by
    symmetry, which is no merit. Of scalars, ``[..., N]``, everything."""
    if errors.shape[-1] != 3:
        return errors
    alive = (errors != 0).reshape(-1, 3).any(0)
    return errors[..., alive] if alive.any() else errors


def unlucky_coverage(coverage: float, num_units: int, chance: float = 0.05) -> float:
    """What the true coverage stays above but for ``chance``: given the calibration set it is a draw of Beta(k, K + 1 - k) with
    k = ceil(p (K + 1)) (Vovk, Mach. Learn. 92, 349 (2013))."""
    k = math.ceil(coverage * (num_units + 1) - 1e-9)
    return float(stats.beta(k, num_units + 1 - k).ppf(chance))


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by so that probabilities are frequencies: maximum likelihood on ``labels [R]`` (0 or 1 for
    ``logits [R]``, 0 to K-1 for ``[R, K]``), with a normal prior of width 1 on its logarithm, which few labels do not move
    far.

    Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks", ICML 2017.
    """
    both = logits if logits.ndim == 2 else np.stack([np.zeros_like(logits), logits], axis=1)
    row = labels.astype(int)

    def loss(log_heat: float) -> float:
        scaled = both * np.exp(-log_heat)
        most = scaled.max(1)
        total = np.log(np.exp(scaled - most[:, None]).sum(1)) + most - scaled[np.arange(len(row)), row]
        return float(total.sum() + 0.5 * log_heat**2)

    return float(np.exp(minimize_scalar(loss, bounds=(-3.0, 3.0), method="bounded").x))


def _fit(absolute: np.ndarray, z: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """``theta [4]``: the intercept free, slopes within bounds and drawn to ``prior``."""
    weights = weights / weights.sum()
    num_units = 1.0 / weights.max()  # at least so many

    def closed(slopes: np.ndarray) -> tuple[float, np.ndarray]:
        """The best intercept for given slopes is log of the mean of |e| / s; what is left to minimise, and its gradient."""
        log_s = z[:, 1:] @ slopes
        terms = weights * absolute * np.exp(-log_s)
        total = terms.sum()
        pull = STRENGTH / num_units * (slopes - prior[1:])
        value = math.log(total) + float(weights @ log_s) + 0.5 * float(pull @ (slopes - prior[1:]))
        return value, weights @ z[:, 1:] - (terms / total) @ z[:, 1:] + pull

    slopes = prior[1:]
    if num_units >= UNITS_FOR_SLOPES * (1 - 1.0 / FOLDS):
        found = minimize(
            closed, slopes, jac=True, method="L-BFGS-B", bounds=[(0.0, 1.5), (0.0, 1.5), (0.0, 1.0)]
        )
        slopes = found.x
    intercept = math.log(float(weights @ (absolute * np.exp(-z[:, 1:] @ slopes))))
    return np.array([intercept, *slopes])
