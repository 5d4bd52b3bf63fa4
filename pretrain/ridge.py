"""What is known of a property before any training: its scale, its constants per element, and ridge fits to find them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atomfield.models.config import PropertyConfig

NUM_SPECIES = 119


@dataclass(frozen=True)
class PropertyFit:
    """Scale, shift and per-element reference of one property, fitted on the training records."""

    config: PropertyConfig
    scale: float
    shift: float
    reference: np.ndarray
    reason: str
    """How task and pooling were chosen, for the person."""
    shifts: np.ndarray | None = None
    """Of a property that is more than one number: ``[S]`` constants of its invariant components."""
    references: np.ndarray | None = None
    """``[S, 119]`` their constants per element."""


def ridge(design: np.ndarray, values: np.ndarray, strength: float = 1e-3) -> np.ndarray:
    """Coefficients of the least squares with a penalty relative to the mean square of the columns."""
    gram = design.T @ design
    return np.linalg.solve(
        gram + strength * (np.trace(gram) / len(gram) + 1e-12) * np.eye(len(gram)), design.T @ values
    )


def ridge_error(design: np.ndarray, values: np.ndarray, folds: int = 5) -> float:
    """Cross-validated RMSE of a ridge fit; folds by a fixed permutation."""
    fold = np.random.default_rng(0).permutation(len(values)) % folds
    squares = 0.0
    for k in range(folds):
        held, kept = fold == k, fold != k
        if held.any() and kept.any():
            squares += float(((design[held] @ ridge(design[kept], values[kept]) - values[held]) ** 2).sum())
    return float(np.sqrt(squares / len(values)))
