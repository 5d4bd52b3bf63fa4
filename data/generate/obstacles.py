"""Flows around obstacles that no two trajectories share: one to three discs or ellipses in a periodic square.

A uniform stream of random direction with eddies on top decays by viscosity and by the drag of the solid; nothing drives it, so
the state, the wall and its normal are all that breaks the symmetry. Non-dimensional: side 1, root-mean-square speed of the fluid
1 at the start. Points in the solid are kept, as walls at rest; those next to the fluid carry the outward normal (out of the
fluid, into the solid).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.penalized_flow import PenalizedFlow2D, solid_fraction

from ..graph import Graph, NodeType
from ..neighbors import grid_edges
from .fields import random_field, rounded

SOLVER_POINTS, STORED_POINTS = 64, 32
VISCOSITY = (2e-3, 1e-2)
PERMEABILITY = 1e-3
"""Time in which the solid brings a flow to rest."""
LEVEL = "navier-stokes-2d-obstacles"


def obstacle_flows(count: int, seed: int, *, num_frames: int = 13, dt: float = 0.015) -> Iterator[Graph]:
    """``count`` trajectories of velocity and vorticity; each has obstacles, a stream and a viscosity of its own."""
    rng = np.random.default_rng([seed, 7])
    for number in range(count):
        yield obstacle_flow(rng, f"obstacles-{seed}-{number}", num_frames, dt)


def obstacle_flow(rng: np.random.Generator, group: str, num_frames: int, dt: float) -> Graph:
    """One trajectory on the stored grid, from the solver's every second point."""
    n = SOLVER_POINTS
    points = torch.from_numpy(np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1) / n)
    distance = _distance(points, _ellipses(rng))
    viscosity = math.exp(rng.uniform(math.log(VISCOSITY[0]), math.log(VISCOSITY[1])))
    solver = PenalizedFlow2D(solid_fraction(distance, 1 / n, 2.0), 1.0, viscosity, PERMEABILITY)
    flow = solver.solve(_start(rng, solver, distance), torch.arange(num_frames, dtype=torch.float64) * dt)
    return _graph(flow.velocity, flow.vorticity, distance, flow.times, viscosity, group)


def _ellipses(rng: np.random.Generator) -> Tensor:
    """``[B, 5]`` centre, half axes and angle; centres are kept apart by the sum of the larger half axes."""
    found: list[np.ndarray] = []
    wanted = int(rng.integers(1, 4))
    while len(found) < wanted:
        axes = rng.uniform(0.06, 0.14, 2)
        new = np.array([*rng.uniform(0, 1, 2), *axes, rng.uniform(0, math.pi)])
        apart = [new[:2] - old[:2] - np.round(new[:2] - old[:2]) for old in found]
        if all(
            np.hypot(*d) > max(new[2:4]) + max(old[2:4]) + 0.06 for d, old in zip(apart, found, strict=True)
        ):
            found.append(new)
    return torch.from_numpy(np.stack(found))


def _distance(points: Tensor, ellipses: Tensor) -> Tensor:
    """``[n, n]`` distance to the nearest wall in the periodic square, negative inside: exact for discs, to first order near
    the wall of an ellipse."""
    nearest = torch.full(points.shape[:2], 1.0, dtype=torch.float64)
    for x, y, a, b, angle in ellipses.tolist():
        offset = points - torch.tensor([x, y], dtype=torch.float64)
        offset = offset - torch.round(offset)
        along = offset[..., 0] * math.cos(angle) + offset[..., 1] * math.sin(angle)
        across = offset[..., 1] * math.cos(angle) - offset[..., 0] * math.sin(angle)
        level = torch.sqrt((along / a) ** 2 + (across / b) ** 2).clamp_min(1e-9)
        slope = torch.sqrt((along / a**2) ** 2 + (across / b**2) ** 2).clamp_min(1e-9) / level
        nearest = torch.minimum(nearest, (level - 1) / slope)
    return nearest


def _start(rng: np.random.Generator, solver: PenalizedFlow2D, distance: Tensor) -> Tensor:
    """A stream of unit speed with eddies, brought to rest in the solid by the solver's own first steps."""
    free = NavierStokes2D(SOLVER_POINTS, 1.0, 0.0)
    eddies = free.velocity(solver.grid.forward(random_field(rng, solver.grid, highest=4)))
    eddies = 0.6 * eddies / eddies.square().sum(0).mean().sqrt()
    angle = rng.uniform(0, 2 * math.pi)
    stream = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)[:, None, None]
    velocity = (stream + eddies) * (1 - solver.solid)
    settled = solver.solve(velocity, torch.tensor([0.0, 0.02], dtype=torch.float64)).velocity[-1]
    return settled / settled.square().sum(0)[distance > 0].mean().sqrt()


def _graph(
    velocity: Tensor, vorticity: Tensor, distance: Tensor, times: Tensor, viscosity: float, group: str
) -> Graph:
    n, skip = STORED_POINTS, SOLVER_POINTS // STORED_POINTS
    coarse = distance[::skip, ::skip]
    solid = (coarse <= 0).flatten()
    # central differences of the distance, which rises into the fluid: minus its direction leaves the fluid
    slope = torch.stack(
        [(distance.roll(-1, axis) - distance.roll(1, axis))[::skip, ::skip] for axis in (0, 1)], -1
    )
    slope = -slope.reshape(-1, 2) / slope.reshape(-1, 2).norm(dim=1, keepdim=True).clamp_min(1e-12)
    edge = solid & (coarse.flatten() > -1.5 / n)
    normal = torch.zeros(n * n, 3, dtype=torch.float64)
    normal[edge, :2] = slope[edge]
    u = velocity[:, :, ::skip, ::skip].flatten(2).movedim(1, 2)
    w = vorticity[:, ::skip, ::skip].flatten(1)
    u, w = torch.where(solid[:, None], 0.0, u), torch.where(solid, 0.0, w)
    zero = torch.zeros_like(w)
    index = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2)
    positions = torch.cat([torch.from_numpy(index) / n, torch.zeros(n * n, 1)], dim=1)
    return Graph(
        positions,
        torch.zeros(n * n),
        "field",
        node_type=torch.where(solid, int(NodeType.WALL), int(NodeType.INTERIOR)),
        cell=torch.eye(3),
        pbc=torch.tensor([True, True, False]),
        edges={"grid": grid_edges((n, n), (True, True))},
        grid_shape=(n, n),
        volume=torch.full((n * n,), 1 / n**2),
        quantities={
            "velocity": rounded(torch.cat([u, zero[..., None]], dim=-1)),
            "vorticity": rounded(torch.stack([zero, zero, w], dim=-1)),
            "normal": normal,
        },
        conditions={"viscosity": viscosity},
        level=LEVEL,
        dataset="generated/obstacles",
        group=group,
        times=times,
        spacing=1 / n,
    )
