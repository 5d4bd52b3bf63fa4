"""A network of the energy against a network of the rates, on two noisy systems of Greydanus et al. (NeurIPS 32, 2019).

    python benchmarks/laws/hamiltonian_networks.py --draws 5

mass-spring: H = q^2 + p^2, radius 0.1 to 1, 25 orbits of 30 states over a span of 3, noise 0.1 on every state.
two-body: H = |p1|^2/2 + |p2|^2/2 - 1/|q1 - q2|, orbits near circles of radius 0.5 to 1.5 whose speeds are 5 % off, 1,000 orbits
of 50 states over a span of 20, no noise.
Networks: two hidden layers of 200 tanh; Adam with a cosine from 1e-3 to zero, batches of 200 (all states of the mass-spring at
once). The figure is the mean square error of the energy along rollouts from fresh starts without noise, over the span of the
training orbits. Published, one run each: 3.8416e-4 (Hamiltonian) and 1.7077e-1 (plain) for mass-spring, 3.8751e-5 and 6.3276e-2
for two-body. The set-ups are written from the paper's description; their code may differ in the split and in the starts. A draw
is new orbits, noise and initial weights. Each finished draw is a line of ``--log``; draws that are there are not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from atomfield.physics_priors.hamiltonian import HamiltonianField
from atomfield.physics_priors.ode import solve

PUBLISHED = {
    ("mass-spring", "Hamiltonian"): 3.8416e-4,
    ("mass-spring", "plain"): 1.7077e-1,
    ("two-body", "Hamiltonian"): 3.8751e-5,
    ("two-body", "plain"): 6.3276e-2,
}


@dataclass(frozen=True)
class System:
    """Number of coordinates of the state (q, p), orbits, states, span, noise, batch (0: everything) and steps of training."""

    size: int
    orbits: int
    states: int
    span: float
    noise: float
    batch: int
    steps: int


SYSTEMS = {
    "mass-spring": System(2, 25, 30, 3.0, 0.1, 0, 2000),
    "two-body": System(8, 1000, 50, 20.0, 0.0, 200, 4000),
}


def energy(name: str, state: Tensor) -> Tensor:
    """``[...]`` exact energy of ``state [..., n]``."""
    if name == "mass-spring":
        return state.square().sum(-1)
    q, p = state.chunk(2, dim=-1)
    return p.square().sum(-1) / 2 - 1 / (q[..., :2] - q[..., 2:]).norm(dim=-1)


def starts(name: str, count: int, generator: torch.Generator) -> Tensor:
    """``[count, n]`` random states (q, p), float64."""
    draw = lambda: torch.rand(count, 1, dtype=torch.float64, generator=generator)  # noqa: E731
    angle = 2 * math.pi * draw()
    direction = torch.cat([angle.cos(), angle.sin()], dim=1)
    if name == "mass-spring":
        return (0.1 + 0.9 * draw()) * direction
    radius = 0.5 + draw()
    across = torch.stack([-direction[:, 1], direction[:, 0]], dim=1)
    # two unit masses on a circle of this radius about their centre: v^2 / r = 1 / (2 r)^2
    speed = radius**-0.5 / 2 * (1 + 0.05 * torch.randn(count, 1, dtype=torch.float64, generator=generator))
    q, p = radius * direction, speed * across
    return torch.cat([q, -q, p, -p], dim=1)


def exact_rate(name: str, state: Tensor) -> Tensor:
    """d(q, p)/dt of the exact Hamiltonian."""
    q, p = state.chunk(2, dim=-1)
    if name == "mass-spring":
        return torch.cat([2 * p, -2 * q], dim=-1)
    apart = q[..., :2] - q[..., 2:]
    pull = -apart / apart.norm(dim=-1, keepdim=True) ** 3
    return torch.cat([p, pull, -pull], dim=-1)


def training_set(name: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """States ``[M, n]`` with noise, and the exact rates at the states without it, float32."""
    system = SYSTEMS[name]
    times = torch.linspace(0, system.span, system.states, dtype=torch.float64)
    first = starts(name, system.orbits, generator)
    path = solve(lambda _, y: exact_rate(name, y), first, times, substeps=20)
    rates = exact_rate(name, path)
    noisy = path + system.noise * torch.randn(path.shape, dtype=torch.float64, generator=generator)
    return noisy.reshape(-1, system.size).float(), rates.reshape(-1, system.size).float()


def network(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, outputs)
    )


def draw(name: str, kind: str, seed: int) -> dict[str, float | str]:
    """Train one network and roll it out."""
    system, begin = SYSTEMS[name], time.process_time()
    torch.manual_seed(seed)
    model = (
        HamiltonianField(network(system.size, 1))
        if kind == "Hamiltonian"
        else network(system.size, system.size)
    )
    generator = torch.Generator().manual_seed(seed)
    states, rates = training_set(name, generator)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(system.steps):
        optimiser.param_groups[0]["lr"] = 5e-4 * (1 + math.cos(math.pi * step / system.steps))
        pick = (
            torch.randint(len(states), (system.batch,), generator=generator) if system.batch else slice(None)
        )
        optimiser.zero_grad()
        (model(states[pick]) - rates[pick]).square().mean().backward()
        optimiser.step()
    fresh = starts(name, 25, generator)
    times = torch.linspace(0, system.span, 101)
    with torch.no_grad():
        path = solve(lambda _, y: model(y), fresh.float(), times, substeps=4)
    off = (energy(name, path.double()) - energy(name, fresh)).square()
    return {
        "system": name,
        "network": kind,
        "seed": seed,
        "energy_mse": float(off.mean()),
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument(
        "--log", type=Path, default=Path("benchmarks/results/laws/hamiltonian_networks.jsonl")
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    log = arguments.log
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(row["system"], row["network"], row["seed"]) for row in rows}
    for seed in range(arguments.draws):
        for name, kind in PUBLISHED:
            if (name, kind, seed) not in done:
                rows.append(draw(name, kind, seed))
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print("| system | network | draws | energy MSE, median (range) | published | CPU seconds a draw |")
    print("|---|---|---|---|---|---|")
    for (name, kind), published in PUBLISHED.items():
        mine = [row for row in rows if (row["system"], row["network"]) == (name, kind)]
        found = np.array([row["energy_mse"] for row in mine])
        seconds = np.median([row["cpu_seconds"] for row in mine])
        said = f"{np.median(found):.2e} ({found.min():.1e} to {found.max():.1e})"
        print(f"| {name} | {kind} | {len(mine)} | {said} | {published:.2e} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
