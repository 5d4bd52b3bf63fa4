"""Closed forms with their own choice of the penalty: ridge regression by leave-one-out, logistic regression by folds.

Legend: ``R`` records, ``F`` features. All columns are divided by one number, so directions in which records differ much are cheap
and those of noise are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PENALTIES = 10.0 ** np.arange(-8.0, 3.01, 0.5)
"""Tried, relative to the number of records."""
FOLDS = 5
NEWTON_STEPS = 50


@dataclass(frozen=True)
class Solution:
    """``value = features @ weight [F] + intercept``. error: the leave-one-out RMSE, or the log loss of held-out folds. left_out
    ``[R]``: what a fit without the record, or without its fold, says of it."""

    weight: np.ndarray
    intercept: float
    penalty: float
    error: float
    left_out: np.ndarray


def ridge(features_RF: np.ndarray, values_R: np.ndarray, *, intercept: bool) -> Solution:
    """Ridge regression whose penalty has the least leave-one-out error, which is exact and costs one decomposition
    (Allen, Technometrics 16, 125 (1974))."""
    mean = features_RF.mean(0) if intercept else np.zeros(features_RF.shape[1])
    offset = float(values_R.mean()) if intercept else 0.0
    x, scale = _scaled(features_RF - mean)
    y = values_R - offset
    count = len(y)
    u, s, vt = np.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    best: tuple[float, float, np.ndarray] = (float("inf"), float(PENALTIES[-1]), y)
    for penalty in PENALTIES:
        shrink = s**2 / (s**2 + penalty * count)
        # the mean is fitted on all records: it takes one more of the degrees of freedom
        leverage = (u**2) @ shrink + (1 / count if intercept else 0.0)
        left_out = (y - u @ (shrink * projected)) / np.maximum(1 - leverage, 1e-9)
        found = float(np.sqrt(np.mean(left_out**2)))
        best = min(best, (found, float(penalty), left_out), key=lambda b: b[:2])
    error, penalty, missed = best
    weight = (vt.T @ (s / (s**2 + penalty * count) * projected)) / scale
    return Solution(weight, offset - float(mean @ weight), penalty, error, values_R - missed)


def logistic(features_RF: np.ndarray, labels_R: np.ndarray, seed: int = 0) -> Solution:
    """Logistic regression with a ridge, whose penalty has the least log loss on held-out folds; minimised by Newton's method."""
    mean = features_RF.mean(0)
    x, scale = _scaled(features_RF - mean)
    fold = np.random.default_rng(seed).permutation(len(x)) % FOLDS
    share = float(np.clip(labels_R.mean(), 1e-3, 1 - 1e-3))
    constant = np.full(len(x), np.log(share / (1 - share)))
    best: tuple[float, float, np.ndarray] = (float("inf"), float(PENALTIES[-1]), constant)
    for penalty in PENALTIES[PENALTIES > 1e-5]:
        losses, logits = [], constant.copy()
        for k in range(FOLDS):
            held, kept = fold == k, fold != k
            if not held.any() or len(np.unique(labels_R[kept])) < 2:
                continue
            weight, offset = _newton(x[kept], labels_R[kept], float(penalty))
            logits[held] = logit = x[held] @ weight + offset
            losses.append(np.logaddexp(0, logit) - labels_R[held] * logit)
        if losses:
            found = float(np.concatenate(losses).mean())
            best = min(best, (found, float(penalty), logits), key=lambda b: b[:2])
    error, penalty, left_out = best
    weight, offset = _newton(x, labels_R, penalty)
    weight = weight / scale
    return Solution(weight, offset - float(mean @ weight), penalty, error, left_out)


def _newton(x: np.ndarray, y: np.ndarray, penalty: float) -> tuple[np.ndarray, float]:
    design = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    strength = np.full(design.shape[1], penalty * len(x))
    strength[-1] = 1e-9
    theta = np.zeros(design.shape[1])
    for _ in range(NEWTON_STEPS):
        share = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
        gradient = design.T @ (share - y) + strength * theta
        curvature = np.maximum(share * (1 - share), 1e-6)
        step = np.linalg.solve((design.T * curvature) @ design + np.diag(strength), gradient)
        step *= min(1.0, 5.0 / max(float(np.abs(design @ step).max()), 1e-30))
        theta -= step
        if np.abs(step).max() < 1e-8 * (1 + np.abs(theta).max()):
            break
    return theta[:-1], float(theta[-1])


def _scaled(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Columns of unit RMS on average, and what they were divided by."""
    scale = max(float(np.sqrt(np.mean(x**2))), 1e-300)
    return x / scale, scale
