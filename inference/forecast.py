"""A field forward in time with what can be checked without a label: conserved totals, divergence, and the residual of its law.

Totals are sums over points times their volumes (of a grid: of a cell). The divergence of a velocity is that of
stencils on the graph,
or of Fourier modes on a periodic grid, relative to |u| / spacing. The residual is that of the law whose quantities
and constants the
record has (advection and diffusion; Navier-Stokes), relative to the rate of change: 0 is a solution, 1 is what no law gives.

A periodic grid can be refined or coarsened before the run (:func:`resampled`), by its trigonometric polynomial.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.physics_priors import advection_diffusion, navier_stokes
from atomfield.physics_priors.least_squares import PointOperators
from atomfield.physics_priors.operators import Operators
from atomfield.physics_priors.residual_metric import relative_residual
from atomfield.physics_priors.spectral import PeriodicGrid

from .intervals import rollout_half_widths
from .rollout import rollout, step_sizes

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


@dataclass(frozen=True)
class Forecast:
    """graph: the start, without times. times ``[S+1]``; states: name -> ``[S+1, N, ...]`` float64; truth: the record's own states
    at these times, where it has them. checks: name with what it is -> ``[S+1]``; residual ``[S-3]`` of the law, or None. scales:
    what a change of a total is large beside: the total of its absolute values at the start. widths: name -> ``[S+1]`` half widths
    of 90 % intervals, where the checkpoint has some for so many steps of the record's own (``intervals.rollout_half_widths``)."""

    graph: Graph
    times: np.ndarray
    states: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    checks: dict[str, np.ndarray]
    residual: np.ndarray | None
    law: str
    scales: dict[str, float]
    widths: dict[str, np.ndarray]

    def metrics(self) -> dict[str, float]:
        """Name -> number: totals at the start and the end, the largest divergence, the median residual, errors against truth."""
        out: dict[str, float] = {}
        for name, values in self.checks.items():
            if name.startswith("divergence"):
                out[f"{name}_start"], out[f"{name}_largest"] = float(values[0]), float(np.nanmax(values))
            else:
                out[f"{name}_start"], out[f"{name}_end"] = float(values[0]), float(values[-1])
        if self.residual is not None:
            out[f"residual_{self.law}_median"] = float(np.median(self.residual))
        for name, true in self.truth.items():
            axes = tuple(range(1, true.ndim))
            error = np.sqrt(((self.states[name] - true) ** 2).mean(axis=axes))
            scale = float(np.sqrt((true**2).mean())) or 1.0
            out[f"{name}_relative_error_end"] = float(error[-1]) / scale
        for name, width in self.widths.items():
            out[f"{name}_interval90_half_width_end"] = float(width[-1])
            if name in self.truth:
                error = np.abs(self.states[name] - self.truth[name]).reshape(len(width), -1)
                out[f"{name}_interval90_share_inside_end"] = float((error[-1] <= width[-1]).mean())
        out["finite"] = float(all(np.isfinite(v).all() for v in self.states.values()))
        return out


def forecast(net: AtomFieldNet, graph: Graph, steps: int | None = None, dt: float | None = None) -> Forecast:
    """Roll ``graph`` out (arguments as of :func:`.rollout.rollout`) and check every state. Times begin with the record's own."""
    tensors = rollout(net, graph, steps, dt)
    count = len(next(iter(tensors.values())))
    own = None if graph.times is None else graph.times.numpy()
    sizes = step_sizes(graph, steps, dt)
    times = np.cumsum([0.0 if own is None else own[0], *sizes])
    truth = {}
    if (
        own is not None
        and count <= len(own)
        and np.allclose(times, own[:count], rtol=0, atol=1e-6 * min(sizes))
    ):
        times = own[:count]
        truth = {
            n: graph.quantities[n][:count].double().numpy()
            for n in tensors
            if graph.quantities[n].shape[0] == len(own)
        }
    start = graph if graph.times is None else graph.snapshot(0)
    checks = {**totals(start, tensors), **divergence(start, tensors)}
    law, residual = law_residual(start, tensors, times)
    absolute = totals(start, {n: v[:1].abs() for n, v in tensors.items()})
    scales = {n: float(absolute[n][0]) for n in checks if n in absolute}
    widths = rollout_half_widths(net.uncertainty, start, tensors) if dt is None else {}
    return Forecast(
        start,
        times,
        {n: v.numpy() for n, v in tensors.items()},
        truth,
        checks,
        residual,
        law,
        scales,
        {n: w for n, w in widths.items() if np.isfinite(w).all()},
    )


