"""Figures about training and dynamics, and what all figures share; ``atom_plots.py`` and ``field_plots.py``
have the rest.

Each function takes plain arrays and returns a ``matplotlib.figure.Figure`` that belongs to no window and to
no global state.
"""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#2f6db3", "#d9822b", "#3a8f5c", "#b5423c", "#7a7f87"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches with a layout that keeps labels apart."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def png(figure: Figure, dpi: int = 130) -> bytes:
    """The figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def plain(axes: Axes) -> None:
    """No frame above and to the right, small tick labels."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)


def wrapped(text: str, width: int = 46) -> str:
    """Broken into lines of at most ``width`` characters, for labels made of a user's own names."""
    return "\n".join(textwrap.wrap(text, width))


# ---------------------------------------------------------------- training
def loss_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Training and validation loss against the step (log y), and each other ``valid_*`` or ``valid/*``
    number in a panel of its own."""
    keys = list(dict.fromkeys(k for row in history for k in row))
    losses = [k for k in keys if k.endswith("loss")]
    others = [k for k in keys if k.startswith(("valid_", "valid/")) and k not in losses][:5]
    figure = new_figure(
        4.6 + 3.2 * len(others) if len(others) <= 2 else 11.0, 3.4 if len(others) <= 2 else 6.0
    )
    grid = figure.subplots(1, 1 + len(others)) if len(others) <= 2 else figure.subplots(2, 3)
    panels = np.atleast_1d(grid).ravel()
    colours = {"train_loss": BLUE, "valid_loss": ORANGE}
    for i, key in enumerate(losses):
        steps, values = _series(history, key)
        colour = colours.get(key, (GREEN, RED, GREY)[i % 3])
        label = (
            key.removesuffix("_loss")
            .replace("_", " ")
            .replace("valid", "validation")
            .replace("train", "training")
        )
        if key == "train_loss" and len(values) > 60:
            panels[0].plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
            panels[0].plot(steps, _smooth(values), color=colour, label=f"{label} (running median)")
        else:
            panels[0].plot(
                steps,
                values,
                color=colour,
                label=label,
                marker="o" if len(values) < 40 else None,
                markersize=3,
            )
    panels[0].set_title("loss", fontsize=10)
    panels[0].set_xlabel("step")
    if losses:
        panels[0].legend(frameon=False, fontsize=9)
    for panel, key in zip(panels[1:], others, strict=False):
        steps, values = _series(history, key)
        panel.plot(steps, values, color=ORANGE, marker="o" if len(values) < 40 else None, markersize=3)
        panel.set_title(wrapped(f"validation: {_readable(key[len('valid_') :])}", 36), fontsize=10)
        panel.set_xlabel("step")
    for panel in panels[: 1 + len(others)]:
        plain(panel)
        panel.locator_params(axis="x", nbins=5)
        panel.grid(alpha=0.25, which="both")
        data = [line.get_ydata() for line in panel.lines]
        if data and min(np.min(d) for d in data) > 0:
            _log_scale(panel, np.concatenate(data))
    for panel in panels[1 + len(others) :]:
        panel.set_axis_off()
    return figure


def _log_scale(axes: Axes, values: np.ndarray) -> None:
    """Log y axis, with plain numbers where less than three decades are shown."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    if values.max() / values.min() < 1e3:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _readable(key: str) -> str:
    """``forces_rmse_eV_per_A`` -> ``forces RMSE (eV/A)``."""
    found = re.fullmatch(r"(.*)_(mae|rmse|vrmse|nrmse|r2|roc_auc)(?:_(.+))?", key)
    if found is None:
        return key.replace("_", " ")
    name, statistic, unit = found.groups()
    tail = f" ({unit.replace('_per_', '/')})" if unit else ""
    return f"{name.replace('_', ' ')} {statistic.upper().replace('_', '-')}{tail}"


def _series(history: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    rows = [(row.get("step", i), row[key]) for i, row in enumerate(history) if row.get(key) is not None]
    points = np.array([r for r in rows if np.isfinite(r[1])], dtype=float).reshape(-1, 2)
    return points[:, 0], points[:, 1]


def _smooth(values: np.ndarray) -> np.ndarray:
    """Running median over about a thirtieth of the curve, shorter at its ends."""
    half = max(1, len(values) // 60)
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


# ---------------------------------------------------------------- dynamics
def nve_energy(
    time_ps: np.ndarray, potential: np.ndarray, kinetic: np.ndarray, num_atoms: int
) -> tuple[Figure, float]:
    """Energy trace of constant-energy dynamics: times in ps, energies ``[T]`` in eV of the whole system.

    Returns the figure and the drift in meV/atom/ps, the slope of a least-squares line through the total
    energy.
    """
    total = 1e3 * (potential + kinetic - potential[0] - kinetic[0]) / num_atoms
    slope, start = np.polyfit(time_ps, total, 1)
    figure = new_figure(10.5, 3.4)
    left, right = figure.subplots(1, 2)
    left.plot(
        time_ps, 1e3 * (potential - potential[0]) / num_atoms, color=BLUE, linewidth=0.8, label="potential"
    )
    left.plot(time_ps, 1e3 * (kinetic - kinetic[0]) / num_atoms, color=ORANGE, linewidth=0.8, label="kinetic")
    left.plot(time_ps, total, color="black", linewidth=1.2, label="total")
    left.set_title("change of the energies", fontsize=10)
    right.plot(time_ps, total, color="black", linewidth=0.7, label="total")
    right.plot(time_ps, start + slope * time_ps, color=RED, label=f"drift {slope:+.2g} meV/atom/ps")
    right.set_title(f"total energy alone (standard deviation {total.std():.2g} meV/atom)", fontsize=10)
    for axes in (left, right):
        axes.set_xlabel("time (ps)", fontsize=9)
        axes.set_ylabel("energy since the start (meV/atom)", fontsize=9)
        plain(axes)
        axes.grid(alpha=0.25)
    low, high = left.get_ylim()
    left.set_ylim(low, high + 0.22 * (high - low))
    left.legend(frameon=False, fontsize=9, ncols=3, loc="upper center")
    low, high = right.get_ylim()
    right.set_ylim(low, high + 0.22 * (high - low))
    right.legend(frameon=False, fontsize=9, ncols=2, loc="upper center")
    return figure, float(slope)
