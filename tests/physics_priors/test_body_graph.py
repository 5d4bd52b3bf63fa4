"""Momentum and angular momentum of bodies with a random pair energy, over a thousand steps in the plane and in space."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atomfield.physics_priors.body_graph import BodyGraph, all_pairs, total_angular_momentum
from atomfield.physics_priors.symplectic import integrate

F64 = torch.float64


class PairEnergy(nn.Module):
    """A network that knows nothing of symmetry between the two bodies."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 1)).double()

    def forward(self, distance, own, other):
        return self.net(torch.cat([distance, own, other], dim=-1))


class Gravity(nn.Module):
    def forward(self, distance, own, other):
        return -own * other / distance


@pytest.mark.parametrize("dimension", [2, 3])
def test_conserved_over_a_thousand_steps(dimension):
    graph, edges = BodyGraph(PairEnergy(), softening=0.1), all_pairs(5)
    generator = torch.Generator().manual_seed(1)
    masses = 0.5 + torch.rand(5, 1, dtype=F64, generator=generator)
    q = torch.randn(5, dimension, dtype=F64, generator=generator)
    p = torch.randn(5, dimension, dtype=F64, generator=generator)
    with torch.no_grad():
        path, momenta = integrate(
            "leapfrog",
            q,
            p,
            0.02,
            1000,
            lambda p: p / masses,
            lambda q: graph.forces(q, masses, edges),
            every=100,
        )
    assert float((momenta[-1] - p).abs().max()) > 0.1
    assert float((momenta.sum(1) - p.sum(0)).abs().max()) < 1e-12
    turning = total_angular_momentum(path, momenta)
    assert float((turning - turning[0]).abs().max()) < 1e-11 * float(path.abs().max()) * 5


def test_newtons_gravity():
    masses = torch.tensor([[1.0], [3.0]], dtype=F64)
    q = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]], dtype=F64)
    forces = BodyGraph(Gravity()).forces(q, masses, all_pairs(2))
    torch.testing.assert_close(forces, torch.tensor([[0.75, 0, 0], [-0.75, 0, 0]], dtype=F64))


def test_turning_and_moving_turns_the_forces():
    graph, edges, masses = BodyGraph(PairEnergy()), all_pairs(4), torch.rand(4, 1, dtype=F64)
    q = torch.randn(4, 3, dtype=F64)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, dtype=F64))
    moved = graph.forces(q @ rotation.T + 1.7, masses, edges)
    torch.testing.assert_close(moved, graph.forces(q, masses, edges) @ rotation.T, rtol=0, atol=1e-13)


def test_batches_of_configurations():
    graph, edges, masses = BodyGraph(PairEnergy()), all_pairs(3), torch.rand(3, 1, dtype=F64)
    q = torch.randn(6, 3, 2, dtype=F64)
    one_by_one = torch.stack([graph.forces(x, masses, edges) for x in q])
    torch.testing.assert_close(graph.forces(q, masses, edges), one_by_one)
