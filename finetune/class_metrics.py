"""Measures of classifiers: ranking, calibration of probabilities, and of many classes the averages that weigh each class alike.

Probabilities: log loss ``-<log p(true class)>``; Brier score ``<sum_k (p_k - y_k)^2>``, of two classes half of it, ``<(p -
y)^2>`` (Brier, Mon. Weather Rev. 78, 1 (1950)); expected calibration error: records in ten equal parts by the probability p
of what is predicted, ``sum_b n_b / n |<right>_b - <p>_b|`` (Naeini, Cooper, Hauskrecht, AAAI 2015, with equal parts in place
of equal widths)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .bootstrap import Measure, measure
from .scores import average_precision, roc_auc

BINS = 10
LEAST = 1e-12


def binary_measures(name: str, truth: np.ndarray, logits: np.ndarray, units: np.ndarray) -> list[Measure]:
    """``truth [R]`` 0 or 1, ``logits [R]`` of class 1."""
    label = truth > 0.5
    chance = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    right = ((logits > 0) == label).astype(float)
    square = np.square(chance - label)
    loss = -np.log(np.maximum(np.where(label, chance, 1 - chance), LEAST))
    bins = _parts(np.maximum(chance, 1 - chance))

    def balanced(w: np.ndarray) -> float:
        return _macro([(w * right)[label == k].sum() / max(w[label == k].sum(), LEAST) if w[label == k].sum() else np.nan
                       for k in (False, True)])  # fmt: skip

    return [
        measure(f"{name}_roc_auc", f"{name} ROC-AUC", "", lambda w: roc_auc(label, logits, w), units, True),
        measure(
            f"{name}_pr_auc", f"{name} PR-AUC", "", lambda w: average_precision(label, logits, w), units, True
        ),
        measure(
            f"{name}_accuracy", f"{name} accuracy", "", lambda w: float((w @ right) / w.sum()), units, True
        ),
        measure(f"{name}_balanced_accuracy", f"{name} balanced accuracy", "", balanced, units, True),
        measure(f"{name}_log_loss", f"{name} log loss", "", lambda w: float((w @ loss) / w.sum()), units),
        measure(f"{name}_brier", f"{name} Brier score", "", lambda w: float((w @ square) / w.sum()), units),
        measure(
            f"{name}_calibration_error",
            f"{name} calibration error",
            "",
            lambda w: _calibration_error(right, np.maximum(chance, 1 - chance), bins, w),
            units,
        ),
    ]


def multiclass_measures(name: str, truth: np.ndarray, logits: np.ndarray, units: np.ndarray) -> list[Measure]:
    """``truth [R]`` numbers of classes, ``logits [R, K]``. Averages over classes leave out those without a record."""
    number = truth.astype(int)
    chance = softmax(logits)
    predicted = chance.argmax(1)
    right = (predicted == number).astype(float)
    loss = -np.log(np.maximum(chance[np.arange(len(number)), number], LEAST))
    one_hot = np.eye(logits.shape[1])[number]
    square = np.square(chance - one_hot).sum(1)
    top, bins = chance.max(1), _parts(chance.max(1))
    classes = range(logits.shape[1])

    def balanced(w: np.ndarray) -> float:
        return _macro(
            [(w * right)[number == k].sum() / n if (n := w[number == k].sum()) else np.nan for k in classes]
        )

    def f1(w: np.ndarray) -> float:
        scores = []
        for k in classes:
            hit = float(w[(number == k) & (predicted == k)].sum())
            both = float(w[number == k].sum() + w[predicted == k].sum())
            scores.append(2 * hit / both if w[number == k].sum() else np.nan)
        return _macro(scores)

    def area(w: np.ndarray) -> float:
        return _macro([roc_auc(number == k, chance[:, k], w) for k in classes])

    return [
        measure(
            f"{name}_accuracy", f"{name} accuracy", "", lambda w: float((w @ right) / w.sum()), units, True
        ),
        measure(f"{name}_balanced_accuracy", f"{name} balanced accuracy", "", balanced, units, True),
        measure(f"{name}_macro_f1", f"{name} macro F1", "", f1, units, True),
        measure(f"{name}_macro_roc_auc", f"{name} macro ROC-AUC", "", area, units, True),
        measure(f"{name}_log_loss", f"{name} log loss", "", lambda w: float((w @ loss) / w.sum()), units),
        measure(f"{name}_brier", f"{name} Brier score", "", lambda w: float((w @ square) / w.sum()), units),
        measure(
            f"{name}_calibration_error",
            f"{name} calibration error",
            "",
            lambda w: _calibration_error(right, top, bins, w),
            units,
        ),
    ]


def macro_measures(measures: Sequence[Measure], names: Sequence[str]) -> list[Measure]:
    """Over several classification targets the plain mean of each area, targets without both classes left out."""
    out = []
    for tail, label in (("roc_auc", "ROC-AUC"), ("pr_auc", "PR-AUC")):
        values = [
            m.value for m in measures if m.key in {f"{n}_{tail}" for n in names} and np.isfinite(m.value)
        ]
        if len(names) > 1 and values:
            out.append(
                Measure(f"mean_{tail}", f"mean {label}", "", float(np.mean(values)), larger_is_better=True)
            )
    return out


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


def _macro(values: Sequence[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


def _parts(confidence: np.ndarray) -> np.ndarray:
    """``[R]`` part of each record by rank."""
    place = np.empty(len(confidence), dtype=int)
    place[np.argsort(confidence, kind="stable")] = np.arange(len(confidence))
    return place * min(BINS, len(confidence)) // max(len(confidence), 1)


def _calibration_error(right: np.ndarray, confidence: np.ndarray, bins: np.ndarray, w: np.ndarray) -> float:
    gap = np.bincount(bins, weights=w * right) - np.bincount(bins, weights=w * confidence)
    return float(np.abs(gap).sum() / w.sum())
