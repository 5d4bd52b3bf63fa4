"""Figures of classifiers: the confusion of many classes, and whether probabilities are frequencies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .plots import BLUE, GREY, new_figure, plain, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 10


def confusion(
    name: str, classes: Sequence[str], truth: np.ndarray, chances: np.ndarray, corner: str = ""
) -> Figure:
    """Left: share of each true class (rows) that is predicted as each class (columns), with counts. Right: reliability.

    truth: ``[R]`` numbers of classes; chances: ``[R, K]``.
    """
    count = len(classes)
    figure = new_figure(max(9.0, 5.0 + 0.55 * count), max(3.9, 2.2 + 0.45 * count))
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    table = np.zeros((count, count))
    np.add.at(table, (truth, chances.argmax(1)), 1.0)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    left.imshow(share, cmap="Blues", vmin=0, vmax=1)
    if count <= 12:
        for i in range(count):
            for j in range(count):
                colour = "white" if share[i, j] > 0.55 else "black"
                left.text(j, i, f"{table[i, j]:.0f}", ha="center", va="center", fontsize=8, color=colour)
    labels = [wrapped(c, 14) for c in classes]
    long = max(map(len, classes)) > 4
    left.set_xticks(range(count), labels, rotation=45 if long else 0, ha="right" if long else "center")
    left.set_yticks(range(count), labels)
    left.tick_params(labelsize=8)
    left.set_xlabel("predicted", fontsize=9)
    left.set_ylabel("reference", fontsize=9)
    left.set_title(wrapped(f"{name}: counts", 40), fontsize=10)
    reliability(right, chances.max(1), chances.argmax(1) == truth)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2}
    right.text(0.97, 0.04, corner, transform=right.transAxes, ha="right", fontsize=8, bbox=box)
    return figure


def reliability(axes: Axes, confidence: np.ndarray, right: np.ndarray) -> None:
    """Share of right answers against the probability given, in ten equal parts of the records; bars are two standard errors."""
    parts = np.array_split(np.argsort(confidence), int(np.clip(len(confidence) // 10, 1, BINS)))
    x = np.array([confidence[p].mean() for p in parts])
    y = np.array([right[p].mean() for p in parts])
    error = 2 * np.sqrt(np.maximum(y * (1 - y), 0.25 / BINS) / np.array([len(p) for p in parts]))
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    axes.errorbar(x, y, yerr=error, color=BLUE, ecolor=GREY, marker="o", markersize=4, linewidth=1, capsize=2)
    axes.set(xlim=(0, 1.02), ylim=(0, 1.05), aspect="equal")
    axes.set_xlabel("probability of the predicted class", fontsize=9)
    axes.set_ylabel("share that is right", fontsize=9)
    axes.set_title("are probabilities frequencies?", fontsize=10)
    plain(axes)
