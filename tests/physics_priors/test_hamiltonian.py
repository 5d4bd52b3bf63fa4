"""Energy is constant along the flow of any Hamiltonian or Lagrangian network, and known systems give their equations
of motion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atomfield.physics_priors.hamiltonian import HamiltonianField
from atomfield.physics_priors.lagrangian import LagrangianField
from atomfield.physics_priors.ode import solve

F64 = torch.float64


class Pendulum(nn.Module):
    """H = p^2 / 2 + 3 (1 - cos q)."""

    def forward(self, state):
        q, p = state[..., :1], state[..., 1:]
        return p * p / 2 + 3 * (1 - torch.cos(q))


class DoublePendulum(nn.Module):
    """L of two unit masses on unit rods with g = 9.8."""

    def forward(self, state):
        a, b, va, vb = state
        kinetic = va * va + vb * vb / 2 + va * vb * torch.cos(a - b)
        return (kinetic + 2 * 9.8 * torch.cos(a) + 9.8 * torch.cos(b))[None]


def random_network(inputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, 1)).double()


def test_a_pendulum():
    state = torch.randn(5, 2, dtype=F64)
    want = torch.stack([state[:, 1], -3 * torch.sin(state[:, 0])], dim=1)
    torch.testing.assert_close(HamiltonianField(Pendulum())(state), want)


def test_energy_of_a_random_hamiltonian_is_constant_along_its_flow():
    field = HamiltonianField(random_network(4))
    state = torch.randn(50, 4, dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(field.energy(state).sum(), state)
    rate = field(state).detach()
    assert float(rate.norm(dim=1).min()) > 1e-2
    assert float((slope * rate).sum(1).abs().max()) < 1e-15
    with torch.no_grad():
        path = solve(lambda _, y: field(y), state.detach(), torch.tensor([0.0, 2.0], dtype=F64), substeps=200)
        assert float((field.energy(path[1]) - field.energy(path[0])).abs().max()) < 1e-9


def test_training_reaches_the_weights():
    field = HamiltonianField(random_network(2))
    field(torch.randn(3, 2, dtype=F64)).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in list(field.parameters())[:-1])
    with torch.no_grad():
        assert not field(torch.randn(3, 2, dtype=F64)).requires_grad


def double_pendulum_accelerations(q, v):
    """The textbook's formula for unit masses and rods."""
    (a, b), (va, vb) = q.T, v.T
    matrix = torch.stack(
        [torch.stack([2 + 0 * a, torch.cos(a - b)], 1), torch.stack([torch.cos(a - b), 1 + 0 * a], 1)], 1
    )
    right = torch.stack(
        [
            -vb * vb * torch.sin(a - b) - 2 * 9.8 * torch.sin(a),
            va * va * torch.sin(a - b) - 9.8 * torch.sin(b),
        ],
        dim=1,
    )
    return torch.linalg.solve(matrix, right)


def test_a_double_pendulum():
    q, v = torch.randn(6, 2, dtype=F64), torch.randn(6, 2, dtype=F64)
    field = LagrangianField(DoublePendulum())
    torch.testing.assert_close(field(q, v), double_pendulum_accelerations(q, v))
    height = -2 * 9.8 * torch.cos(q[:, 0]) - 9.8 * torch.cos(q[:, 1])
    kinetic = v[:, 0] ** 2 + v[:, 1] ** 2 / 2 + v.prod(1) * torch.cos(q[:, 0] - q[:, 1])
    torch.testing.assert_close(field.energy(q, v), kinetic + height)


def test_energy_of_a_random_lagrangian_is_constant_along_its_motion():
    field = LagrangianField(random_network(4), floor=5.0)
    state = torch.randn(2, 8, 2, dtype=F64)
    with torch.no_grad():
        path = solve(
            lambda _, y: torch.stack([y[1], field(y[0], y[1])]),
            state,
            torch.tensor([0.0, 1.0], dtype=F64),
            substeps=50,
        )
        change = field.energy(*path[1]) - field.energy(*path[0])
    assert float((path[1] - path[0]).abs().max()) > 0.3
    assert float(change.abs().max()) < 1e-7


def test_a_singular_mass_matrix_is_an_error():
    class Free(nn.Module):
        def forward(self, state):
            return state[:1] * 2

    with pytest.raises(RuntimeError, match="singular"):
        LagrangianField(Free())(torch.ones(1, 1, dtype=F64), torch.ones(1, 1, dtype=F64))
