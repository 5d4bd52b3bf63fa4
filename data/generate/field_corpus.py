"""The fields of the pretraining corpus: nine equations by the project's own solvers, parameters varied widely.

Periodic box of side 1, non-dimensional. Planes are solved on 48 x 48 points and cut spectrally to grids of 16 to 32 points a
side; every sixth is sampled at scattered points. The time between states is drawn as a Courant number of the stored spacing, of
reactions as a part of their own time. Half of the flows drift with a uniform velocity: the exact solution in a moving frame.
Viscosities of flows leave the gap that ``fields.VISCOSITY_GAP`` keeps for the held-out task; the seed is none of ``fields.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Literal, get_args

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt
from torch import Tensor

from atomfield.physics_priors.advection_diffusion import AdvectionDiffusion
from atomfield.physics_priors.burgers import Burgers1D, Burgers2D
from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.reaction_diffusion import ReactionDiffusion, fitzhugh_nagumo, gray_scott
from atomfield.physics_priors.shallow_water import ShallowWater2D
from atomfield.physics_priors.spectral import PeriodicGrid
from atomfield.physics_priors.wave import acoustic_waves

from ..errors import InputError
from ..graph import Graph
from .chunked import Counts, Made, build_store
from .corpus import Order, shared
from .fields import (
    LINE_POINTS,
    NUM_FRAMES,
    SOLVER_POINTS,
    Series,
    along_x,
    along_z,
    in_plane,
    line_graph,
    log_uniform,
    plane_graph,
    points_of,
    pretraining_viscosity,
    random_field,
    rounded,
)

Level = Literal[
    "navier-stokes-2d",
    "advection-diffusion-2d",
    "burgers-1d",
    "burgers-2d",
    "shallow-water-2d",
    "gray-scott-2d",
    "fitzhugh-nagumo-2d",
    "acoustics-2d",
    "acoustics-1d",
]
LEVELS: tuple[Level, ...] = get_args(Level)
DATASET = "corpus/fields"
SIDES = (16, 20, 24, 24, 32)
"""Points a side of stored grids, as likely as they are often here."""
BATCH = 25
"""Trajectories of a chunk; reactions of a chunk are solved together."""
FLAT = 0.02
"""Reactions whose second species ends with a smaller standard deviation are left out: no pattern is left."""


class FieldsConfig(BaseModel):
    """``configs/corpus/fields.yaml``: trajectories of each level."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: NonNegativeInt
    trajectories: dict[Level, PositiveInt]


@dataclass(frozen=True)
class Chunk:
    """Trajectories ``first`` to ``first + count`` of one level."""

    seed: int
    level: Level
    first: int
    count: int


def chunks_of(config: FieldsConfig, scale: float = 1.0) -> list[Chunk]:
    """The trajectories of the config times ``scale`` in pieces of at most ``BATCH``."""
    found = []
    for level, wanted in config.trajectories.items():
        count = max(1, round(wanted * scale))
        found += [
            Chunk(config.seed, level, first, min(BATCH, count - first)) for first in range(0, count, BATCH)
        ]
    return found


def trajectories(chunk: Chunk) -> Made:
    """The graphs of one chunk; of reactions those that still have a pattern at the end."""
    rng = np.random.default_rng([chunk.seed, LEVELS.index(chunk.level), chunk.first])
    single: dict[str, Callable[[np.random.Generator, str, bool], Graph]] = {
        "navier-stokes-2d": flow,
        "advection-diffusion-2d": advected_scalar,
        "burgers-1d": burgers_line,
        "burgers-2d": burgers_plane,
        "shallow-water-2d": shallow_water,
        "acoustics-2d": acoustic_plane,
        "acoustics-1d": acoustic_line,
    }
    if chunk.level in single:
        numbers = range(chunk.first, chunk.first + chunk.count)
        make = single[chunk.level]
        graphs = [make(rng, f"corpus-{chunk.level}-{n}", n % 6 == 5) for n in numbers]
        return Made(graphs, {"levels": {chunk.level: len(graphs)}})
    found = list(reactions(chunk, rng))
    kept = [g for g in found if float(g.quantities["second_concentration"][-1].std()) >= FLAT]
    counts: Counts = {
        "levels": {chunk.level: len(kept)},
        "dropped": {f"{chunk.level}: no pattern": len(found) - len(kept)},
    }
    return Made(kept, counts)


