"""Gradient boosting on features that stay: scikit-learn grows each tree, validation records choose how many and how deep.

Each tree is fitted to the Newton step of what is still missing, g / h with weights h, so that the value of a leaf is
sum g / sum h (Friedman, Ann. Stat. 29, 1189 (2001); with the second derivative as in Chen and Guestrin, KDD 2016). Trees see
a random part of the records and of the features (Friedman, Comput. Stat. Data Anal. 38, 367 (2002)).

Legend: ``R`` records, ``F`` features, ``T`` trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.models.trees import Forest

Kind = Literal["regression", "classification"]
DEPTHS = (1, 2, 3)
RATES = (0.1, 0.03)
"""What each tree adds of its own answer."""
MOST_TREES = {0.1: 300, 0.03: 600}
PATIENCE = {0.1: 40, 0.03: 80}
"""Trees without a better validation loss after which growing stops."""
RECORDS_PER_TREE, FEATURES_PER_SPLIT = 0.7, 0.3
LEAST_IN_LEAF = 3


@dataclass(frozen=True)
class Records:
    """``features [R, F]`` (float64 with the digits of float32), ``start [R]`` what is predicted without trees and ``labels [R]``,
    both in units of the scale (a class: logit and 0 or 1), ``size [R]`` what a tree's answer is multiplied by."""

    features: np.ndarray
    start: np.ndarray
    labels: np.ndarray
    size: np.ndarray

    def loss(self, kind: Kind, added: np.ndarray) -> np.ndarray:
        """``[R]`` absolute error, or log loss, with ``added [R]`` per unit of size."""
        said = self.start + self.size * added
        if kind == "regression":
            return np.abs(self.labels - said)
        return np.logaddexp(0, said) - self.labels * said

    def newton(self, kind: Kind, added: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Step ``[R]`` towards the least squared error or log loss, and its weight ``[R]``."""
        said = self.start + self.size * added
        if kind == "regression":
            return (self.labels - said) / self.size, self.size**2
        share = 1 / (1 + np.exp(-np.clip(said, -30, 30)))
        curvature = np.maximum(share * (1 - share), 1e-3)
        return (self.labels - share) / (curvature * self.size), curvature * self.size**2


@dataclass(frozen=True)
class Boosted:
    """Trees of scikit-learn and the rate of each. before, after: mean validation loss without and with them; error: the standard
    error of their difference."""

    trees: list[Any]
    rate: float
    depth: int
    before: float
    after: float
    error: float

    def added(self, features_RF: np.ndarray) -> np.ndarray:
        """``[R]`` what the trees say, as scikit-learn evaluates them."""
        total = np.zeros(len(features_RF))
        for tree in self.trees:
            total += self.rate * tree.predict(features_RF)
        return total


def boost(train: Records, valid: Records, kind: Kind, seed: int) -> Boosted:
    """The trees of the depth and rate whose validation loss is least; none where they lower it by no more than its standard
    error."""
    found = [_grow(train, valid, kind, depth, rate, seed) for rate in RATES for depth in DEPTHS]
    best = min(found, key=lambda b: b.after)
    if best.before - best.after > best.error:
        return best
    return Boosted([], best.rate, 0, best.before, best.before, best.error)


def _grow(train: Records, valid: Records, kind: Kind, depth: int, rate: float, seed: int) -> Boosted:
    """Trees of one depth and rate, cut where the validation loss is least."""
    tree_of = _regressor()
    draw = np.random.default_rng(seed)
    count = max(2, round(RECORDS_PER_TREE * len(train.labels)))
    here, there = np.zeros(len(train.labels)), np.zeros(len(valid.labels))
    first = valid.loss(kind, there)
    trees: list[Any] = []
    best, kept, losses = float(first.mean()), 0, first
    while len(trees) < MOST_TREES[rate] and len(trees) - kept < PATIENCE[rate]:
        chosen = draw.permutation(len(here))[:count]
        step, weight = train.newton(kind, here)
        tree = tree_of(
            max_depth=depth,
            min_samples_leaf=LEAST_IN_LEAF,
            max_features=FEATURES_PER_SPLIT,
            random_state=int(draw.integers(2**31)),
        ).fit(train.features[chosen], step[chosen], sample_weight=weight[chosen])
        trees.append(tree)
        here, there = here + rate * tree.predict(train.features), there + rate * tree.predict(valid.features)
        loss = valid.loss(kind, there)
        if loss.mean() < best:
            best, kept, losses = float(loss.mean()), len(trees), loss
    gain = first - losses
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("inf")
    return Boosted(trees[:kept], rate, depth, float(first.mean()), best, error)


def forest_of(found: Boosted, *, descriptors: bool = False) -> Forest:
    """The trees as tables, from the public attributes of scikit-learn's ``tree_``; values are multiplied by the rate.
    ``descriptors``: whether they were grown on those of the chemical graph too."""
    grown = [tree.tree_ for tree in found.trees]
    nodes = max(t.node_count for t in grown)
    feature = np.zeros((len(grown), nodes), dtype=np.int64)
    threshold, value = np.zeros((2, len(grown), nodes))
    branches = np.zeros((len(grown), nodes, 2), dtype=np.int64)
    for k, t in enumerate(grown):
        count, own = t.node_count, np.arange(t.node_count)
        leaf = t.children_left < 0
        feature[k, :count] = np.where(leaf, 0, t.feature)
        threshold[k, :count] = np.where(leaf, 0.0, t.threshold)
        branches[k, :count, 0] = np.where(leaf, own, t.children_left)
        branches[k, :count, 1] = np.where(leaf, own, t.children_right)
        value[k, :count] = found.rate * t.value[:, 0, 0]
    return Forest(
        torch.from_numpy(feature),
        torch.from_numpy(threshold),
        torch.from_numpy(branches),
        torch.from_numpy(value),
        depth=max(int(t.max_depth) for t in grown),
        descriptors=descriptors,
    )


def _regressor() -> Any:
    try:
        from sklearn.tree import DecisionTreeRegressor
    except ImportError:
        raise InputError(
            "strategy boosted grows its trees with scikit-learn: pip install 'atomfield[sklearn]' (a finished model needs it no "
            "more)",
            "--strategy",
        ) from None
    return DecisionTreeRegressor
