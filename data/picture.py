"""A picture of one record: a molecule or crystal with its bonds and cell, or the states of a field."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .bonds import BondType
from .formula import formula
from .graph import Graph
from .quantities import FIELD_INPUTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BOND = 1.2
"""Without bonds in the record, one is drawn where two atoms are closer than this times the sum of their covalent radii."""
_LINE_GAP = 0.14
"""Between the lines of a multiple bond, angstrom."""
_MOST_TIMES = 3
_FIELD_MAPS = {"velocity": "RdBu_r", "vorticity": "RdBu_r", "magnetic_field": "RdBu_r"}


def picture(graph: Graph, path: str | Path) -> Path:
    """Draw ``graph`` as a PNG at ``path`` and return the path."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    if graph.world == "field":
        _draw_field(graph, figure)
    else:
        figure.set_size_inches(5, 5)
        draw_atoms(graph, figure.add_subplot())
    figure.savefig(path)
    return Path(path)


# ---------------------------------------------------------------------- atoms
def draw_atoms(graph: Graph, axes: Axes, marked: int | None = None) -> None:
    """A molecule or crystal with its formula as the title; the atom ``marked`` gets a red ring."""
    from ase.data import covalent_radii
    from ase.data.colors import jmol_colors
    from matplotlib.patches import Circle

    positions, numbers = graph.positions.numpy(), graph.species.numpy()
    view = _oblique() if graph.world == "crystal" else _widest(positions)
    flat = (positions - positions.mean(axis=0)) @ view
    depth = flat[:, 2]
    shade = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-9)
    radii = covalent_radii[numbers]
    if graph.cell is not None and graph.pbc is not None and bool(graph.pbc.any()):
        _draw_cell(graph, axes, view, positions.mean(axis=0))
    if graph.bonds is None:
        pairs = _near(positions, radii)
        kinds = np.full(len(pairs), int(BondType.SINGLE))
    else:
        pairs, kinds = graph.bonds.index.numpy().T, graph.bonds.kind.numpy()
    for (i, j), kind in zip(pairs.tolist(), kinds.tolist(), strict=True):
        _draw_bond(axes, flat[[i, j], :2], kind, 102 + float(min(depth[i], depth[j])) - 1e-3)
    for i in np.argsort(depth):
        color = jmol_colors[numbers[i]] * (0.65 + 0.35 * shade[i])
        axes.add_patch(Circle((flat[i, 0], flat[i, 1]), 0.45 * radii[i] ** 0.7, facecolor=color, edgecolor="0.2", linewidth=0.7,
                              zorder=102 + float(depth[i])))  # fmt: skip
    if marked is not None:
        ring = 0.45 * radii[marked] ** 0.7 + 0.18
        axes.add_patch(
            Circle(flat[marked, :2], ring, fill=False, edgecolor="#b5423c", linewidth=1.6, zorder=500)
        )
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.margins(0.08)
    axes.set_axis_off()
    title = formula(graph)
    if "energy" in graph.quantities:
        title += f"   E = {float(graph.quantities['energy']):.3f} eV"
    axes.set_title(title, fontsize=10)


def _draw_bond(axes: Axes, ends: np.ndarray, kind: int, height: float) -> None:
    """As many lines as its order; a whole and a broken one if aromatic; one that is broken if it is of another kind."""
    styles = {2: ("-", "-"), 3: ("-", "-", "-"), 4: ("-", (0, (1.5, 1.5))), 5: ((0, (2, 1)),)}.get(
        kind, ("-",)
    )
    along = ends[1] - ends[0]
    across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-9)
    width = 3.0 if len(styles) == 1 else 1.6
    for number, style in enumerate(styles):
        line = ends + _LINE_GAP * (number - (len(styles) - 1) / 2) * across
        axes.plot(
            line[:, 0],
            line[:, 1],
            color="0.45",
            linewidth=width,
            linestyle=style,
            zorder=height,
            solid_capstyle="round",
        )


def _near(positions: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Pairs ``[B, 2]`` of atoms that are close enough to be drawn as bound."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(positions).query_pairs(2 * _BOND * float(radii.max()), output_type="ndarray")
    distances = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    return pairs[distances < _BOND * radii[pairs].sum(axis=1)]


def _widest(positions: np.ndarray) -> np.ndarray:
    """Rows of the view: principal axes, the widest to the right, the thinnest towards the eye."""
    if len(positions) < 2:
        return np.eye(3)
    _, _, axes = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=True)
    return axes.T


def _oblique() -> np.ndarray:
    """Columns right, up and towards the eye, from the front, a little to the right and above."""
    a, b = np.deg2rad(20), np.deg2rad(15)
    right = np.array([np.cos(a), np.sin(a), 0.0])
    eye = np.array([np.sin(a) * np.cos(b), -np.cos(a) * np.cos(b), np.sin(b)])
    return np.stack([right, np.cross(eye, right), eye], axis=1)


def _draw_cell(graph: Graph, axes: Axes, view: np.ndarray, center: np.ndarray) -> None:
    assert graph.cell is not None
    rows = graph.cell.numpy()
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    flat = (corners @ rows - center) @ view
    for a in range(8):
        for b in range(a + 1, 8):
            if np.abs(corners[a] - corners[b]).sum() == 1:
                axes.plot(flat[[a, b], 0], flat[[a, b], 1], color="0.6", linewidth=1, zorder=1)