def build_fields(config: FieldsConfig, order: Order) -> dict[str, Any]:
    """The store and its report. Raises ``InputError`` for ``without``, which fields have no identity for, and what
    :func:`.chunked.build_store` refuses."""
    if order.without:
        raise InputError("fields have no identity by which they could be left out", "--without")
    versions = {name: metadata.version(name) for name in ("torch", "numpy")}
    report = {"seed": config.seed, "share of the chunks": list(order.share), "versions": versions}
    return build_store(
        order.out, shared(chunks_of(config, order.scale), order), trajectories,
        recipe=report, source=f"atomfield.data.generate/{DATASET}", report=report,
        num_processes=order.jobs, progress=order.progress,
    )  # fmt: skip


# ---------------------------------------------------------------------- one trajectory of each kind
def flow(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """Navier-Stokes: velocity, vorticity, pressure; half of them drift."""
    viscosity = pretraining_viscosity(rng)
    solver = NavierStokes2D(SOLVER_POINTS, 1.0, viscosity)
    vorticity = random_field(rng, solver.grid, highest=int(rng.integers(2, 7)))
    velocity = solver.velocity(solver.grid.forward(vorticity))
    factor = log_uniform(rng, 0.4, 1.6) / velocity.square().sum(0).mean().sqrt()
    drift = _drift(rng)
    side, points, put = _stored(rng, solver.grid, scattered)
    fastest = float((velocity * factor + drift[:, None, None]).norm(dim=0).max())
    times = _times(log_uniform(rng, 0.25, 1.0) / (fastest * side))
    result = solver.solve(vorticity * factor, times)
    moved = lambda field: put(_moved(solver.grid, field, drift, times))  # noqa: E731
    flat = moved(result.velocity) + drift[:, None]
    quantities = {
        "velocity": rounded(in_plane(flat)),
        "vorticity": rounded(along_z(moved(result.vorticity))),
        "pressure": rounded(moved(result.pressure)),
    }
    return plane_graph(
        points,
        quantities,
        {"viscosity": viscosity},
        Series("navier-stokes-2d", DATASET, group),
        times,
        scattered,
    )


def advected_scalar(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """A scalar in a steady random flow with a drift, or in a uniform flow alone."""
    grid = PeriodicGrid((SOLVER_POINTS, SOLVER_POINTS), (1.0, 1.0))
    eddies = NavierStokes2D(SOLVER_POINTS, 1.0, 0.0).velocity(
        grid.forward(random_field(rng, grid, highest=int(rng.integers(2, 5))))
    )
    eddies = eddies / eddies.square().sum(0).mean().sqrt()
    uniform = rng.random() < 0.15
    velocity = _drift(rng, always=uniform)[:, None, None] + eddies * (
        0.0 if uniform else log_uniform(rng, 0.4, 1.6)
    )
    diffusivity = log_uniform(rng, 3e-4, 2e-2)
    start = random_field(rng, grid, highest=int(rng.integers(3, 8)))
    start = start / start.square().mean().sqrt() + float(rng.normal(scale=0.5))
    side, points, put = _stored(rng, grid, scattered)
    times = _times(log_uniform(rng, 0.25, 1.0) / (float(velocity.norm(dim=0).max()) * side))
    result = AdvectionDiffusion(grid, velocity, diffusivity).solve(start, times)
    quantities = {"velocity": rounded(in_plane(put(velocity))), "concentration": rounded(put(result))}
    return plane_graph(
        points, quantities, {"diffusivity": diffusivity}, Series("advection-diffusion-2d", DATASET, group), times, scattered
    )  # fmt: skip


def burgers_line(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """Burgers on a line; ``scattered`` is ignored."""
    viscosity = log_uniform(rng, 4e-3, 1e-1)
    solver = Burgers1D(4 * LINE_POINTS, 1.0, viscosity)
    start = random_field(rng, solver.grid, highest=int(rng.integers(2, 7)))
    start = log_uniform(rng, 0.3, 2.0) * start / start.square().mean().sqrt() + float(rng.normal(scale=0.5))
    times = _times(log_uniform(rng, 0.4, 1.6) / (float(start.abs().max()) * LINE_POINTS))
    result = solver.grid.resample(solver.solve(start, times), (LINE_POINTS,))
    return line_graph(
        {"velocity": rounded(along_x(result))},
        {"viscosity": viscosity},
        Series("burgers-1d", DATASET, group),
        times,
    )


def burgers_plane(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """Burgers in the plane: the velocity has divergence and curl."""
    grid = PeriodicGrid((SOLVER_POINTS, SOLVER_POINTS), (1.0, 1.0))
    viscosity = log_uniform(rng, 1e-2, 6e-2)
    highest = int(rng.integers(2, 5))
    start = torch.stack([random_field(rng, grid, highest), random_field(rng, grid, highest)])
    start = log_uniform(rng, 0.3, 1.2) * start / start.square().sum(0).mean().sqrt()
    side, points, put = _stored(rng, grid, scattered)
    times = _times(log_uniform(rng, 0.25, 0.8) / (float(start.norm(dim=0).max()) * side))
    result = Burgers2D(grid, viscosity).solve(start, times)
    quantities = {"velocity": rounded(in_plane(put(result)))}
    return plane_graph(
        points, quantities, {"viscosity": viscosity}, Series("burgers-2d", DATASET, group), times, scattered
    )


def shallow_water(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """Depth and velocity of shallow water of mean depth 1: waves, or waves and eddies."""
    grid = PeriodicGrid((SOLVER_POINTS, SOLVER_POINTS), (1.0, 1.0))
    speed, viscosity = log_uniform(rng, 0.5, 2.0), log_uniform(rng, 2e-3, 1e-2)
    height = random_field(rng, grid, highest=int(rng.integers(2, 5)))
    depth = 1 + log_uniform(rng, 0.02, 0.12) * height / height.square().mean().sqrt()
    velocity = torch.zeros(2, *grid.shape, dtype=torch.float64)
    if rng.random() < 0.7:
        highest = int(rng.integers(2, 5))
        velocity = torch.stack([random_field(rng, grid, highest), random_field(rng, grid, highest)])
        if rng.random() < 0.5:
            velocity = grid.project(velocity)
        velocity = speed * log_uniform(rng, 0.03, 0.3) * velocity / velocity.square().sum(0).mean().sqrt()
    side, points, put = _stored(rng, grid, scattered)
    fastest = float((velocity.norm(dim=0) + speed * depth.sqrt()).max())
    times = _times(log_uniform(rng, 0.3, 0.9) / (fastest * side))
    depths, velocities = ShallowWater2D(grid, speed**2, viscosity).solve(depth, velocity, times)
    quantities = {"depth": rounded(put(depths)), "velocity": rounded(in_plane(put(velocities)))}
    conditions = {"viscosity": viscosity, "wave_speed": speed}
    return plane_graph(
        points, quantities, conditions, Series("shallow-water-2d", DATASET, group), times, scattered
    )


def acoustic_plane(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """Pressure and velocity of linear sound in the plane."""
    grid = PeriodicGrid((SOLVER_POINTS, SOLVER_POINTS), (1.0, 1.0))
    speed, highest = log_uniform(rng, 0.4, 2.5), int(rng.integers(2, 6))
    pressure = random_field(rng, grid, highest)
    pressure = speed * pressure / pressure.square().mean().sqrt()
    velocity = torch.stack([random_field(rng, grid, highest), random_field(rng, grid, highest)])
    velocity = velocity - (grid.project(velocity) if rng.random() < 0.7 else 0.0)
    velocity = rng.uniform(0, 1.4) * velocity / velocity.square().sum(0).mean().sqrt()
    side, points, put = _stored(rng, grid, scattered)
    times = _times(log_uniform(rng, 0.3, 1.2) / (speed * side))
    pressures, velocities = acoustic_waves(grid, pressure, velocity, times, speed)
    quantities = {"pressure": rounded(put(pressures)), "velocity": rounded(in_plane(put(velocities)))}
    return plane_graph(
        points, quantities, {"wave_speed": speed}, Series("acoustics-2d", DATASET, group), times, scattered
    )


def acoustic_line(rng: np.random.Generator, group: str, scattered: bool) -> Graph:
    """Linear sound on a line; ``scattered`` is ignored."""
    grid = PeriodicGrid((LINE_POINTS,), (1.0,))
    speed, highest = log_uniform(rng, 0.4, 2.5), int(rng.integers(2, 8))
    pressure, velocity = random_field(rng, grid, highest), random_field(rng, grid, highest)
    pressure = speed * pressure / pressure.square().mean().sqrt()
    velocity = rng.uniform(0, 1.2) * velocity / velocity.square().mean().sqrt()
    times = _times(log_uniform(rng, 0.4, 1.6) / (speed * LINE_POINTS))
    pressures, velocities = acoustic_waves(grid, pressure, velocity[None], times, speed)
    quantities = {"pressure": rounded(pressures), "velocity": rounded(along_x(velocities[:, 0]))}
    return line_graph(quantities, {"wave_speed": speed}, Series("acoustics-1d", DATASET, group), times)


def reactions(chunk: Chunk, rng: np.random.Generator) -> Iterator[Graph]:
    """Two species that react, all of a chunk solved together; states are taken after the first patterns have formed."""
    count = chunk.count
    grid = PeriodicGrid((SOLVER_POINTS, SOLVER_POINTS), (1.0, 1.0))
    draw = lambda low, high: torch.tensor([log_uniform(rng, low, high) for _ in range(count)])[:, None, None]  # noqa: E731
    noise = torch.stack([random_field(rng, grid, int(rng.integers(3, 7))) for _ in range(2 * count)])
    noise = (noise / noise.square().mean((1, 2), keepdim=True).sqrt()).reshape(2, count, *grid.shape)
    if chunk.level == "gray-scott-2d":
        rate, diffusivity = draw(50.0, 200.0), draw(6e-5, 2.5e-4)
        feed = draw(0.02, 0.06)
        kill = feed.sqrt() / 2 - feed + torch.from_numpy(rng.uniform(-0.002, 0.005, (count, 1, 1)))
        constants = {"feed": feed, "kill": kill}
        reaction, ratio, before, step, between = gray_scott(feed, kill), 0.5, 300, 1.0, (10, 30)
        # spots of the catalyst where a smooth random field is high
        spots = torch.sigmoid(6 * (noise[0] - 0.8))
        start = torch.stack([1 - 0.5 * spots, 0.25 * spots])
    else:
        rate, diffusivity = draw(0.5, 2.0), draw(1.5e-4, 8e-4)
        constants = {}
        reaction, ratio, before, step, between = fitzhugh_nagumo(5e-3), 5.0, 80, 0.05, (6, 16)
        start = 0.6 * noise
    diffusivity = diffusivity * rate  # drawn as the square of a length in the time of a reaction
    dt = step / rate * draw(0.7, 1.0)
    gap = int(rng.integers(*between, endpoint=True))
    solver = ReactionDiffusion(grid, torch.stack([diffusivity, ratio * diffusivity]), rate, reaction)
    steps = [before + int(rng.integers(0, before))] + [gap] * (NUM_FRAMES - 1)
    states = solver.solve(start, steps, dt)
    for k in range(count):
        scattered = (chunk.first + k) % 6 == 5
        _, points, put = _stored(rng, grid, scattered, smallest=24)
        times = _times(gap * float(dt[k]))
        quantities = {
            "concentration": rounded(put(states[:, 0, k])),
            "second_concentration": rounded(put(states[:, 1, k])),
        }
        conditions = {
            name: float(value[k])
            for name, value in {"diffusivity": diffusivity, "reaction_rate": rate, **constants}.items()
        }
        group = f"corpus-{chunk.level}-{chunk.first + k}"
        yield plane_graph(
            points, quantities, conditions, Series(chunk.level, DATASET, group), times, scattered
        )


# ---------------------------------------------------------------------- what they share
def _drift(rng: np.random.Generator, always: bool = False) -> Tensor:
    """``[2]`` a uniform velocity of any direction, or none."""
    speed = rng.uniform(0.2, 1.2) if always or rng.random() < 0.5 else 0.0
    angle = rng.uniform(0, 2 * math.pi)
    return torch.tensor([speed * math.cos(angle), speed * math.sin(angle)], dtype=torch.float64)


def _moved(grid: PeriodicGrid, fields: Tensor, drift: Tensor, times: Tensor) -> Tensor:
    """``fields [T, ..., n, n]``, each state moved by ``drift`` times its time."""
    phase = sum(
        (k * d * times[:, None, None] for k, d in zip(grid.k, drift, strict=True)), start=torch.zeros(())
    )
    turn = torch.exp(-1j * phase)
    return grid.inverse(
        grid.forward(fields) * turn.reshape(len(times), *[1] * (fields.ndim - 3), *turn.shape[1:])
    )


def _times(dt: float) -> Tensor:
    return torch.arange(NUM_FRAMES, dtype=torch.float64) * dt


def _stored(
    rng: np.random.Generator, grid: PeriodicGrid, scattered: bool, smallest: int = 0
) -> tuple[int, Tensor, Callable[[Tensor], Tensor]]:
    """Points a side, the points ``[N, 2]`` and the function that brings solver fields to them."""
    sides = [n for n in SIDES if n >= smallest]
    side = int(rng.choice(sides)) if not scattered else int(rng.integers(max(16, smallest), 25))
    points, put = points_of(rng, grid, scattered, side)
    return side, points, put
