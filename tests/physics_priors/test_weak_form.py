"""Weak derivatives against exact integrals, and equations found again from exact solutions with and without noise."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors import burgers, kdv
from atomfield.physics_priors.sparse_regression import sequential_threshold
from atomfield.physics_priors.weak_form import (
    Term,
    Windows,
    half_width,
    library,
    weak_rates,
    weak_system,
)


def test_derivatives_fall_on_the_test_function():
    """int phi^(k) f = (-1)^k int phi f^(k), f a sine."""
    windows = Windows(200, 0.05, 40, 7, 10)
    x = 0.05 * torch.arange(200, dtype=torch.float64)
    plain = windows.matrix(0)
    for order in range(1, 5):
        want = (-1) ** order * plain @ torch.sin(1.3 * x + order * math.pi / 2) * 1.3**order
        torch.testing.assert_close(windows.matrix(order) @ torch.sin(1.3 * x), want, rtol=0, atol=1e-7)


def test_names_of_terms():
    assert [str(t) for t in library(2, 2)] == ["u", "u^2", "u_x", "u u_x", "u_xx", "(u^2)_xx"]
    assert str(Term(3, 1)) == "u^2 u_x"


def burgers_data() -> tuple[torch.Tensor, float, float]:
    solver = burgers.Burgers1D(128, 2.0, 0.05)
    x = torch.arange(128).double() / 64
    start = torch.sin(math.pi * x) + 0.5 * torch.cos(2 * math.pi * x)
    states = solver.solve(start, torch.linspace(0, 1.0, 101, dtype=torch.float64))
    return states.T.contiguous(), 2 / 128, 0.01


@pytest.mark.parametrize(("noise", "tolerance"), [(0.0, 1e-4), (0.01, 0.02)])
def test_burgers_is_found(noise, tolerance):
    u, dx, dt = burgers_data()
    u = u + noise * u.std() * torch.randn(
        u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    terms = library(2, 3)
    system = weak_system(u, dx, dt, terms, (half_width(u, 0, 8), half_width(u, 1, 8)))
    fit = sequential_threshold(system.matrix, system.rate)
    found = {str(t): float(c) for t, c in zip(terms, fit.coefficients[:, 0], strict=True) if c}
    assert found == pytest.approx({"u u_x": -1.0, "u_xx": 0.05}, rel=tolerance)


def test_two_solitons_give_kdv():
    """One soliton alone also obeys a plain transport equation; two of different speed do not."""
    x = torch.linspace(-20, 40, 400, dtype=torch.float64)
    times = torch.linspace(0, 2, 80, dtype=torch.float64)
    far = [kdv.soliton(x - 25, t, 2.0, 6.0, 1.0) + kdv.soliton(x + 5, t, 0.7, 6.0, 1.0) for t in times]
    u = torch.stack(far, dim=1)
    terms = library(2, 3)
    system = weak_system(u, float(x[1] - x[0]), float(times[1]), terms, (24, 15))
    fit = sequential_threshold(system.matrix, system.rate)
    found = {str(t): float(c) for t, c in zip(terms, fit.coefficients[:, 0], strict=True) if c}
    assert found == pytest.approx({"u u_x": -6.0, "u_xxx": -1.0}, rel=1e-3)


def test_coefficients_have_a_gradient_in_the_field():
    u, dx, dt = burgers_data()
    u = u.requires_grad_(True)
    system = weak_system(u, dx, dt, (Term(2, 1), Term(1, 2)), (16, 12))
    viscosity = sequential_threshold(system.matrix, system.rate, 0.0).coefficients[1, 0]
    (gradient,) = torch.autograd.grad(viscosity, u)
    direction = torch.randn(u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))

    def moved(size: float) -> float:
        other = weak_system(u.detach() + size * direction, dx, dt, (Term(2, 1), Term(1, 2)), (16, 12))
        return float(sequential_threshold(other.matrix, other.rate, 0.0).coefficients[1, 0])

    assert float((gradient * direction).sum()) == pytest.approx((moved(1e-6) - moved(-1e-6)) / 2e-6, rel=1e-4)


def test_windows_ignore_white_noise():
    """The width follows the signal, not the noise added to it."""
    u, _, _ = burgers_data()
    noisy = u + 0.05 * torch.randn(u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert half_width(noisy, 1, 8) > 0.6 * half_width(u, 1, 8)
    with pytest.raises(ValueError, match="does not fit into 10"):
        Windows(10, 0.1, 5, 1, 8)


def test_rates_of_an_ordinary_equation():
    times = 0.01 * torch.arange(600, dtype=torch.float64)
    states = torch.stack([times.cos(), -times.sin()], dim=1)
    matrix, rates, blocks = weak_rates(states, 0.01, states, 60)
    torch.testing.assert_close(rates, torch.stack([matrix[:, 1], -matrix[:, 0]], dim=1), rtol=0, atol=1e-9)
    assert len(blocks) == len(rates)