# ---------------------------------------------------------------------- fields
def _draw_field(graph: Graph, figure: Figure) -> None:
    names = [n for n in FIELD_INPUTS if n in graph.quantities and n not in ("normal", "gravity", "inflow")]
    last = graph.num_times - 1
    moments = sorted({round(last * i / (_MOST_TIMES - 1)) for i in range(_MOST_TIMES)})
    if not names:
        names = [""]
    panels = [(name, part) for name in names for part in _parts(graph, name)]
    lined = _is_line(graph)
    columns = 1 if lined else len(moments)
    aspect = _aspect(graph)
    figure.set_size_inches(
        3.4 * columns + 0.8,
        max(1.6, min(3.2 * aspect, 5)) * len(panels) + 0.4 if not lined else 3 * len(panels),
    )
    grid = figure.subplots(len(panels), columns, squeeze=False)
    for row, (name, part) in enumerate(panels):
        values = _values(graph, name, part)
        label = name + ("" if part is None else f" {'xyz'[part]}")
        if lined:
            _draw_lines(graph, grid[row, 0], values, label)
            continue
        limits = _limits(values, name)
        for column, moment in enumerate(moments):
            image = _draw_plane(
                graph, grid[row, column], values[moment if len(values) > 1 else 0], name, limits
            )
            when = "" if graph.times is None else f"  t = {float(graph.times[moment]):.4g}"
            grid[row, column].set_title(label + when, fontsize=9)
        figure.colorbar(image, ax=list(grid[row]), shrink=0.85)


def _parts(graph: Graph, name: str) -> list[int | None]:
    """Components that are not zero everywhere; None for a scalar."""
    if not name or not graph.definition(name).shape:
        return [None]
    array = graph.quantities[name].numpy()
    return [k for k in range(3) if array[..., k].any()] or [0]


def _values(graph: Graph, name: str, part: int | None) -> np.ndarray:
    """``[T, N]``, T = 1 if it does not evolve."""
    if not name:
        return np.zeros((1, graph.num_nodes))
    array = graph.quantities[name].numpy()
    array = array if part is None else array[..., part]
    return array[None] if array.ndim == 1 else array


def _is_line(graph: Graph) -> bool:
    return not graph.positions[:, 1:].any()


def _aspect(graph: Graph) -> float:
    extent = np.ptp(graph.positions.numpy(), axis=0)
    return float(extent[1] / extent[0]) if extent[0] > 0 and extent[1] > 0 else 1.0


def _limits(values: np.ndarray, name: str) -> tuple[float, float]:
    low, high = np.percentile(values, [2, 98] if name in _FIELD_MAPS else [0.5, 99.5])
    if name in _FIELD_MAPS:
        high = max(abs(low), abs(high))
        low = -high
    return float(low), float(high) if high > low else float(low) + 1e-12


def _draw_lines(graph: Graph, axes: Axes, values: np.ndarray, label: str) -> None:
    x = graph.positions[:, 0].numpy()
    order = np.argsort(x)
    for moment in sorted({round((len(values) - 1) * i / 4) for i in range(5)}):
        when = "" if graph.times is None else f"t = {float(graph.times[moment]):.3g}"
        axes.plot(x[order], values[moment][order], label=when)
    axes.set_xlabel("x")
    axes.set_ylabel(label)
    if graph.times is not None:
        axes.legend(fontsize=7)


def _draw_plane(graph: Graph, axes: Axes, values: np.ndarray, name: str, limits: tuple[float, float]) -> Any:
    from matplotlib.tri import Triangulation

    x, y = graph.positions[:, 0].numpy(), graph.positions[:, 1].numpy()
    colors = _FIELD_MAPS.get(name, "viridis")
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)
    if graph.grid_shape is not None and len(graph.grid_shape) >= 2:
        shape = graph.grid_shape
        picture_ = values.reshape(shape)
        picture_ = picture_[..., shape[2] // 2] if len(shape) == 3 else picture_
        box = (float(x.min()), float(x.max()), float(y.min()), float(y.max()))
        return axes.imshow(
            picture_.T, origin="lower", extent=box, cmap=colors, vmin=limits[0], vmax=limits[1]
        )
    triangles = _triangles(graph)
    if len(triangles):
        mesh = Triangulation(x, y, triangles)
        return axes.tripcolor(mesh, values, shading="gouraud", cmap=colors, vmin=limits[0], vmax=limits[1])
    size = 0.8 * (72 * 3.0) ** 2 / max(len(x), 1) * min(_aspect(graph), 1.0)
    return axes.scatter(
        x, y, c=values, s=max(size, 0.5), cmap=colors, vmin=limits[0], vmax=limits[1], linewidths=0
    )


def _triangles(graph: Graph) -> np.ndarray:
    """Delaunay triangles of a plane field whose sides are edges of the graph (one may lack among nearest neighbours), so
    that holes stay open."""
    from scipy.spatial import Delaunay, QhullError

    points = graph.positions.numpy()
    edges = next((e for e in graph.edges.values()), None)
    if points[:, 2].any() or edges is None:
        return np.zeros((0, 3), dtype=int)
    try:
        triangles = Delaunay(points[:, :2]).simplices
    except QhullError:
        return np.zeros((0, 3), dtype=int)
    plain = ~edges.shift.numpy().any(axis=1)
    known = np.unique(edges.index.numpy()[0, plain] * len(points) + edges.index.numpy()[1, plain])
    joined = sum(np.isin(triangles[:, i] * len(points) + triangles[:, j], known).astype(int)
                 + np.isin(triangles[:, j] * len(points) + triangles[:, i], known) > 0
                 for i, j in ((0, 1), (1, 2), (2, 0)))  # fmt: skip
    return triangles[joined >= (2 if "knn" in graph.edges else 3)]
