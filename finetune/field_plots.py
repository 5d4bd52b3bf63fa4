"""Figures of field forecasts: truth, prediction and their difference side by side, and errors against
time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.graph import Graph

from .plots import BLUE, GREY, ORANGE, RED, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure


def _dimensions(points: np.ndarray) -> list[int]:
    """The coordinates that vary."""
    return [i for i in range(3) if np.ptp(points[:, i]) > 1e-9 * max(np.ptp(points), 1e-30)]


def _scalar(values: np.ndarray, name: str, parity: str, flat: bool) -> tuple[np.ndarray, str, bool]:
    """``[T, N, ...]`` as one number per point: itself, the z component of an axial vector in 2D, or a length.

    Returns the numbers, their label, and whether they have a sign.
    """
    if values.ndim == 2:
        return values, name, bool(values.min() < 0 < values.max())
    if parity == "1e" and flat:
        return values[..., 2], f"{name} (z)", True
    return np.linalg.norm(values.reshape(*values.shape[:2], -1), axis=-1), f"|{name}|", False


def field_rollout(
    graph: Graph,
    name: str,
    predicted: np.ndarray,
    *,
    columns: int = 5,
    unit: str = "",
    baseline: np.ndarray | None = None,
) -> Figure:
    """Truth, prediction and difference of one quantity at ``columns`` times of a trajectory.

    ``predicted [S+1, N, ...]`` as ``graph.quantities[name] [T, N, ...]``. Grids are drawn as images, other
    points in the plane as triangles; in space a slab around the middle; on a line as curves, with
    ``baseline`` (persistence) for comparison.
    """
    points = np.asarray(graph.positions)
    truth = np.asarray(graph.quantities[name], dtype=np.float64)[: len(predicted)]
    predicted = np.asarray(predicted, dtype=np.float64)[: len(truth)]
    times = np.asarray(graph.times)[: len(truth)]
    shown = np.unique(np.linspace(0, len(truth) - 1, min(columns, len(truth))).round().astype(int))
    axes_used = _dimensions(points)
    if len(axes_used) == 3:
        height = points[np.argmin(np.abs(points[:, 2] - np.median(points[:, 2]))), 2]
        middle = np.abs(points[:, 2] - height) <= 0.51 * graph.spacing
        points, truth, predicted, axes_used = points[middle], truth[:, middle], predicted[:, middle], [0, 1]
    irreps = graph.definition(name).irreps
    difference, _, _ = _scalar(predicted - truth, name, irreps, True)
    truth, label, signed = _scalar(truth, name, irreps, len(axes_used) < 3)
    predicted = _scalar(predicted, name, irreps, len(axes_used) < 3)[0]
    label += f" ({unit})" if unit else ""
    if len(axes_used) == 1:
        first = (
            None
            if baseline is None
            else _scalar(np.asarray(baseline, dtype=np.float64)[: len(truth)], name, irreps, True)[0]
        )
        return _lines(points[:, axes_used[0]], truth, predicted, first, times, shown, label)
    signed_difference = bool((difference[shown] < 0).any())
    drawer = _Drawer(points[:, axes_used[:2]], graph)
    width, height = drawer.panel_size()
    figure = new_figure(width * len(shown) + 1.3, height * 3 + 0.5)
    grid = figure.subplots(3, len(shown), squeeze=False)
    low, high = _range(truth[shown], signed)
    finite = np.nan_to_num(difference[shown], nan=0, posinf=0, neginf=0)
    extent = float(np.quantile(np.abs(finite), 0.998)) or 1e-12
    bottom = -extent if signed_difference else 0.0
    rows = (
        ("truth", truth, (low, high), "RdBu_r" if signed else "magma"),
        ("prediction", predicted, (low, high), "RdBu_r" if signed else "magma"),
        ("difference", difference, (bottom, extent), "PuOr_r" if signed_difference else "Greys"),
    )
    shades = []
    for row, (title, values, limits, colours) in enumerate(rows):
        grid[row][0].set_ylabel(title, fontsize=10)
        for column, t in enumerate(shown):
            shade = drawer.draw(grid[row][column], values[t], limits, colours)
            if row == 0:
                grid[row][column].set_title(
                    f"t = {times[t]:.4g}" + (" (given)" if t == 0 else ""), fontsize=10
                )
        shades.append(shade)
    error_label = "prediction - truth" if signed_difference else "|prediction - truth|"
    for shade, panels, text in ((shades[1], grid[:2], label), (shades[2], grid[2:], error_label)):
        bar = figure.colorbar(shade, ax=list(panels.ravel()), shrink=0.92, pad=0.01, aspect=14 * len(panels))
        bar.set_label(text, fontsize=8.5)
        bar.ax.tick_params(labelsize=8)
    return figure


def steady(
    graph: Graph, name: str, inputs: Mapping[str, np.ndarray], truth: np.ndarray, predicted: np.ndarray
) -> Figure:
    """What a steady field follows from (the first of ``inputs``), its truth, prediction and difference, ``[N, ...]`` each."""
    points = np.asarray(graph.positions)
    axes_used = _dimensions(points)
    if len(axes_used) == 3:
        middle = np.abs(points[:, 2] - np.median(points[:, 2])) <= 0.51 * graph.spacing
        points, axes_used = points[middle], [0, 1]
        truth, predicted = truth[middle], predicted[middle]
        inputs = {n: v[middle] for n, v in inputs.items()}
    panels = []
    for label, quantity, values in (
        *((n, n, v) for n, v in list(inputs.items())[:1] if np.ndim(v) and len(v) == len(points)),
        (f"{name}: truth", name, truth),
        (f"{name}: prediction", name, predicted),
        ("difference", name, predicted - truth),
    ):
        irreps = graph.definition(quantity).irreps
        scalar, _, signed = _scalar(
            np.asarray(values, dtype=np.float64)[None], quantity, irreps, len(axes_used) < 3
        )
        panels.append((label, scalar[0], signed))
    if len(axes_used) == 1:
        figure = new_figure(7.0, 3.4)
        axes = figure.subplots()
        x = points[:, axes_used[0]]
        order = np.argsort(x)
        for label, values, _ in panels[-3:-1]:
            axes.plot(x[order], values[order], label=label, linestyle="--" if "prediction" in label else "-")
        axes.legend(frameon=False, fontsize=9)
        return figure
    drawer = _Drawer(points[:, axes_used[:2]], graph)
    width, height = drawer.panel_size()
    figure = new_figure((width + 0.9) * len(panels), height + 0.5)
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    known = next(values for label, values, _ in panels if label == f"{name}: truth")
    shared = _range(known, bool((known < 0).any()))
    for axes, (label, values, _) in zip(grid, panels, strict=True):
        if label == "difference":
            bound = float(np.abs(values).max()) or 1e-12
            limits, colours = (-bound, bound), "PuOr_r"
        else:
            limits = shared if label.startswith(f"{name}:") else _range(values, False)
            colours = "RdBu_r" if limits[0] < 0 else "magma"
        shade = drawer.draw(axes, values, limits, colours)
        axes.set_title(label, fontsize=9.5)
        bar = figure.colorbar(shade, ax=axes, shrink=0.85, pad=0.02)
        bar.ax.tick_params(labelsize=7.5)
    return figure


def _range(values: np.ndarray, signed: bool) -> tuple[float, float]:
    low, high = (float(q) for q in np.quantile(values, [0.002, 0.998]))
    if signed:
        high = max(abs(low), abs(high)) or 1e-12
        return -high, high
    return low, high if high > low else low + 1e-12


class _Drawer:
    """Draws one snapshot on points ``[N, 2]``: an image where they form a grid, triangles elsewhere."""

    def __init__(self, points: np.ndarray, graph: Graph):
        self.points = points
        self.order, self.shape = grid_order(points)
        self.triangles = None if self.order is not None else _triangles(points, graph)

    def panel_size(self) -> tuple[float, float]:
        """Inches of one panel, in proportion to the domain."""
        span = np.ptp(self.points, axis=0)
        ratio = float(np.clip(span[1] / span[0], 0.25, 2.5))
        width = 2.15 if ratio >= 0.6 else 2.8
        return width, width * ratio

    def draw(
        self, axes: Axes, values: np.ndarray, limits: tuple[float, float], colours: str
    ) -> ScalarMappable:
        x, y = self.points.T
        axes.set(xticks=[], yticks=[], aspect="equal", xmargin=0, ymargin=0)
        axes.spines[:].set(color=GREY, linewidth=0.6)
        values = np.nan_to_num(values, nan=limits[1], posinf=limits[1], neginf=limits[0])
        if self.order is not None:
            half = 0.5 * np.ptp(self.points, axis=0) / (np.array(self.shape) - 1)
            extent = (x.min() - half[0], x.max() + half[0], y.min() - half[1], y.max() + half[1])
            image = values[self.order].reshape(self.shape).T
            return axes.imshow(
                image,
                origin="lower",
                extent=extent,
                cmap=colours,
                vmin=limits[0],
                vmax=limits[1],
                interpolation="nearest",
            )
        if self.triangles is not None and len(self.triangles):
            from matplotlib.tri import Triangulation

            mesh = Triangulation(x, y, self.triangles)
            return axes.tripcolor(
                mesh, values, cmap=colours, vmin=limits[0], vmax=limits[1], shading="gouraud", rasterized=True
            )
        return axes.scatter(x, y, c=values, cmap=colours, vmin=limits[0], vmax=limits[1], s=6, linewidths=0)


def grid_order(points: np.ndarray) -> tuple[np.ndarray | None, tuple[int, int]]:
    """Order of ``[N, 2]`` points as a regular grid in C order with its shape, or ``(None, (0, 0))``."""
    span = np.ptp(points, axis=0).max()
    rounded = np.round(points / (1e-6 * span)).astype(np.int64)
    columns = [np.unique(rounded[:, i]) for i in range(2)]
    shape = (len(columns[0]), len(columns[1]))
    if min(shape) < 2 or shape[0] * shape[1] != len(points):
        return None, (0, 0)
    if any(np.ptp(np.diff(c)) > 0.01 * np.diff(c).mean() for c in columns):
        return None, (0, 0)
    return np.lexsort((rounded[:, 1], rounded[:, 0])), shape


def _triangles(points: np.ndarray, graph: Graph) -> np.ndarray:
    """``[num, 3]`` Delaunay triangles without those that bridge a hole: all sides in the mesh if the record
    has one, else no side far longer than those around it."""
    from matplotlib.tri import Triangulation

    triangles = np.asarray(Triangulation(*points.T).triangles)
    sides = np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=-1).reshape(-1, 2)
    if "mesh" in graph.edges and len(points) == graph.num_nodes:
        index = np.asarray(graph.edges["mesh"].index)
        known = np.isin(sides[:, 0] * len(points) + sides[:, 1], index[0] * len(points) + index[1])
        kept = triangles[known.reshape(-1, 3).sum(1) >= 2]
        if len(kept) > 0.5 * len(triangles):
            return kept
    length = np.linalg.norm(points[sides[:, 0]] - points[sides[:, 1]], axis=1)
    total, count = np.zeros(len(points)), np.zeros(len(points))
    for end in sides.T:
        np.add.at(total, end, np.minimum(length, 3 * np.median(length)))
        np.add.at(count, end, 1)
    local = (total / np.maximum(count, 1))[sides].max(axis=1)
    return triangles[(length < 3.5 * local).reshape(-1, 3).all(1)]


def _lines(
    x: np.ndarray,
    truth: np.ndarray,
    predicted: np.ndarray,
    baseline: np.ndarray | None,
    times: np.ndarray,
    shown: np.ndarray,
    label: str,
) -> Figure:
    order = np.argsort(x)
    figure = new_figure(2.5 * len(shown) + 0.6, 4.4)
    top, bottom = figure.subplots(
        2, len(shown), sharex=True, sharey="row", squeeze=False, height_ratios=[2, 1]
    )
    for column, t in enumerate(shown):
        panel = top[column]
        if baseline is not None:
            panel.plot(
                x[order], baseline[t][order], color=GREY, linewidth=1, linestyle=":", label="persistence"
            )
        panel.plot(x[order], truth[t][order], color="black", linewidth=1.3, label="truth")
        panel.plot(
            x[order], predicted[t][order], color=ORANGE, linewidth=1.5, linestyle="--", label="prediction"
        )
        panel.set_title(f"t = {times[t]:.4g}", fontsize=10)
        bottom[column].axhline(0, color=GREY, linewidth=0.6)
        bottom[column].plot(x[order], (predicted - truth)[t][order], color=RED, linewidth=1.1)
        bottom[column].set_xlabel("x", fontsize=9)
        plain(panel)
        plain(bottom[column])
    top[0].set_ylabel(label, fontsize=9)
    bottom[0].set_ylabel("prediction - truth", fontsize=9)
    low, high = float(truth.min()), float(truth.max())
    margin = 0.12 * ((high - low) or 1.0)
    top[0].set_ylim(low - margin, high + margin)
    handles, labels = top[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return figure


def rollout_error(name: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """VRMSE against time. ``curves``: label -> (times ``[S]``, VRMSE ``[R, S]`` as
    ``field_errors.vrmse_rows`` gives them).

    Lines are means over trajectories and end where the first of them diverges; bands are the middle half; 1
    is the error of the best constant.
    """
    figure = new_figure(6.6, 3.9)
    axes = figure.subplots()
    colours = {"model": ORANGE, "persistence": GREY, "POD linear map": BLUE}
    largest = 1.0
    for label, (times, all_rows) in curves.items():
        rows = all_rows[~np.isnan(all_rows).all(axis=1)]
        known = ~np.isnan(rows).all(axis=0) & ~np.isinf(rows).any(axis=0)
        diverged = int(np.isinf(rows).any(axis=1).sum())
        text = f"{label} (diverged in {diverged} of {len(rows)})" if diverged else label
        colour = colours.get(label, RED)
        if not known.any():
            axes.plot([], [], color=colour, label=text)
            continue
        mean = np.nanmean(rows[:, known], axis=0)
        axes.plot(
            times[known],
            mean,
            color=colour,
            label=text,
            linewidth=2 if label == "model" else 1.4,
            marker="o" if known.sum() < 3 else None,
        )
        if len(rows) > 2:
            low, high = np.nanquantile(rows[:, known], [0.25, 0.75], axis=0)
            axes.fill_between(times[known], low, high, color=colour, alpha=0.18, linewidth=0)
        if label in ("model", "persistence"):
            largest = max(largest, float(mean.max()))
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle="--")
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, 1e-4), min(high, 3 * largest))
    axes.set_xlabel("time since the start of the rollout", fontsize=9)
    axes.set_ylabel(f"VRMSE of {name}", fontsize=9)
    axes.text(
        0.995, 1.0, "best constant", transform=axes.get_yaxis_transform(), ha="right", va="bottom", fontsize=8
    )
    axes.grid(alpha=0.25, which="both")
    axes.legend(frameon=False, fontsize=9)
    plain(axes)
    return figure
