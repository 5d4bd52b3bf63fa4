"""Ranking scores of a binary classifier, exact with ties and with integer or real sample weights."""

from __future__ import annotations

import numpy as np


def _by_score(
    label: np.ndarray, score: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and of negatives at each distinct score, scores ascending."""
    weight = np.ones(len(label)) if weight is None else weight
    _, place = np.unique(score, return_inverse=True)
    positive = np.bincount(place, weights=weight * label)
    negative = np.bincount(place, weights=weight * ~label)
    return positive, negative


def roc_auc(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney U).

    ``label [R]`` bool, ``score [R]``. NaN when only one class is present.
    """
    positive, negative = _by_score(np.asarray(label, dtype=bool), np.asarray(score), weight)
    both = positive.sum() * negative.sum()
    if both == 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float((positive * (below + 0.5 * negative)).sum() / both)


def average_precision(label: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Area under the precision-recall curve as a step sum, ``sum_k (R_k - R_{k-1}) P_k`` over distinct
    scores from the top; equal scores enter together. NaN without positives."""
    positive, negative = _by_score(np.asarray(label, dtype=bool), np.asarray(score), weight)
    hits, alarms = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
    if hits[-1] == 0:
        return float("nan")
    called = hits + alarms
    precision = np.divide(hits, called, out=np.zeros_like(called), where=called > 0)
    return float((positive[::-1] * precision).sum() / hits[-1])


def curves(label: np.ndarray, score: np.ndarray) -> dict[str, np.ndarray]:
    """Points of the ROC and precision-recall curves from the strictest threshold on: ``false_positive_rate``,
    ``true_positive_rate`` (= recall), ``precision``; both classes must be present."""
    positive, negative = _by_score(np.asarray(label, dtype=bool), np.asarray(score), None)
    hits, alarms = np.cumsum(positive[::-1]), np.cumsum(negative[::-1])
    return {
        "false_positive_rate": np.concatenate([[0.0], alarms / alarms[-1]]),
        "true_positive_rate": np.concatenate([[0.0], hits / hits[-1]]),
        "precision": np.concatenate([[hits[0] / (hits[0] + alarms[0])], hits / (hits + alarms)]),
    }
