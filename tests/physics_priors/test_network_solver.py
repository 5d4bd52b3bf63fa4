"""A law solved from its boundary: against a spectral solver, and points that go where the equation is not met."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors import network_solver
from atomfield.physics_priors.burgers import Burgers1D
from atomfield.physics_priors.line_laws import line_law
from atomfield.physics_priors.network_solver import solve

F64 = torch.float64
CORNERS = torch.tensor([-1.0, 0.0], dtype=F64), torch.tensor([1.0, 0.5], dtype=F64)


def boundary() -> tuple[torch.Tensor, torch.Tensor]:
    """u = -sin(pi x) at the start, 0 at both ends."""
    x, t = torch.linspace(-1, 1, 33, dtype=F64), torch.linspace(0, 0.5, 12, dtype=F64)
    points = torch.cat(
        [
            torch.stack([x, 0 * x], 1),
            torch.stack([0 * t - 1, t], 1),
            torch.stack([0 * t + 1, t], 1),
        ]
    )
    return points, torch.cat([-torch.sin(math.pi * x), torch.zeros(24, dtype=F64)])


def solved(rounds: int):
    points, values = boundary()
    constants = torch.tensor([1.0, 0.1], dtype=F64)
    return solve(
        line_law("burgers"), points, values, CORNERS, constants,
        num_points=250, rounds=rounds, steps=25, width=8, depth=2, seed=1,
    )  # fmt: skip


def test_burgers_from_its_boundary():
    found = solved(4)
    exact = Burgers1D(128, 2.0, 0.1)
    x = torch.arange(128).double() / 64 - 1
    times = torch.linspace(0, 0.5, 11, dtype=F64)
    u = exact.solve(-torch.sin(math.pi * x), times).T
    here = found.estimate.field(torch.cartesian_prod(x, times)).reshape(u.shape)
    assert float((here - u).norm() / u.norm()) < 3e-3
    assert len(found.residuals) == 4 and found.residuals[-1] < min(0.01, found.residuals[0])
    assert found.misfit < 1e-3
    assert found.estimate.constants.tolist() == [1.0, 0.1]


def test_points_go_where_the_equation_is_not_met(monkeypatch: pytest.MonkeyPatch):
    """A network that leaves a residual at late times alone is asked there more often."""
    asked, fit = [], network_solver.fit_network

    def watched(law, points, values, collocation, *rest, **keywords):
        asked.append(collocation)
        return fit(law, points, values, collocation, *rest, **keywords)

    monkeypatch.setattr(network_solver, "fit_network", watched)
    monkeypatch.setattr(
        network_solver.NetworkEstimate,
        "residual",
        lambda self, law, points: (points[:, 1] > 0.4).double(),
    )
    solved(2)
    late = [float((points[:, 1] > 0.4).double().mean()) for points in asked]
    assert late[0] == pytest.approx(0.2, abs=0.03)
    # a fifth of the candidates has a residual of five times the mean: 6 of (6 + 4) parts
    assert late[1] == pytest.approx(0.6, abs=0.08)
