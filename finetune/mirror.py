"""Whether fields evolve in a way that no mirror image of them could, while no record names a direction.

The network answers alike in a mirror. A number per point that always moves to the right (in a wind that nobody wrote down), waves
of the Korteweg-de Vries equation, and a velocity that is called a number (Burgers' equation) follow laws without that symmetry,
which no training can find. The steps of a trajectory are fitted by products and derivatives of the fields twice over: by those
that a mirror across an axis turns as it turns the field itself, each trajectory on its own since its constants are, and what is
left by those that it turns the other way, with the coefficients of the OTHER trajectories. Under a law with the symmetry the
second answer has the wrong sign as often as the right one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from torch import Tensor

from atomfield.data.graph import Graph, NodeType
from atomfield.data.quantities import FIELD_INPUTS, VOCABULARY

from .tasks import Task

FEWEST, MOST = 4, 32
"""Trajectories that are compared."""
CLEAR, CHANCE = 0.15, 2e-3
"""Mean correlation of the steps with the forbidden answer over trajectories, and how probable such a mean is by chance."""
ROWS = 8_000
"""Points of a trajectory that are fitted, if :data:`FEWEST` of its times do not have more."""
ROWS_PER_TERM = 10
AXES = "xyz"


@dataclass(frozen=True)
class Channel:
    """A component of a quantity on the grid at S times. ``values [S, nx, ...]``; ``steps``: from there to the next time.
    ``signs``: whether a mirror across each axis keeps (1) or turns (-1) it."""

    name: str
    values: np.ndarray
    steps: np.ndarray
    signs: tuple[int, ...]


@dataclass(frozen=True)
class Products:
    """Of a trajectory's terms over all its points. ``factors [P]``: the channels in each term, and how often it is derived along
    the axis; ``gram [P, P]``: among themselves; ``moments [P, C]``: with the steps of each channel, of size 1."""

    factors: tuple[tuple[tuple[int, ...], int], ...]
    gram: np.ndarray
    moments: np.ndarray
    rows: int


def drift(task: Task, graphs: Sequence[Graph]) -> list[str]:
    """One line for each target that moves along an axis of a regular grid as a mirror forbids, where nothing in the records could
    say which way: no gravity, inflow, walls' normals or inlets, and no vector with a mean along that axis."""
    plain = [g for g in graphs if _judged(g)][:MOST]
    if task.world != "field" or task.steady or len(plain) < FEWEST:
        return []
    records = [_channels(g) for g in plain]
    if (
        len({(len(g.grid_shape or ()), *(c.name for c in r)) for g, r in zip(plain, records, strict=True)})
        > 1
    ):
        return []
    dims = len(plain[0].grid_shape or ())
    names = [c.name for c in records[0]]
    lines = []
    for axis in range(dims):
        if any(_directed(g, axis) for g in plain) or _biased(records, axis):
            continue
        products = [_products(g, r, axis) for g, r in zip(plain, records, strict=True)]
        for name in task.names:
            mine = [k for k, n in enumerate(names) if n == name]
            signs = [c.signs[axis] for c in records[0]]
            found = _wrong(products, mine, signs)
            if found is None:
                continue
            turned = [-s if k in mine else s for k, s in enumerate(signs)]
            velocity = VOCABULARY[name].irreps == "0e" and _wrong(products, mine, turned) is None
            lines.append(_sentence(name, axis, dims, velocity, found, len(plain)))
    return lines


def _judged(graph: Graph) -> bool:
    """Trajectories on a regular grid of which no point names a direction."""
    ends = (graph.node_type == NodeType.INLET) | (graph.node_type == NodeType.OUTLET)
    return (
        graph.grid_shape is not None
        and graph.num_times > 1
        and "normal" not in graph.quantities
        and not bool(ends.any())
    )


