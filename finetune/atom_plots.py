"""Figures of predictions for atoms and scalars: parity with density, classifiers, errors by element and
size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .plots import BLUE, GREY, ORANGE, new_figure, plain, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEXBIN_FROM = 3000
"""Number of points from which a parity plot counts in hexagons instead of drawing each."""


@dataclass(frozen=True)
class Parity:
    """One panel: flat ``truth`` and ``predicted``, what they are with the unit, and the lines for the
    corner."""

    truth: np.ndarray
    predicted: np.ndarray
    label: str
    unit: str = ""
    corner: str = ""


def parity(panels: Sequence[Parity]) -> Figure:
    """Predicted against reference, one square panel each; colour is the density of points, the dashed line
    is y = x."""
    columns = 2 if len(panels) == 4 else min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(4.6 * columns, 3.9 * rows)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for panel, data in zip(axes, panels, strict=False):
        _parity_panel(figure, panel, data)
    for panel in axes[len(panels) :]:
        panel.set_axis_off()
    return figure


def _parity_panel(figure: Figure, axes: Axes, data: Parity) -> None:
    finite = np.isfinite(data.truth) & np.isfinite(data.predicted)
    x, y = data.truth[finite], data.predicted[finite]
    low, high = _limits(x, y)
    unit = f" ({data.unit})" if data.unit else ""
    if len(x) >= HEXBIN_FROM:
        shade = axes.hexbin(
            x,
            y,
            gridsize=70,
            extent=(low, high, low, high),
            bins="log",
            cmap="viridis",
            mincnt=1,
            linewidths=0.1,
        )
        bar = figure.colorbar(shade, ax=axes, shrink=0.85, pad=0.02)
        bar.set_label("points per hexagon", fontsize=9)
        bar.ax.tick_params(labelsize=8)
    elif len(x):
        density = _density(x, y, low, high)
        order = np.argsort(density)
        size = 26 if len(x) < 200 else 12 if len(x) < 1000 else 6
        axes.scatter(x[order], y[order], c=density[order], s=size, cmap="viridis", alpha=0.85, linewidths=0)
    axes.plot([low, high], [low, high], color="black", linewidth=1, linestyle="--", zorder=3)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set_xlabel(wrapped(f"reference {data.label}{unit}"), fontsize=9)
    axes.set_ylabel(wrapped(f"predicted {data.label}{unit}"), fontsize=9)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2}
    outside = int(((y < low) | (y > high)).sum())
    count = f"n = {len(x)}" + (f"\n{outside} outside the frame" if outside else "")
    count += f"\n{len(data.truth) - len(x)} not finite" if len(x) < len(data.truth) else ""
    axes.text(0.03, 0.97, data.corner, transform=axes.transAxes, va="top", fontsize=8.5, bbox=box)
    axes.text(0.97, 0.03, count, transform=axes.transAxes, ha="right", fontsize=8.5, color=GREY, bbox=box)
    plain(axes)


def _limits(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Both axes alike; wild predictions do not squeeze the reference into a corner."""
    if len(x) == 0:
        return 0.0, 1.0
    span = float(np.ptp(x)) or 1.0
    low = min(x.min(), max(y.min(), x.min() - 0.5 * span))
    high = max(x.max(), min(y.max(), x.max() + 0.5 * span))
    margin = 0.04 * ((high - low) or 1.0)
    return float(low - margin), float(high + margin)


def _density(x: np.ndarray, y: np.ndarray, low: float, high: float) -> np.ndarray:
    """Number of points in the bin of each point, bins smoothed with a 3x3 box."""
    bins = int(np.clip(np.sqrt(len(x)) * 1.5, 8, 60))
    place = lambda v: np.clip(((v - low) / (high - low) * bins).astype(int), 0, bins - 1)  # noqa: E731
    count = np.zeros((bins + 2, bins + 2))
    np.add.at(count, (place(x) + 1, place(y) + 1), 1.0)
    smooth = np.sum([np.roll(count, (a, b), (0, 1)) for a in (-1, 0, 1) for b in (-1, 0, 1)], axis=0)
    return smooth[place(x) + 1, place(y) + 1]