def totals(graph: Graph, states: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Integrals over the domain: ``total_density``, ``total_velocity_x``, and the kinetic energy of a velocity."""
    volume = (
        torch.full((graph.num_nodes,), _cell_of_grid(graph), dtype=torch.float64)
        if graph.volume is None
        else graph.volume
    ).double()
    out = {}
    for name, values in states.items():
        summed = torch.einsum("n,tn...->t...", volume, values).reshape(len(values), -1)
        if summed.shape[1] == 1:
            out[f"total_{name}"] = summed[:, 0].numpy()
        elif summed.shape[1] == 3:
            for axis, letter in enumerate("xyz"):
                if values[..., axis].any():
                    out[f"total_{name}_{letter}"] = summed[:, axis].numpy()
        if name == "velocity":
            out["kinetic_energy"] = torch.einsum("n,tnd->t", volume, values.square()).numpy() / 2
    return out


def _cell_of_grid(graph: Graph) -> float:
    """Length, area or volume of a cell of a regular grid; 1 of other points."""
    if not graph.grid_shape:
        return 1.0
    points = graph.positions.reshape(*graph.grid_shape, 3)
    steps = [
        float((points.select(axis, 1) - points.select(axis, 0)).reshape(-1, 3)[0].norm())
        for axis, length in enumerate(graph.grid_shape)
        if length > 1
    ]
    return math.prod(steps)


def divergence(graph: Graph, states: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """RMS of div u times the spacing over the RMS of u, per time."""
    operators = operators_of(graph)
    if operators is None or "velocity" not in states:
        return {}
    out = []
    for u in states["velocity"]:
        div = operators.divergence(_on_points(graph, u))
        out.append(
            float(
                div.square().mean().sqrt() * graph.spacing / u.square().sum(1).mean().sqrt().clamp_min(1e-300)
            )
        )
    return {"divergence_velocity": np.array(out)}


def law_residual(graph: Graph, states: dict[str, Tensor], times: np.ndarray) -> tuple[str, np.ndarray | None]:
    """The name of the law that the record's quantities and constants name, and its relative residual at the inner times."""
    operators = operators_of(graph)
    steps = np.diff(times)
    if operators is None or len(times) < 5 or np.ptp(steps) > 1e-6 * steps.mean():
        return "", None
    dt, given = float(steps[0]), graph.conditions
    flow = graph.quantities.get("velocity")
    if "concentration" in states and flow is not None and "diffusivity" in given:
        still = states.get("velocity", flow[None].double())[0]
        u = _on_points(graph, still)

        def transport(c: Tensor, rate: Tensor) -> Tensor:
            return advection_diffusion.residual(operators, c, rate, u, given["diffusivity"])

        scalar = torch.stack([_on_points(graph, c) for c in states["concentration"].squeeze(-1)])
        return "advection_diffusion", relative_residual(transport, scalar, dt).numpy()
    if "velocity" in states and "pressure" in states and "viscosity" in given and "density" not in states:
        size = _dimensions(graph)

        def momentum(u_p: Tensor, rate: Tensor) -> Tensor:
            u, p, u_t = u_p[:size], u_p[size], rate[:size]
            return navier_stokes.residual(operators, u, p, u_t, given["viscosity"])[0]

        pressure = states["pressure"].squeeze(-1) if states["pressure"].ndim == 3 else states["pressure"]
        both = torch.stack(
            [
                torch.cat([_on_points(graph, u), _on_points(graph, p)[None]])
                for u, p in zip(states["velocity"], pressure, strict=True)
            ]
        )
        rates = relative_residual(lambda u, r: momentum(u, r), both, dt)
        return "navier_stokes", rates.numpy()
    return "", None


def _dimensions(graph: Graph) -> int:
    return len(graph.grid_shape) if graph.grid_shape else (2 if not graph.positions[:, 2].any() else 3)


def _on_points(graph: Graph, values: Tensor) -> Tensor:
    """``[N]`` or ``[N, 3]`` -> ``[*points]`` or ``[d, *points]`` as operators want them."""
    shape = graph.grid_shape if _is_periodic_grid(graph) else (graph.num_nodes,)
    assert shape is not None
    if values.ndim == 1:
        return values.double().reshape(shape)
    return values.double()[:, : _dimensions(graph)].T.reshape(_dimensions(graph), *shape)


def _is_periodic_grid(graph: Graph) -> bool:
    if graph.grid_shape is None or len(graph.grid_shape) > 3:
        return False
    d = len(graph.grid_shape)
    off = graph.cell[:d, :d] - torch.diag(torch.diagonal(graph.cell[:d, :d]))
    return bool(graph.pbc[:d].all()) and not bool(off.any())


def operators_of(graph: Graph) -> Operators | None:
    """Fourier modes on a periodic grid, stencils of the graph's edges elsewhere; None where a point has too few neighbours."""
    if _is_periodic_grid(graph):
        assert graph.grid_shape is not None
        lengths = tuple(float(graph.cell[k, k]) for k in range(len(graph.grid_shape)))
        return PeriodicGrid(graph.grid_shape, lengths)
    if not graph.edges:
        return None
    edges = next(iter(graph.edges.values()))
    sender, receiver = edges.index
    vector = graph.positions[sender] + edges.shift.double() @ graph.cell - graph.positions[receiver]
    try:
        return PointOperators(sender, receiver, vector[:, : _dimensions(graph)], graph.num_nodes)
    except ValueError:
        return None


def resampled(graph: Graph, shape: tuple[int, ...]) -> Graph:
    """The record on another resolution of the same periodic grid, by Fourier interpolation of everything on its points.

    Raises ``InputError`` for anything but a periodic grid, or another number of axes.
    """
    if not _is_periodic_grid(graph):
        raise InputError(
            "only a periodic grid can be resampled; make the record on the mesh you want", graph.provenance
        )
    assert graph.grid_shape is not None
    if len(shape) != len(graph.grid_shape) or min(shape) < 3:
        raise InputError(
            f"found {shape}, expected {len(graph.grid_shape)} numbers of at least 3 points (the record has {graph.grid_shape})",
            "--resample",
        )
    d = len(shape)
    grid = PeriodicGrid(graph.grid_shape, tuple(float(graph.cell[k, k]) for k in range(d)))
    index = (
        torch.stack(torch.meshgrid(*[torch.arange(n) for n in shape], indexing="ij"), -1)
        .reshape(-1, d)
        .double()
    )
    fraction = index / torch.tensor(shape, dtype=torch.float64)
    positions = torch.zeros(len(fraction), 3, dtype=torch.float64)
    positions[:, :d] = fraction * torch.diagonal(graph.cell)[:d]
    origin = graph.positions[0, :d]
    positions[:, :d] += origin

    def moved(name: str, values: Tensor) -> Tensor:
        q = graph.definition(name)
        if q.support != "node":
            return values
        node_axis = values.ndim - 1 - len(q.shape)  # what does not evolve has no times in front
        columns = values.double().movedim(node_axis, -1)
        field = columns.reshape(*columns.shape[:-1], *graph.grid_shape)  # type: ignore[misc]
        return grid.sample(field, positions[:, :d] - origin).movedim(-1, node_axis)

    ratio = np.prod(graph.grid_shape) / np.prod(shape)
    lengths = torch.diagonal(graph.cell)[:d]
    finest, finest_before = (float((lengths / torch.tensor(s)).min()) for s in (shape, graph.grid_shape))
    count = len(positions)
    return replace(
        graph,
        positions=positions,
        species=torch.zeros(count, dtype=torch.int64),
        node_type=graph.node_type[:1].expand(count).clone(),
        volume=None
        if graph.volume is None
        else torch.full((count,), float(graph.volume[0]) * float(ratio), dtype=torch.float64),
        edges={"grid": grid_edges(shape, tuple(bool(p) for p in graph.pbc[:d]))},
        quantities={n: moved(n, v) for n, v in graph.quantities.items()},
        next_quantities={n: moved(n, v) for n, v in graph.next_quantities.items()},
        grid_shape=tuple(shape),
        spacing=graph.spacing * finest / finest_before,
    )
