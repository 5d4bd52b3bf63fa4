"""The two pictures of the page ``docs/transfer.md``."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transfer_results import EVERY, OWN, SCRATCH, SHIPPED, Results
from transfer_tasks import TASKS, WORLDS

from atomfield.finetune.plots import BLUE, GREEN, GREY, ORANGE, new_figure, plain, png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {
    SCRATCH: (GREY, "s", "from scratch"),
    OWN: (ORANGE, "D", "pretrained on its own world"),
    EVERY: (GREEN, "^", "pretrained on all worlds"),
    SHIPPED: (BLUE, "o", "the shipped model"),
}
GAP = 0.45
"""Between worlds, in rows."""


def save(figure: Figure, path: Path) -> None:
    path.write_bytes(png(figure))


def draw_ratios(results: Results, samples: str) -> Figure:
    """Each task's error over that from scratch: median over seeds, and their range; logarithmic."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = new_figure(7.2, 4.6)
    axis = figure.subplots()
    plain(axis)
    places = {t.name: -(k + GAP * WORLDS.index(t.world)) for k, t in enumerate(TASKS)}
    shown: list[float] = [1.0]
    for row, shift in ((OWN, 0.24), (EVERY, 0.0), (SHIPPED, -0.24)):
        colour, marker, label = STYLES[row]
        for task in TASKS:
            ratios = results.holding(row).ratios(row, task.name, samples)
            if not ratios:
                continue
            shown += ratios
            y = places[task.name] + shift
            axis.plot(
                [min(ratios), max(ratios)],
                [y, y],
                color=colour,
                linewidth=2,
                alpha=0.5,
                solid_capstyle="round",
            )
            axis.plot(statistics.median(ratios), y, marker, color=colour, markersize=7, label=label)
            label = "_"
    axis.axvline(1.0, color=GREY, linewidth=1.2)
    axis.set_xscale("log")
    low, high = 0.9 * min(shown), 1.1 * max(shown)
    axis.set_xlim(min(low, 0.5), max(high, 1.3))
    ticks = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0]
    axis.xaxis.set_major_locator(FixedLocator([t for t in ticks if min(low, 0.5) <= t <= max(high, 1.3)]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_yticks(list(places.values()), list(places))
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(min(places.values()) - 0.6, max(places.values()) + 0.6)
    for world in WORLDS:
        ys = [places[t.name] for t in TASKS if t.world == world]
        axis.annotate(world, (1.01, statistics.mean(ys)), xycoords=("axes fraction", "data"), rotation=-90, va="center",
                      fontsize=9, color=GREY)  # fmt: skip
    axis.grid(axis="x", color="#e4e6e9", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.set_xlabel(
        f"test error / test error from scratch, {samples} samples (left of 1: pretraining helps)", fontsize=9
    )
    if axis.get_legend_handles_labels()[0]:
        figure.legend(
            *axis.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=9, frameon=False
        )
    return figure


def draw_curves(results: Results, samples: Sequence[str]) -> Figure:
    """A panel for each task: test error by the number of training samples; both axes logarithmic."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure = new_figure(9.6, 8.2)
    panels = figure.subplots(3, 3).ravel()
    for axis, task in zip(panels, TASKS, strict=True):
        plain(axis)
        for row, (colour, marker, label) in STYLES.items():
            points, found = [], results.holding(row)
            for n in samples:
                errors = found.errors(row, task.name, n)
                if errors:
                    count = found.values[row, task.name, n, found.seeds(row, task.name, n)[0]]["samples"][
                        "train"
                    ]
                    points.append((count, statistics.median(errors), min(errors), max(errors)))
            if not points:
                continue
            x, middle, low, high = zip(*sorted(points), strict=True)
            axis.vlines(x, low, high, color=colour, alpha=0.5, linewidth=2)
            axis.plot(x, middle, marker=marker, color=colour, markersize=5, label=label)
        trivial = [v["trivial"] for (_, t, _, _), v in results.values.items() if t == task.name]
        if trivial:
            axis.axhline(
                statistics.median(trivial),
                linestyle=":",
                color="black",
                linewidth=1,
                label="trivial baseline",
            )
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlim(8, 1300)
        axis.set_xticks([10, 50, 200, 1000], ["10", "50", "200", "1000"])
        axis.xaxis.set_minor_locator(NullLocator())
        low, high = axis.get_ylim()
        axis.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 6, 8))
        )
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_title(f"{task.name}, {task.unit}", fontsize=10, loc="left")
    for axis in panels[-3:]:
        axis.set_xlabel("training samples", fontsize=9)
    handles: dict[str, object] = {}
    for axis in panels:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    if handles:
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside upper left",
            ncols=3,
            fontsize=9,
            frameon=False,
        )
    return figure
