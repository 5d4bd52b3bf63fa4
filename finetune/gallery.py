"""Pictures of structures side by side, each with a line of text below: what the worst records look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.graph import Graph
from atomfield.data.picture import draw_atoms

from .plots import new_figure, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 5
LARGEST = 600
"""Structures of more atoms are no picture at this size."""


@dataclass(frozen=True)
class Framed:
    """A structure, what to write below it, and the atom to ring."""

    graph: Graph
    text: str
    marked: int | None = None


def gallery(framed: Sequence[Framed]) -> Figure:
    """Rows of five."""
    rows = -(-len(framed) // COLUMNS)
    columns = min(COLUMNS, len(framed))
    figure = new_figure(2.4 * columns, 2.75 * rows)
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for number, (axes, one) in enumerate(zip(panels, framed, strict=False), start=1):
        if one.graph.num_nodes <= LARGEST:
            draw_atoms(one.graph, axes, one.marked)
        axes.set_axis_off()
        title = axes.get_title().split("   ")[0] or f"{one.graph.num_nodes} atoms"
        axes.set_title(f"{number}. {title}", fontsize=9)
        axes.text(
            0.5, -0.02, wrapped(one.text, 30), transform=axes.transAxes, ha="center", va="top", fontsize=8
        )
    for axes in panels[len(framed) :]:
        axes.set_axis_off()
    return figure
