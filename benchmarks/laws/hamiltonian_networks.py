"""A network of the energy against a network of the rates, on the noisy mass-spring of Greydanus et al. (NeurIPS 32, 2019).

    python benchmarks/laws/hamiltonian_networks.py --draws 5

25 orbits of 30 states each for training, noise of 0.1 on every state, H = q^2 + p^2, radius 0.1 to 1; both networks
have two hidden layers of
200 tanh, 2,000 steps of Adam at 1e-3 on all rates at once. The figure is the mean square error of the energy along
rollouts from 25 fresh starts
over the span of the training orbits. Published, one run: 3.8416e-4 (Hamiltonian) and 1.7077e-1 (plain); two-body
3.8751e-5 and 6.3276e-2.
The set-up is written from the paper's description; rollouts here start without noise, which their repository may do
otherwise. The two-body case
is not in this script.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch import Tensor, nn

from atomfield.physics_priors.hamiltonian import HamiltonianField
from atomfield.physics_priors.ode import solve

SPAN, STATES, NOISE = 3.0, 30, 0.1


def orbits(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Exact states ``[count, 30, 2]`` and rates of H = q^2 + p^2: circles at angular speed 2."""
    phase = 2 * torch.pi * torch.rand(count, 1, generator=generator)
    radius = 0.1 + 0.9 * torch.rand(count, 1, generator=generator)
    angle = phase - 2 * torch.linspace(0, SPAN, STATES)
    states = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=2)
    return states, torch.stack([2 * states[..., 1], -2 * states[..., 0]], dim=2)


def network(outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(2, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, outputs)
    )


def error_of_energy(model: nn.Module, seed: int, steps: int) -> tuple[float, float]:
    """(over the training span, over 20) after training."""
    generator = torch.Generator().manual_seed(seed)
    states, rates = (part.reshape(-1, 2) for part in orbits(25, generator))
    states = states + NOISE * torch.randn(states.shape, generator=generator)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        (model(states) - rates).square().mean().backward()
        optimiser.step()
    starts = orbits(25, generator)[0][:, 0]
    with torch.no_grad():
        path = solve(lambda _, y: model(y), starts, torch.linspace(0, 20, 201), substeps=2)
    off = (path.square().sum(2) - starts.square().sum(1)).square()
    return float(off[: int(10 * SPAN) + 1].mean()), float(off.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        "| network | draws | energy MSE, span of training | over time 20 | published | CPU seconds a draw |"
    )
    print("|---|---|---|---|---|---|")
    for name, published in (("Hamiltonian", "3.8416e-4"), ("plain", "1.7077e-1")):
        found, start = [], time.process_time()
        for seed in range(arguments.draws):
            torch.manual_seed(seed)
            model = HamiltonianField(network(1)) if name == "Hamiltonian" else network(2)
            found.append(error_of_energy(model, seed, arguments.steps))
        seconds = (time.process_time() - start) / arguments.draws
        cells = [f"{np.median(c):.2e} ({min(c):.1e} to {max(c):.1e})" for c in zip(*found, strict=True)]
        print(
            f"| {name} | {arguments.draws} | {cells[0]} | {cells[1]} | {published} | {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
