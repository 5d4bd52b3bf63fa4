"""Constants come back from data made with them, with deviations of the right size, by three methods."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from atomfield.physics_priors import allen_cahn, burgers, kdv, lotka_volterra
from atomfield.physics_priors.line_laws import LineLawName, line_law
from atomfield.physics_priors.ode import solve
from atomfield.physics_priors.physics_informed import SeriesOperators, fit_network
from atomfield.physics_priors.spectral import PeriodicGrid
from atomfield.physics_priors.trajectory_fit import Prior, fit_trajectory
from atomfield.physics_priors.weak_form import library
from atomfield.physics_priors.weak_identification import discover, identify

F64 = torch.float64


def burgers_field(noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    solver = burgers.Burgers1D(128, 2.0, 0.05)
    x = torch.arange(128).double() / 64
    start = torch.sin(math.pi * x) + 0.5 * torch.cos(2 * math.pi * x)
    u = solver.solve(start, torch.linspace(0, 1.0, 101, dtype=F64)).T.contiguous()
    return u + noise * u.std() * torch.randn(
        u.shape, dtype=F64, generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize("name", get_args(LineLawName))
def test_terms_and_residual_of_a_law_are_the_same_law(name):
    """The strong form of the weak terms equals du/dt minus the residual, on a smooth random field."""
    law, grid = line_law(name), PeriodicGrid((32,), (2.0,))
    x = torch.arange(32).double() / 16
    u = 0.3 + torch.sin(math.pi * x) + 0.2 * torch.cos(2 * math.pi * x)
    constants = torch.linspace(0.7, 1.9, len(law.constants), dtype=F64)
    right = sum(
        c * w * grid.derivative(term.of(u), (term.order,)) for c, parts in zip(constants, law.terms, strict=True) for
        w, term in parts
    )  # fmt: skip
    series = [grid.derivative(u, (k,)) for k in range(law.law.order + 1)]
    for operators, field in ((grid, u), (SeriesOperators(series), series[0])):
        rest = law.law.residual(operators, {"u": field}, {"u": torch.zeros_like(u)}, law.named(constants))
        torch.testing.assert_close(rest, -right, rtol=0, atol=1e-8)


def test_burgers_by_the_weak_form():
    found = identify(line_law("burgers"), burgers_field(), 2 / 128, 0.01)
    assert found.values.tolist() == pytest.approx([1.0, 0.05], rel=1e-4)
    assert found.error < 1e-4


def test_deviations_of_the_weak_form_have_the_size_of_the_scatter():
    """Twelve noise draws: the bootstrap's deviation against the scatter of the estimates, within a factor of two and a half."""
    law = line_law("burgers")
    runs = [
        identify(law, burgers_field(0.03, seed), 2 / 128, 0.01, halves=(16, 14), draws=60)
        for seed in range(12)
    ]
    scatter = torch.stack([r.values for r in runs]).std(0)
    claimed = torch.stack([r.deviations for r in runs]).median(0).values
    assert bool((claimed / scatter < 2.5).all())
    assert bool((claimed / scatter > 0.4).all())


def test_allen_cahn_by_the_weak_form():
    x, times = torch.linspace(-6, 4, 200, dtype=F64), torch.linspace(0, 1.5, 80, dtype=F64)
    u = torch.stack([allen_cahn.front(x, t, 0.3, 2.0) for t in times], dim=1)
    found = identify(line_law("allen_cahn"), u, float(x[1] - x[0]), float(times[1]), halves=(20, 12))
    assert found.values.tolist() == pytest.approx([0.3, 2.0], rel=1e-3)


def test_discovery_comes_with_deviations():
    found = discover(burgers_field(0.01), 2 / 128, 0.01, library(2, 3))
    kept = {str(t): i for i, t in enumerate(found.terms) if bool(found.fit.active[i, 0])}
    assert set(kept) == {"u u_x", "u_xx"}
    for name, want in (("u u_x", -1.0), ("u_xx", 0.05)):
        value, deviation = (float(a[kept[name]]) for a in (found.fit.coefficients[:, 0], found.deviations))
        assert 0 < deviation < 0.05 * abs(want)
        assert abs(value - want) < 5 * deviation


