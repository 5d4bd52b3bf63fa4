"""A forecast as a moving picture (GIF), the truth beside it where there is one, and its checks over time as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .forecast import Forecast

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FRAMES = 60


def animate(found: Forecast, path: Path, quantity: str = "") -> Path:
    """Write ``path`` (.gif): ``quantity`` (default: the first state; of vectors the norm) at up to 60 of its times."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure

    name = quantity or next(iter(found.states))
    panels = {"model": _scalar(found.states[name])}
    if name in found.truth:
        panels["truth"] = _scalar(found.truth[name])
    shown = np.unique(np.linspace(0, len(found.times) - 1, MOST_FRAMES).astype(int))
    reference = panels.get("truth", panels["model"][:1])
    low, high = float(np.nanmin(reference)), float(np.nanmax(reference))
    if low == high:
        high = low + 1e-12
    figure = Figure(figsize=(4.2 * len(panels), 3.9), layout="constrained")
    artists: list[tuple[Any, np.ndarray]] = []
    axes_of = np.atleast_1d(figure.subplots(1, len(panels)))
    for axes, (title, values) in zip(axes_of, panels.items(), strict=True):
        artists.append((_draw(found, axes, values[0], (low, high)), values))
        axes.set_title(title, fontsize=10)
    if not _is_line(found):
        figure.colorbar(artists[0][0], ax=list(axes_of), label=name, shrink=0.85)
    heading = figure.suptitle("")

    def show(frame: int) -> list[Any]:
        for artist, values in artists:
            if _is_line(found):
                artist.set_ydata(values[frame])
            else:
                artist.set_array(values[frame].reshape(artist.get_array().shape))
        heading.set_text(f"t = {found.times[frame]:.4g}")
        return []

    FuncAnimation(figure, show, frames=shown.tolist()).save(path, writer=PillowWriter(fps=10), dpi=80)
    return path


def _scalar(values: np.ndarray) -> np.ndarray:
    """``[T, N]``."""
    return values if values.ndim == 2 else np.linalg.norm(values.reshape(*values.shape[:2], -1), axis=2)


def _is_line(found: Forecast) -> bool:
    return not found.graph.positions[:, 1:].any()


def _draw(found: Forecast, axes: Any, values: np.ndarray, limits: tuple[float, float]) -> Any:
    positions, shape = found.graph.positions.numpy(), found.graph.grid_shape
    if _is_line(found):
        (line,) = axes.plot(positions[:, 0], values, color="#1f5fa8", lw=1.4)
        axes.set_ylim(limits[0] - 0.1 * (limits[1] - limits[0]), limits[1] + 0.1 * (limits[1] - limits[0]))
        return line
    axes.set_aspect("equal")
    if shape is not None and len(shape) == 2:
        x, y = (positions[:, k].reshape(shape) for k in (0, 1))
        return axes.pcolormesh(
            x, y, values.reshape(shape), vmin=limits[0], vmax=limits[1], shading="nearest", cmap="viridis"
        )
    return axes.scatter(
        positions[:, 0], positions[:, 1], c=values, vmin=limits[0], vmax=limits[1], s=14, cmap="viridis"
    )


def checks_figure(found: Forecast) -> Figure:
    """Totals relative to their start, the divergence and the residual over time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for name, values in found.checks.items():
        if name.startswith("divergence"):
            below.semilogy(found.times, np.maximum(values, 1e-16), lw=1.3, label="divergence, of u / spacing")
        else:
            scale = found.scales.get(name) or float(np.abs(values).max()) or 1.0
            above.plot(found.times, (values - values[0]) / scale, lw=1.3, label=name.replace("_", " "))
    if found.residual is not None:
        below.semilogy(
            found.times[2:-2],
            np.maximum(found.residual, 1e-16),
            lw=1.3,
            label=f"residual of {found.law.replace('_', ' ')}",
        )
    above.axhline(0, color="#8a8a8a", lw=0.8, ls=":")
    above.set_ylabel("change of the total\nover the total of |.|")
    below.set_ylabel("relative error")
    below.set_xlabel("time")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    return figure
