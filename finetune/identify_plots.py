"""One figure for each way of identifying a law: what was measured, what was fitted, and how well the constants are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from .plots import BLUE, GREY, ORANGE, RED, new_figure, plain, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, "#3a8f5c")


class Named(Protocol):
    """A row of the table."""

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def deviation(self) -> float: ...
    @property
    def reference(self) -> float | None: ...


def trajectory(
    times: Tensor,
    measured: Tensor,
    fitted: tuple[Tensor, Tensor],
    names: Sequence[str],
    time: str,
    rows: Sequence[Named],
) -> Figure:
    """Measured states (points) and the fit (lines; its own times and states); beside, each constant with its deviation relative
    to its value."""
    figure = new_figure(10.5, 3.8)
    left, right = figure.subplots(1, 2, width_ratios=(2, 1))
    for k, name in enumerate(names):
        left.plot(
            times, measured[:, k], "o", color=COLOURS[k], markersize=4, label=wrapped(f"{name}, measured", 30)
        )
        left.plot(fitted[0], fitted[1][:, k], color=COLOURS[k], label=wrapped(f"{name}, fitted", 30))
    left.set_xlabel(f"{time} since the start")
    left.legend(frameon=False, fontsize=9)
    left.set_title("measured and fitted", fontsize=10)
    _relative(right, rows)
    plain(left)
    left.grid(alpha=0.25)
    return figure


def _relative(axes: Axes, rows: Sequence[Named]) -> None:
    """Constants relative to their reference, or to themselves: a point with one (thick) and two (thin) deviations."""
    for place, row in enumerate(reversed(rows)):
        scale = row.reference or row.value
        value, spread = row.value / scale, abs(row.deviation / scale)
        axes.plot([value - 2 * spread, value + 2 * spread], [place, place], color=BLUE, linewidth=1)
        axes.plot([value - spread, value + spread], [place, place], color=BLUE, linewidth=4, alpha=0.6)
        axes.plot(value, place, "o", color=BLUE, markersize=5)
    axes.axvline(1.0, color=GREY, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    known = all(row.reference for row in rows)
    axes.set_title("relative to the reference" if known else "relative to the estimate", fontsize=10)
    axes.set_xlabel("value, with one and two standard deviations", fontsize=9)
    plain(axes)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=5)


def _map(figure: Figure, axes: Axes, u: Tensor, x: Tensor, t: Tensor, title: str) -> None:
    limit = float(np.quantile(u.abs().numpy(), 0.995)) or 1.0
    signed = float(u.min()) < -0.05 * limit
    image = axes.pcolormesh(
        t.numpy(), x.numpy(), u.numpy(), cmap="RdBu_r" if signed else "viridis",
        vmin=-limit if signed else float(u.min()), vmax=limit, shading="nearest", rasterized=True,
    )  # fmt: skip
    axes.set(xlabel="t", ylabel="x")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.85)


def weak(u: Tensor, x: Tensor, t: Tensor, draws: Tensor, rows: Sequence[Named]) -> Figure:
    """The field, the constants with their deviations, and the bootstrap draws of the first two constants."""
    figure = new_figure(11.5, 3.6)
    one, two, three = figure.subplots(1, 3, width_ratios=(1.3, 1, 1))
    _map(figure, one, u, x, t, "data")
    _relative(two, rows)
    _draws(three, draws, rows)
    return figure


def law(explained: Tensor, predicted: Tensor, draws: Tensor, rows: Sequence[Named]) -> Figure:
    """What the data say against what the law predicts, the constants with their deviations, and the bootstrap draws."""
    figure = new_figure(11.5, 3.6)
    one, two, three = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
    every = max(1, len(explained) // 5000)
    one.plot(
        explained[::every], predicted[::every], ".", color=BLUE, markersize=2, alpha=0.5, rasterized=True
    )
    one.axline((0, 0), slope=1, color=GREY, linewidth=0.8, linestyle="--")
    one.set(xlabel="data", ylabel="law")
    one.set_title("averages of rates, or labels", fontsize=10)
    plain(one)
    _relative(two, rows)
    _draws(three, draws, rows)
    return figure


def _draws(axes: Axes, draws: Tensor, rows: Sequence[Named]) -> None:
    """The first two constants of each bootstrap draw, or the only one."""
    if len(rows) > 1:
        axes.plot(draws[:, 0], draws[:, 1], ".", color=BLUE, markersize=3, alpha=0.5, label="bootstrap draws")
        axes.plot(rows[0].value, rows[1].value, "o", color=RED, label="estimate")
        if rows[0].reference is not None and rows[1].reference is not None:
            axes.plot(rows[0].reference, rows[1].reference, "kx", markersize=8, label="reference")
        axes.set(xlabel=rows[0].name, ylabel=rows[1].name)
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.hist(draws[:, 0].numpy(), bins=30, color=BLUE, alpha=0.7)
        axes.set(xlabel=rows[0].name, ylabel="bootstrap draws")
    axes.set_title("uncertainty", fontsize=10)
    axes.ticklabel_format(useOffset=False)
    axes.locator_params(nbins=4)
    axes.tick_params(axis="x", labelrotation=20)
    plain(axes)


def network(
    u: Tensor, filled: Tensor, x: Tensor, t: Tensor, points: Tensor, history: Sequence[float]
) -> Figure:
    """The data with the points that were used, the network's error over the whole field, and the loss."""
    figure = new_figure(11.5, 3.6)
    one, two, three = figure.subplots(1, 3, width_ratios=(1.2, 1.2, 1))
    _map(figure, one, u, x, t, f"data, and the {len(points)} values used")
    one.plot(points[:, 1], points[:, 0], "k.", markersize=1, alpha=0.5)
    _map(figure, two, filled - u, x, t, "network minus data")
    three.semilogy(range(len(history)), history, color=BLUE)
    three.set(xlabel="step", ylabel="loss")
    three.set_title("Levenberg-Marquardt", fontsize=10)
    plain(three)
    three.grid(alpha=0.25)
    return figure


def discovery(
    u: Tensor,
    x: Tensor,
    t: Tensor,
    names: Sequence[str],
    share: Tensor,
    kept: Sequence[int],
    threshold: float,
) -> Figure:
    """The field, and the share of each term of the library in du/dt; dropped ones have none."""
    figure = new_figure(10.5, 4.2)
    one, two = figure.subplots(1, 2, width_ratios=(1.3, 1))
    _map(figure, one, u, x, t, "data")
    two.barh(
        range(len(names)),
        share.detach().numpy(),
        color=[BLUE if k in kept else GREY for k in range(len(names))],
    )
    two.axvline(threshold, color=RED, linewidth=0.8, linestyle="--", label="threshold")
    two.set_yticks(range(len(names)), names, fontsize=8)
    two.invert_yaxis()
    two.set_xlabel("size of the term relative to du/dt")
    two.set_title(f"{len(kept)} of {len(names)} terms kept", fontsize=10)
    two.legend(frameon=False, fontsize=9)
    plain(two)
    return figure
