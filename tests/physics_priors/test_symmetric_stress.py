"""Stress that is symmetric bit by bit, and the force of a Newtonian fluid against its exact form."""

from __future__ import annotations

import math

import torch

from atomfield.physics_priors.spectral import PeriodicGrid
from atomfield.physics_priors.symmetric_stress import (
    force,
    from_voigt,
    newtonian,
    positive_definite,
    symmetrised,
)


def test_symmetric_to_the_last_bit():
    for stress in (from_voigt(torch.randn(50, 6)), symmetrised(torch.randn(50, 3, 3))):
        assert torch.equal(stress, stress.transpose(1, 2))
    assert from_voigt(torch.arange(6.0)).tolist() == [[0, 5, 4], [5, 1, 3], [4, 3, 2]]


def test_positive_definite_above_its_floor():
    matrix = positive_definite(torch.randn(40, 3, 3, dtype=torch.float64), floor=0.1)
    assert float(torch.linalg.eigvalsh(matrix).min()) >= 0.1 - 1e-12
    assert torch.equal(matrix, matrix.transpose(1, 2))


def test_the_force_of_a_newtonian_fluid():
    """div sigma = -grad p + mu laplacian(u) + (mu + lambda) grad div u, the second form by other operators."""
    grid = PeriodicGrid((15, 16), (1.0, 1.0))
    x, y = torch.meshgrid(torch.arange(15).double() / 15, torch.arange(16).double() / 16, indexing="ij")
    tau = 2 * math.pi
    velocity = torch.stack([(tau * (x + y)).sin(), (tau * 2 * x).cos()])
    pressure = (tau * y).sin()
    got = force(grid, newtonian(grid, velocity, pressure, 0.3, 0.2))
    want = (
        -grid.gradient(pressure)
        + 0.3 * grid.laplacian(velocity)
        + 0.5 * grid.gradient(grid.divergence(velocity))
    )
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    # no net force on a periodic box, and no net torque density: the stress is symmetric
    assert float(got.mean((1, 2)).abs().max()) < 1e-12
