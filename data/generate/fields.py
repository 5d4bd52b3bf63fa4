"""Field trajectories from the project's own solvers: 2D Navier-Stokes, scalar advection-diffusion and 1D Burgers.

Everything is non-dimensional: box of side 1, root-mean-square speed 1 at the start. The flow is solved on a finer grid, cut
spectrally to the stored one, and a part is sampled at scattered points instead
(the trigonometric polynomial itself, no interpolation error).
Values keep 12 significant bits (relative rounding 1e-4), so that the corpus compresses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from atomfield.physics_priors.advection_diffusion import AdvectionDiffusion
from atomfield.physics_priors.burgers import Burgers1D
from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.spectral import PeriodicGrid

from ..graph import Graph
from ..neighbors import grid_edges

SOLVER_POINTS, STORED_POINTS, LINE_POINTS = 48, 24, 64
VISCOSITY = (1e-3, 2e-2)
"""Range of the pretraining flows, log-uniform, without the gap."""
VISCOSITY_GAP = (3e-3, 5e-3)
"""Viscosities that pretraining never sees; with those above the range they are the test of the field task."""
NUM_FRAMES = 8
TASK_STEP = 0.015
"""Time between the frames of the task: one for all, so that a linear map on POD coefficients can be compared."""


def fields(scale: float = 1.0, seed: int = 2) -> Iterator[Graph]:
    """The pretraining set: 120 flows, 110 advected scalars, 100 Burgers lines (times ``scale``); every sixth of the first two is
    sampled at scattered points."""
    rng = np.random.default_rng([seed, 0])
    for number in range(max(1, round(120 * scale))):
        yield flow(rng, pretraining_viscosity(rng), f"ns-{number}", NUM_FRAMES, scattered=number % 6 == 5)
    rng = np.random.default_rng([seed, 1])
    for number in range(max(1, round(110 * scale))):
        yield advected_scalar(rng, f"ad-{number}", scattered=number % 6 == 5)
    rng = np.random.default_rng([seed, 2])
    for number in range(max(1, round(100 * scale))):
        yield burgers_line(rng, f"burgers-{number}")


def task_fields(scale: float = 1.0, seed: int = 12) -> Iterator[Graph]:
    """The held-out task: 20 flows of viscosities in the pretraining range to finetune on, 12 in the gap
    and above it to test on."""
    rng = np.random.default_rng([seed, 0])
    for number in range(max(2, round(20 * scale))):
        group = f"ns-task-train-{number}"
        yield flow(rng, pretraining_viscosity(rng), group, 13, dataset="starter/task_fields", dt=TASK_STEP)
    for number in range(max(2, round(12 * scale))):
        low, high = VISCOSITY_GAP if number % 3 else (VISCOSITY[1] * 1.1, VISCOSITY[1] * 2)
        viscosity = log_uniform(rng, low, high)
        group = f"ns-task-test-{number}"
        yield flow(rng, viscosity, group, 13, dataset="starter/task_fields", dt=TASK_STEP)


def flow(
    rng: np.random.Generator,
    viscosity: float,
    group: str,
    num_frames: int,
    *,
    scattered: bool = False,
    dataset: str = "starter/fields",
    dt: float | None = None,
) -> Graph:
    """One Navier-Stokes trajectory with velocity, vorticity and pressure; ``dt`` between frames is drawn if not given."""
    solver = NavierStokes2D(SOLVER_POINTS, 1.0, viscosity)
    vorticity = random_field(rng, solver.grid, highest=4)
    velocity = solver.velocity(solver.grid.forward(vorticity))
    vorticity = vorticity / velocity.square().sum(0).mean().sqrt()
    dt = dt or log_uniform(rng, 0.009, 0.016)
    times = torch.arange(num_frames, dtype=torch.float64) * dt
    result = solver.solve(vorticity, times)
    points, put = points_of(rng, solver.grid, scattered)
    quantities = {
        "velocity": rounded(in_plane(put(result.velocity))),
        "vorticity": rounded(along_z(put(result.vorticity))),
        "pressure": rounded(put(result.pressure)),
    }
    return plane_graph(
        points,
        quantities,
        {"viscosity": viscosity},
        Series("navier-stokes-2d", dataset, group),
        times,
        scattered,
    )


def advected_scalar(rng: np.random.Generator, group: str, *, scattered: bool = False) -> Graph:
    """One scalar carried by a steady random flow."""
    grid = PeriodicGrid((SOLVER_POINTS, SOLVER_POINTS), (1.0, 1.0))
    flow_solver = NavierStokes2D(SOLVER_POINTS, 1.0, 0.0)
    velocity = flow_solver.velocity(grid.forward(random_field(rng, grid, highest=3)))
    velocity = velocity / velocity.square().sum(0).mean().sqrt()
    diffusivity = log_uniform(rng, 5e-4, 1e-2)
    start = random_field(rng, grid, highest=5)
    times = torch.arange(NUM_FRAMES, dtype=torch.float64) * log_uniform(rng, 0.009, 0.016)
    result = AdvectionDiffusion(grid, velocity, diffusivity).solve(
        start / start.square().mean().sqrt(), times
    )
    points, put = points_of(rng, grid, scattered)
    quantities = {
        "velocity": rounded(in_plane(put(velocity))),
        "concentration": rounded(put(result)),
    }
    return plane_graph(
        points,
        quantities,
        {"diffusivity": diffusivity},
        Series("advection-diffusion-2d", "starter/fields", group),
        times,
        scattered,
    )


def burgers_line(rng: np.random.Generator, group: str) -> Graph:
    """One Burgers trajectory on a line along x."""
    fine = 4 * LINE_POINTS
    viscosity = log_uniform(rng, 5e-3, 3e-2)
    solver = Burgers1D(fine, 1.0, viscosity)
    start = random_field(rng, solver.grid, highest=4)
    times = torch.arange(NUM_FRAMES, dtype=torch.float64) * 0.01
    result = solver.solve(start / start.square().mean().sqrt(), times)
    coarse = solver.grid.resample(result, (LINE_POINTS,))
    quantities = {"velocity": rounded(along_x(coarse))}
    return line_graph(
        quantities, {"viscosity": viscosity}, Series("burgers-1d", "starter/fields", group), times
    )


def along_x(component: Tensor) -> Tensor:
    """Vectors ``[..., 3]`` along x of ``component [...]``."""
    zero = torch.zeros_like(component)
    return torch.stack([component, zero, zero], dim=-1)


def along_z(component: Tensor) -> Tensor:
    """Vectors ``[..., 3]`` along z of ``component [...]``."""
    zero = torch.zeros_like(component)
    return torch.stack([zero, zero, component], dim=-1)


def in_plane(components: Tensor) -> Tensor:
    """Vectors ``[..., N, 3]`` in the plane of x and y of the ``components [..., 2, N]``."""
    x, y = components.unbind(-2)
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1)


class Series(NamedTuple):
    """What a trajectory belongs to."""

    level: str
    dataset: str
    group: str


def line_graph(
    quantities: dict[str, Tensor],
    conditions: dict[str, float],
    series: Series,
    times: Tensor,
) -> Graph:
    """One trajectory on ``LINE_POINTS`` points of a periodic unit line along x."""
    points = (torch.arange(LINE_POINTS) / LINE_POINTS)[:, None].double()
    return _unit_graph(points, (LINE_POINTS,), quantities, conditions, series, times)


def rounded(values: Tensor, bits: int = 12) -> Tensor:
    """float32 with ``bits`` significant bits: the rest of the mantissa is zero and compresses away."""
    mantissa, exponent = torch.frexp(values.float())
    return torch.ldexp(torch.round(mantissa * 2**bits), exponent - bits)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def pretraining_viscosity(rng: np.random.Generator) -> float:
    """In the range of the pretraining flows and outside the gap."""
    while True:
        value = log_uniform(rng, *VISCOSITY)
        if not VISCOSITY_GAP[0] <= value <= VISCOSITY_GAP[1]:
            return value


def random_field(rng: np.random.Generator, grid: PeriodicGrid, highest: int) -> Tensor:
    """A smooth random field of zero mean: Gaussian modes up to wavenumber index ``highest``."""
    noise = torch.from_numpy(rng.standard_normal(grid.shape))
    index = grid.k_squared.sqrt() * grid.lengths[0] / (2 * math.pi)
    shape = torch.where((index > 0) & (index <= highest), 1 / (1 + index), 0.0)
    return grid.inverse(grid.forward(noise) * shape)


def points_of(
    rng: np.random.Generator, grid: PeriodicGrid, scattered: bool, side: int | None = None
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Points ``[N, 2]`` of a unit square, ``side``^2 of a grid or scattered, and the function that brings a solver field
    ``[..., n, n]`` to ``[..., N]``."""
    side = side or (20 if scattered else STORED_POINTS)
    index = torch.from_numpy(
        np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    )
    if scattered:
        jitter = torch.from_numpy(rng.uniform(0.15, 0.85, (side * side, 2)))
        points = torch.round((index + jitter) / side * 4096) / 4096
        return points, lambda field: grid.sample(field, points)
    return index.double() / side, lambda field: grid.resample(field, (side, side)).flatten(-2)


