"""Constants and a whole first state from scattered values of two states, with deviations that hold."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors import kdv
from atomfield.physics_priors.snapshot_fit import Snapshot, fit_snapshots, interpolated
from atomfield.physics_priors.spectral import PeriodicGrid

F64 = torch.float64
GRID, SPAN, TRUTH = PeriodicGrid((48,), (20.0,)), 0.6, torch.tensor([6.0, 1.0], dtype=F64)
X = torch.arange(48).double() * 20 / 48
STARTS = torch.cartesian_prod(torch.linspace(4, 8, 5), torch.linspace(0.6, 1.4, 5))


def _snapshots(noise: float, seed: int = 0) -> list[Snapshot]:
    """A soliton at two times, at 70 random points each."""
    generator = torch.Generator().manual_seed(seed)
    out = []
    for time in (0.0, SPAN):
        points = 20 * torch.rand(70, dtype=F64, generator=generator)
        values = kdv.soliton(points - 10, time, 1.5, 6.0, 1.0)
        out.append(Snapshot(time, points, values + noise * torch.randn(70, dtype=F64, generator=generator)))
    return out


def _fit(snapshots, num_waves):
    solver = lambda u, c, span: kdv.advance(GRID, u, c, span, 20)  # noqa: E731
    return fit_snapshots(solver, GRID, snapshots, STARTS, num_waves, max_steps=20)


def test_the_solver_moves_a_soliton():
    start = kdv.soliton(X - 10, 0.0, 1.5, 6.0, 1.0)
    moved = kdv.advance(GRID, start, TRUTH, SPAN, 24)
    torch.testing.assert_close(moved, kdv.soliton(X - 10, SPAN, 1.5, 6.0, 1.0), rtol=0, atol=2e-3)
    half, whole = (kdv.advance(GRID, start, TRUTH, SPAN, n) for n in (12, 96))
    finer = kdv.advance(GRID, start, TRUTH, SPAN, 24)
    assert float((finer - whole).abs().max()) < 0.1 * float((half - whole).abs().max())  # fourth order


def test_constants_and_state_are_found():
    found = _fit(_snapshots(0.0), 14)
    assert found.constants.tolist() == pytest.approx([6.0, 1.0], rel=5e-3)
    torch.testing.assert_close(found.state, kdv.soliton(X - 10, 0.0, 1.5, 6.0, 1.0), rtol=0, atol=5e-3)


def test_deviations_have_the_size_of_the_errors():
    found = _fit(_snapshots(0.01), 10)
    pulls = (found.constants - TRUTH) / found.deviations
    assert float(pulls.abs().max()) < 4
    assert bool((found.deviations < 0.1 * TRUTH).all()) and bool((found.deviations > 1e-4).all())
    assert found.rest == pytest.approx(0.01, rel=0.4)


def test_too_few_values_are_refused():
    with pytest.raises(ValueError, match="140 values for 143 unknowns"):
        fit_snapshots(lambda u, c, s: u, GRID, _snapshots(0.0), STARTS, num_waves=70)


def test_a_solver_that_leaves_the_numbers_says_so():
    with pytest.raises(ArithmeticError, match="lower num_waves"):
        fit_snapshots(lambda u, c, s: u * torch.nan, GRID, _snapshots(0.0), STARTS, num_waves=10)


def test_the_ratio_of_the_constants_from_an_invariant():
    """A wave that steepens and sheds ripples: exact from whole states, and from scattered values of a part of them."""
    grid = PeriodicGrid((96,), (2.0,))
    x = torch.arange(96).double() / 48
    before = kdv.advance(grid, torch.cos(torch.pi * x), torch.tensor([1.0, 0.01]).double(), 0.2, 80)
    after = kdv.advance(grid, before, torch.tensor([1.0, 0.01]).double(), 0.3, 120)
    assert kdv.dispersion_per_advection(grid, before, after) == pytest.approx(0.01, rel=1e-5)
    chosen = torch.randperm(96, generator=torch.Generator().manual_seed(0))[:60]
    states = [interpolated(Snapshot(0.0, x[chosen], u[chosen]), grid, 20) for u in (before, after)]
    assert kdv.dispersion_per_advection(grid, *states) == pytest.approx(0.01, rel=1e-3)