def _directed(graph: Graph, axis: int) -> bool:
    """Whether a vector of the whole record points along the axis."""
    return any(
        bool(graph.quantities[n][..., axis].any())
        for n in FIELD_INPUTS
        if n in graph.quantities and VOCABULARY[n].support == "graph"
    )


def _channels(graph: Graph) -> list[Channel]:
    """What the network reads at the points, but for components that are zero throughout."""
    shape = graph.grid_shape or ()
    out = []
    for name in FIELD_INPUTS:
        if name not in graph.quantities or VOCABULARY[name].support != "node":
            continue
        values, steps = _states(graph.quantities[name], graph.num_times, shape)
        for k in range(values.shape[-1]):
            polar = {"0e": (1, 1), "1o": (-1, 1), "1e": (1, -1)}[VOCABULARY[name].irreps]
            signs = tuple(polar[axis != k] for axis in range(len(shape)))
            if values[..., k].any():
                out.append(Channel(name, values[..., k], steps[..., k], signs))
    return out


def _states(values: Tensor, times: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Values and steps ``[S, nx, ..., components]`` at S times; what does not evolve is repeated."""
    points = math.prod(shape)
    chosen = np.unique(np.linspace(0, times - 2, max(FEWEST, ROWS // points)).round().astype(int))
    if values.shape[:2] != (times, points):
        still = values.double().numpy().reshape(1, *shape, -1).repeat(len(chosen), axis=0)
        return still, np.zeros_like(still)
    now, after = (values[chosen + k].double().numpy().reshape(len(chosen), *shape, -1) for k in (0, 1))
    return now, after - now


def _biased(records: Sequence[list[Channel]], axis: int) -> bool:
    """Whether a component that a mirror turns round has a mean of one sign in the trajectories: then it tells the direction."""
    odd = [k for k, c in enumerate(records[0]) if c.signs[axis] < 0]
    means = [np.array([r[k].values.mean() / np.abs(r[k].values).max() for r in records]) for k in odd]
    return any(_chance(np.sign(m.mean()) * m) < CHANCE / 2 for m in means)


def _chance(values: np.ndarray) -> float:
    """The probability of so large a mean where none is expected (one-sided t test)."""
    error = max(float(values.std(ddof=1)) / np.sqrt(len(values)), 1e-9)
    return float(stats.t(len(values) - 1).sf(float(values.mean()) / error))


def _products(graph: Graph, channels: Sequence[Channel], axis: int) -> Products:
    inside = tuple(
        slice(None) if p else slice(2, -2) for p in graph.pbc.tolist()[: len(graph.grid_shape or ())]
    )
    row = lambda x: x[(slice(None), *inside)].ravel()  # noqa: E731
    steps = np.stack([row(c.steps) for c in channels], axis=1)
    factors, terms = zip(*_terms(channels, axis, len(inside)), strict=True)
    columns = np.stack([row(x) for x in terms], axis=1)
    if len(columns) > ROWS:
        kept = np.random.default_rng(0).choice(len(columns), ROWS, replace=False)
        columns, steps = columns[kept], steps[kept]
    steps = steps / np.maximum(np.linalg.norm(steps, axis=0), 1e-300)
    return Products(tuple(factors), columns.T @ columns, columns.T @ steps, len(columns))


def _wrong(products: Sequence[Products], targets: Sequence[int], signs: Sequence[int]) -> float | None:
    """The mean correlation of the steps of a target with terms that a mirror forbids, or None where none is clear. ``signs``:
    whether the mirror keeps (1) or turns (-1) each channel."""
    for k in targets:
        fits = [f for p in products if (f := _forbidden(p, k, signs)) is not None]
        if len(fits) < FEWEST:
            continue
        values = _held_out(fits)
        if float(values.mean()) > CLEAR and _chance(values) < CHANCE:
            return float(values.mean())
    return None


def _forbidden(products: Products, target: int, signs: Sequence[int]) -> tuple[np.ndarray, np.ndarray] | None:
    """The gram and the moments of the forbidden terms after the allowed ones are fitted and taken out, by their normal equations.
    None where points are too few or nothing moves."""
    turned = np.array([(-1) ** n * math.prod(signs[k] for k in chosen) for chosen, n in products.factors])
    good, bad = turned == signs[target], turned != signs[target]
    moments = products.moments[:, target]
    if not moments.any() or products.rows < ROWS_PER_TERM * len(turned):
        return None
    size = np.sqrt(np.maximum(np.diag(products.gram), 1e-300))
    gram, moments = products.gram / size / size[:, None], moments / size
    values, vectors = np.linalg.eigh(gram[np.ix_(good, good)])
    kept = values > 1e-9 * values[-1]
    basis = vectors[:, kept] / np.sqrt(values[kept])
    across = basis.T @ gram[np.ix_(good, bad)]
    rest = gram[np.ix_(bad, bad)] - across.T @ across
    left = moments[bad] - across.T @ (basis.T @ moments[good])
    return rest * size[bad] * size[bad][:, None], left * size[bad]


def _held_out(fits: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Correlation of each trajectory's steps with the forbidden terms, whose coefficients the others give (:func:`_forbidden`).
    Trajectories count alike, whatever their amplitude."""
    weight = np.array([1.0 / max(float(np.trace(a)), 1e-300) for a, _ in fits])
    grams = np.stack([a for a, _ in fits]) * weight[:, None, None]
    moments = np.stack([b for _, b in fits]) * np.sqrt(weight)[:, None]
    out = np.zeros(len(fits))
    for i in range(len(fits)):
        a, b = grams.sum(0) - grams[i], moments.sum(0) - moments[i]
        size = np.sqrt(np.maximum(np.diag(a), 1e-300))
        answer = np.linalg.lstsq(a / size / size[:, None], b / size, rcond=1e-8)[0] / size
        norm = float(answer @ grams[i] @ answer)
        out[i] = float(answer @ moments[i]) / np.sqrt(norm) if norm > 0 else 0.0
    return out


def _terms(
    channels: Sequence[Channel], axis: int, dims: int
) -> list[tuple[tuple[tuple[int, ...], int], np.ndarray]]:
    """Products and derivatives of the channels, in units of the spacing: 1, f, f g, the Laplacian of f, slopes of f and of its
    Laplacian, g times slopes of f; each behind its channels and the number of its derivatives along ``axis``."""
    out: list[tuple[tuple[tuple[int, ...], int], np.ndarray]] = [(((), 0), np.ones_like(channels[0].values))]
    for i, c in enumerate(channels):
        bend = np.sum([_second(c.values, a) for a in range(dims)], axis=0)
        out += [(((i,), 0), c.values), (((i,), 0), bend)]
        out += [(((i, k), 0), c.values * d.values) for k, d in enumerate(channels[: i + 1])]
        for a in range(dims):
            slope, along = _first(c.values, a), int(a == axis)
            out += [(((i,), along), slope), (((i,), along), _first(bend, a))]
            out += [(((i, k), along), d.values * slope) for k, d in enumerate(channels)]
    return out


def _first(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.roll(values, -1, axis + 1) - np.roll(values, 1, axis + 1)) / 2


def _second(values: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.roll(values, -1, axis + 1) + np.roll(values, 1, axis + 1)) - 2 * values


def _sentence(name: str, axis: int, dims: int, velocity: bool, mean: float, count: int) -> str:
    direction = "+".join("1" if a == axis else "0" for a in range(dims))
    advice = f"name a direction for every record, --map gravity={direction}, for training, tests and predictions alike"
    if velocity:
        advice = f"if {name} is a velocity, --map velocity=... instead; if not, {advice}"
    return (
        f"{name} changes along {AXES[axis]} as its mirror image could not (its steps correlate by {mean:.2f} with what a mirror "
        f"forbids, in the mean of {count} trajectories). Nothing in the records has a direction and the network answers "
        f"alike in mirrors: it cannot learn this part. What to do: {advice}"
    )