def plane_graph(
    points: Tensor,
    quantities: dict[str, Tensor],
    conditions: dict[str, float],
    series: Series,
    times: Tensor,
    scattered: bool,
) -> Graph:
    """One trajectory in the periodic unit square at ``points [N, 2]``."""
    n = math.isqrt(len(points))
    shape = None if scattered else (n, n)
    return _unit_graph(points, shape, quantities, conditions, series, times)


def _unit_graph(
    points: Tensor,
    shape: tuple[int, ...] | None,
    quantities: dict[str, Tensor],
    conditions: dict[str, float],
    series: Series,
    times: Tensor,
) -> Graph:
    """One trajectory in a periodic unit box at ``points [N, d]``, those of a grid of ``shape`` or scattered."""
    num, axes = points.shape
    positions = torch.cat([points, torch.zeros(num, 3 - axes)], dim=1)
    return Graph(
        positions,
        torch.zeros(num),
        "field",
        cell=torch.eye(3),
        pbc=torch.arange(3) < axes,
        edges={} if shape is None else {"grid": grid_edges(shape, (True,) * axes)},
        grid_shape=shape,
        volume=torch.full((num,), 1 / num),
        quantities=quantities,
        conditions=conditions,
        level=series.level,
        dataset=series.dataset,
        group=series.group,
        times=times,
        spacing=1 / num ** (1 / axes),
    )