def test_a_network_finds_the_constants_of_a_soliton_and_solves_for_it():
    """KdV, 120 scattered values; then the same law with known constants fills a gap in the data."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(120, 2, dtype=F64, generator=generator) * torch.tensor([6.0, 1.0]) - torch.tensor(
        [3.0, 0.0]
    )
    values = kdv.soliton(points[:, 0], points[:, 1], 1.0, 6.0, 1.0)
    start = torch.tensor([1.0, 0.3], dtype=F64)
    found = fit_network(
        line_law("kdv"), points, values, points, start, width=6, depth=2, max_steps=80, seed=1
    )
    assert found.constants.tolist() == pytest.approx([6.0, 1.0], rel=0.02)
    assert bool((found.deviations > 0).all())
    early = points[:, 1] < 0.5
    solved = fit_network(
        line_law("kdv"), points[early], values[early], points, torch.tensor([6.0, 1.0]), known=True,
        width=6, depth=2, max_steps=80, seed=1,
    )  # fmt: skip
    assert solved.constants.tolist() == [6.0, 1.0]
    late = (solved.field(points[~early]) - values[~early]).square().mean().sqrt()
    assert float(late / values.square().mean().sqrt()) < 0.02


def test_units_do_not_matter_to_a_network():
    """Heat in other units of length, time and temperature, far from zero: the same network, the constant in the new units."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(80, 2, dtype=F64, generator=generator)
    values = torch.exp(-points[:, 1] * math.pi**2 * 0.1) * torch.sin(math.pi * points[:, 0])
    law = line_law("heat")
    settings = {"width": 6, "depth": 2, "max_steps": 25}
    plain = fit_network(law, points, values, points, torch.tensor([0.3], dtype=F64), **settings)
    units = torch.tensor([1e3, 1e-4], dtype=F64)
    start = torch.tensor([0.3 * 1e6 / 1e-4], dtype=F64)
    other = fit_network(law, points * units, 300 + 2 * values, points * units, start, **settings)
    assert float(plain.constants) == pytest.approx(0.1, rel=0.05)
    assert float(other.constants * 1e-4 / 1e6) == pytest.approx(float(plain.constants), rel=1e-6)
    assert float(other.deviations / plain.deviations) == pytest.approx(1e10, rel=1e-4)
    assert other.fit.loss == pytest.approx(plain.fit.loss, rel=1e-6)


def test_predator_and_prey_and_their_deviations():
    truth = torch.tensor([0.6, 0.03, 0.8, 0.02], dtype=F64)
    times = torch.linspace(0, 18, 13, dtype=F64)
    path = solve(lambda _, z: lotka_volterra.rate(z, truth), torch.tensor([35.0, 8.0], dtype=F64), times)
    noise = 0.1 * torch.randn(13, 2, dtype=F64, generator=torch.Generator().manual_seed(5))
    found = fit_trajectory(
        lotka_volterra.rate, times, path * noise.exp(), torch.tensor([0.55, 0.028, 0.85, 0.021]), (Prior(),) * 4,
        errors="lognormal", substeps=3, error_start=0.1,
    )  # fmt: skip
    pulls = (found.constants - truth) / found.deviations[:4]
    assert float(pulls.abs().max()) < 3
    assert bool((found.deviations[:4] < 0.2 * truth).all())
    assert found.errors.tolist() == pytest.approx([0.1, 0.1], rel=0.5)
    with pytest.raises(ValueError, match="positive states"):
        fit_trajectory(lotka_volterra.rate, times, -path, truth, (Prior(),) * 4, errors="lognormal")


def test_series_know_only_their_own_field():
    series = [torch.ones(3), torch.zeros(3)]
    with pytest.raises(ValueError, match="only u"):
        SeriesOperators(series).gradient(torch.ones(3))
    with pytest.raises(ValueError, match="no series"):
        SeriesOperators(series).divergence(torch.ones(1, 3))
