"""Energy of integrators over many orbits, and what is conserved by construction, with numbers and a figure.

    python benchmarks/laws/integrators.py --plot energy.png

A Kepler orbit of eccentricity 0.6 (energy -0.5): error of the energy after 10 and 100 periods at equal cost in force
evaluations. Then mass and
momentum of a random flux head over 1,000 steps, momentum of a random body graph, and the divergence of velocities
from random potentials.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn

from atomfield.physics_priors.body_graph import BodyGraph, all_pairs, total_angular_momentum
from atomfield.physics_priors.divergence_free import from_potential, project
from atomfield.physics_priors.edge_flux import EdgePairs, FluxHead
from atomfield.physics_priors.least_squares import PointOperators
from atomfield.physics_priors.spectral import PeriodicGrid
from atomfield.physics_priors.symplectic import integrate

COST = {"leapfrog": 2, "forest_ruth": 6, "rk4": 4}
"""Force evaluations of one step as written (the two kicks of neighbouring leapfrogs could share one)."""
PERIODS, EVALUATIONS = 100, 600


class Plain(nn.Module):
    """A random tanh network of its concatenated inputs."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, outputs)).double()

    def forward(self, *parts: Tensor) -> Tensor:
        return self.net(torch.cat(parts, dim=-1))


def kepler(scheme: str) -> Tensor:
    """Relative energy error ``[T]``, ten times a period."""
    per_period = EVALUATIONS // COST[scheme] // 10 * 10
    q, p = integrate(
        scheme, torch.tensor([0.4, 0.0]).double(), torch.tensor([0.0, 2.0]).double(), 2 * math.pi / per_period,
        PERIODS * per_period, lambda p: p, lambda q: -q / q.norm() ** 3, every=per_period // 10,
    )  # fmt: skip
    energy = p.square().sum(1) / 2 - 1 / q.norm(dim=1)
    return (energy / energy[0] - 1).abs()


def cloud(side: int) -> tuple[Tensor, ...]:
    """Jittered points of a periodic unit square: points, senders, receivers, vectors, shifts."""
    axis = (torch.arange(side).double() + 0.5) / side
    noise = torch.rand(side * side, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 0.5
    points = torch.cartesian_prod(axis, axis) + 0.5 / side * noise
    apart = points[:, None] - points[None]
    shifts = -torch.round(apart)
    apart = apart + shifts
    size = apart.norm(dim=2)
    senders, receivers = ((size < 2.6 / side) & (size > 0)).nonzero().T
    return points, senders, receivers, apart[senders, receivers], shifts[senders, receivers].long()


def conservation() -> list[tuple[str, str]]:
    rows = []
    _, senders, receivers, vectors, shifts = cloud(8)
    pairs, head = EdgePairs(senders, receivers, 64, shifts), FluxHead(Plain(8, 3))
    generator = torch.Generator().manual_seed(1)
    volumes = 0.5 + torch.rand(64, dtype=torch.float64, generator=generator)
    state = torch.randn(64, 3, dtype=torch.float64, generator=generator)
    before, first = (volumes[:, None] * state).sum(0), state
    for _ in range(1000):
        state = state + 0.02 * head(state, vectors, pairs, (senders, receivers), volumes)
    drift = ((volumes[:, None] * state).sum(0) - before).abs() / (volumes[:, None] * state.abs()).sum(0)
    moved = float((state - first).abs().max())
    rows.append(
        (
            f"flux head, 1,000 steps (state moved by {moved:.1f}): relative drift of mass",
            f"{float(drift[0]):.1e}",
        )
    )
    rows.append(("the same: relative drift of momentum", f"{float(drift[1:].max()):.1e}"))
    graph, edges = BodyGraph(Plain(3, 1), softening=0.1), all_pairs(5)
    masses = 0.5 + torch.rand(5, 1, dtype=torch.float64, generator=generator)
    q, p = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator)
    path, momenta = integrate(
        "leapfrog", q, p, 0.02, 1000, lambda p: p / masses, lambda q: graph.forces(q, masses, edges)
    )
    turning = total_angular_momentum(path, momenta)
    rows.append(
        (
            "five bodies, 1,000 steps: change of momentum",
            f"{float((momenta.sum(1) - p.sum(0)).abs().max()):.1e}",
        )
    )
    rows.append(("the same: change of angular momentum", f"{float((turning - turning[0]).abs().max()):.1e}"))
    return rows


def divergence() -> list[tuple[str, str]]:
    rows = []
    for shape, parts in (((64, 64), ()), ((16, 16, 16), (3,))):
        grid = PeriodicGrid(shape, (1.0,) * len(shape))
        velocity = from_potential(grid, torch.randn(*parts, *shape, dtype=torch.float64))
        velocity = velocity / velocity.square().mean().sqrt()
        largest = float(grid.divergence(velocity).abs().max())
        rows.append(
            (f"random potential on a grid {list(shape)}, RMS speed 1: largest divergence", f"{largest:.1e}")
        )
    left = []
    for side in (16, 32):
        points, senders, receivers, vectors, _ = cloud(side)
        operators = PointOperators(senders, receivers, vectors, side * side)
        psi = (2 * math.pi * points[:, 0]).sin() * (2 * math.pi * points[:, 1]).cos() / (2 * math.pi)
        velocity = from_potential(operators, psi)
        left.append(float(operators.divergence(velocity).square().mean().sqrt()))
        rows.append(
            (f"smooth stream function on a cloud of {side * side} points: RMS divergence", f"{left[-1]:.1e}")
        )
    rows.append(("the same: order in the spacing", f"{math.log2(left[0] / left[1]):.2f}"))
    free = project(operators.divergence, velocity)
    rows.append(
        (
            "the same after projection: largest divergence",
            f"{float(operators.divergence(free).abs().max()):.1e}",
        )
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.no_grad():
        errors = {scheme: kepler(scheme) for scheme in COST}
        print(
            "| integrator | order | largest energy error, first 10 periods | last 10 periods |\n|---|---|---|---|"
        )
        for scheme, order in (("leapfrog", 2), ("forest_ruth", 4), ("rk4", 4)):
            early, late = errors[scheme][:101].max(), errors[scheme][-101:].max()
            print(f"| {scheme} | {order} | {float(early):.1e} | {float(late):.1e} |")
        print("\n| by construction | |\n|---|---|")
        for name, value in conservation() + divergence():
            print(f"| {name} | {value} |")
    if arguments.plot:
        draw(errors, arguments.plot)


def draw(errors: dict[str, Tensor], file: Path) -> None:
    from atomfield.finetune.plots import BLUE, GREEN, RED, new_figure, plain

    figure = new_figure(7.5, 3.6)
    axes = figure.subplots()
    for (scheme, error), colour in zip(errors.items(), (BLUE, GREEN, RED), strict=True):
        worst = error[1:].reshape(PERIODS, 10).amax(1)
        axes.semilogy(range(1, PERIODS + 1), worst, color=colour, label=scheme)
    axes.set(
        xlabel="periods", ylabel="largest relative error of the energy\nwithin the period", ylim=(1e-5, 1e-2)
    )
    axes.set_title("Kepler orbit of eccentricity 0.6, 600 force evaluations a period", fontsize=10)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    axes.grid(alpha=0.25)
    plain(axes)
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
