"""Figures about uncertainty: whether intervals cover what they promise, and whether errors grow with the standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from atomfield.models.uncertainty import COVERAGES

from .calibration import Judged
from .plots import BLUE, GREY, ORANGE, new_figure, plain, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

BINS = 8
_GRID = np.linspace(0.05, 0.99, 48)


def calibration(judged: Sequence[Judged], ood: np.ndarray) -> Figure:
    """A row per target: observed coverage against the promised one; error against standard deviation, record by record; error
    against the out-of-distribution score ``ood [R]``."""
    figure = new_figure(12.0, 3.6 * len(judged))
    rows = figure.subplots(len(judged), 3, squeeze=False)
    for (first, second, third), one in zip(rows, judged, strict=True):
        numbers, error, std = one.record_table()
        shown = one.unit.replace("angstrom", "Å").replace("*", "·")
        unit = f" ({shown})" if shown else ""
        _coverage(first, one)
        _growth(second, std, error)
        second.set_xlabel(f"standard deviation of the record{unit}", fontsize=9)
        second.set_ylabel(wrapped(f"RMS error of {one.name} in the record{unit}", 36), fontsize=9)
        _unusual(third, ood[numbers], error)
        third.set_ylabel(wrapped(f"RMS error of {one.name} in the record{unit}", 36), fontsize=9)
        for axes in (first, second, third):
            plain(axes)
            axes.grid(alpha=0.25)
    return figure


def _coverage(axes: Axes, one: Judged) -> None:
    """Conformal intervals as points with the band that chance leaves them in 95 % of cases, among the units that they are judged
    on (binomial) and those that they were calibrated on (beta, see :func:`.conformal.unlucky_coverage`); a normal law with
    the same standard deviation as a line."""
    normal = [one.coverage(stats.norm.ppf((1 + p) / 2)).mean() for p in _GRID]
    units = int(one.units.max()) + 1
    band = 1.96 * np.sqrt(_GRID * (1 - _GRID) * (1 / units + 1 / (one.calibration_units + 2)))
    axes.fill_between(
        _GRID, _GRID - band, _GRID + band, color=GREY, alpha=0.2, linewidth=0, label="95 % of chance"
    )
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", linewidth=1)
    axes.plot(_GRID, normal, color=ORANGE, linewidth=1.2, label="if errors were normal")
    found = [
        (p, one.coverage(q).mean()) for p, q in zip(COVERAGES, one.quantiles, strict=True) if np.isfinite(q)
    ]
    if found:
        axes.plot(*np.array(found).T, color=BLUE, marker="o", linestyle="", label="intervals")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_xlabel("promised coverage", fontsize=9)
    axes.set_ylabel("observed coverage", fontsize=9)
    axes.set_title(wrapped(f"{one.name}, {units} independent records", 40), fontsize=10)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _growth(axes: Axes, std: np.ndarray, error: np.ndarray) -> None:
    """Each record, and the root mean square in bins of equally many."""
    axes.scatter(std, error, s=8, color=BLUE, alpha=0.35, linewidths=0, label="records")
    low, high = float(std.min()), float(std.max())
    if high < 1.02 * low:
        axes.set_title("the standard deviation is the same for all records", fontsize=10)
        axes.set_xlim(0.5 * low, 1.5 * high)
    elif len(std) >= 4 * BINS:
        parts = np.array_split(np.argsort(std), BINS)
        rms = lambda x: [float(np.sqrt(np.mean(x[own] ** 2))) for own in parts]  # noqa: E731
        axes.plot(
            rms(std), rms(error), color=ORANGE, marker="o", markersize=4, label=f"RMS of {BINS} equal parts"
        )
    axes.plot([low, high], [low, high], color="black", linestyle="--", linewidth=1, label="as promised")
    if low > 0 and error.min() > 0 and (high > 4 * low or error.max() > 30 * error.min()):
        axes.set(xscale="log", yscale="log")
        for axis, values in ((axes.xaxis, std), (axes.yaxis, error)):
            _plain_numbers(axis, values)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _plain_numbers(axis: Axis, values: np.ndarray) -> None:
    """1, 2 and 5 of each decade of a logarithmic axis, written out, where few decades are shown."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if values.max() / values.min() < 1e3:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_formatter(NullFormatter())


def _unusual(axes: Axes, scores: np.ndarray, error: np.ndarray) -> None:
    known = np.isfinite(scores)
    axes.scatter(scores[known], error[known], s=8, color=BLUE, alpha=0.45, linewidths=0)
    axes.axvline(1.0, color="black", linestyle="--", linewidth=1)
    if known.any() and scores[known].max() > 10 * max(scores[known].min(), 1e-12):
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis, scores[known])
    if known.any() and error[known].min() > 0 and error[known].max() > 30 * error[known].min():
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis, error[known])
    axes.set_xlabel("out-of-distribution score", fontsize=9)
    axes.set_title(
        f"{float(np.mean(scores[known] > 1)):.0%} of the records are above 1" if known.any() else "",
        fontsize=10,
    )