def classifier(name: str, label: np.ndarray, probability: np.ndarray, corner: str = "") -> Figure:
    """ROC curve, precision-recall curve, the probabilities given to each class and their reliability; both classes must occur."""
    from .class_plots import reliability
    from .scores import curves

    points = curves(label, probability)
    figure = new_figure(9.0, 7.4)
    (roc, recall), (histogram, fourth) = figure.subplots(2, 2)
    reliability(fourth, np.maximum(probability, 1 - probability), (probability > 0.5) == label)
    roc.plot(points["false_positive_rate"], points["true_positive_rate"], color=BLUE)
    roc.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    roc.set(
        xlabel="false positive rate",
        ylabel="true positive rate",
        title=wrapped(f"{name}: ROC", 36),
        aspect="equal",
    )
    roc.text(0.97, 0.05, corner, transform=roc.transAxes, ha="right", fontsize=8.5)
    recall.plot(points["true_positive_rate"], points["precision"], color=BLUE, drawstyle="steps-pre")
    recall.axhline(label.mean(), color="black", linestyle="--", linewidth=1)
    recall.set(xlabel="recall", ylabel="precision", title="precision and recall", ylim=(0, 1.03), xlim=(0, 1))
    bins = np.linspace(0, 1, 26)
    for value, colour, text in ((False, GREY, "negative"), (True, ORANGE, "positive")):
        own = probability[label == value]
        histogram.hist(own, bins=bins, color=colour, alpha=0.65, density=True, label=f"{text} ({len(own)})")
    histogram.set(xlabel="predicted probability", ylabel="density", title="probabilities by class")
    histogram.legend(frameon=False, fontsize=9)
    for axes in (roc, recall, histogram):
        plain(axes)
    return figure


def residuals(
    by_element: Mapping[str, tuple[float, int]],
    size: np.ndarray,
    error: np.ndarray,
    element_label: str,
    error_label: str,
) -> Figure:
    """Left: an error per element ``symbol -> (error, count)``. Right: the error of each record against its
    number of atoms."""
    figure = new_figure(10.5, 3.4)
    left, right = figure.subplots(1, 2)
    symbols = list(by_element)
    left.bar(range(len(symbols)), [by_element[s][0] for s in symbols], color=BLUE, width=0.7)
    left.set_xticks(
        range(len(symbols)),
        [f"{s}\n{_short(by_element[s][1])}" if len(symbols) <= 14 else s for s in symbols],
    )
    left.set_ylabel(wrapped(element_label, 36), fontsize=9)
    left.set_xlabel("element" + (" and how many" if len(symbols) <= 14 else ""), fontsize=9)
    sizes = np.unique(size)
    if len(sizes) == 1:
        right.hist(error, bins=min(40, max(5, len(error) // 8)), color=BLUE)
        right.set_xlabel(wrapped(error_label, 60), fontsize=9)
        right.set_ylabel(f"records, all with {sizes[0]} atoms", fontsize=9)
    elif len(sizes) <= 12:
        groups = [error[size == n] for n in sizes]
        right.boxplot(
            groups,
            positions=range(len(sizes)),
            widths=0.55,
            showfliers=False,
            whis=(5, 95),
            medianprops={"color": ORANGE},
        )
        ticks = [f"{n}\n{_short(len(g))}" for n, g in zip(sizes, groups, strict=True)]
        right.set_xticks(range(len(sizes)), ticks)
        right.set_xlabel("number of atoms and how many records", fontsize=9)
        right.set_title("box: quartiles, whiskers: 5 to 95 %", fontsize=9)
    else:
        right.xaxis.get_major_locator().set_params(integer=True)
        right.scatter(size, error, s=8, color=BLUE, alpha=0.5, linewidths=0)
        right.set_xlabel("number of atoms", fontsize=9)
    if len(sizes) > 1:
        right.set_ylabel(wrapped(error_label, 36), fontsize=9)
    right.set_ylim(bottom=0)
    for axes in (left, right):
        plain(axes)
        axes.grid(axis="y", alpha=0.25)
        axes.set_axisbelow(True)
    return figure


def _short(count: int) -> str:
    return f"{count / 1000:.0f}k" if count >= 10_000 else str(count)
