"""Constants of laws in any dimension from states of their solvers, with and without noise, and of energies from forces."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.energy_laws import energy_law
from atomfield.physics_priors.field_laws import field_law
from atomfield.physics_priors.law_equations import Labelled, energy_equations, field_equations
from atomfield.physics_priors.law_fit import Equations, fit_law, jacobian
from atomfield.physics_priors.least_squares import PointOperators
from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.pairs import derivatives
from atomfield.physics_priors.periodic_cell import PeriodicCell
from atomfield.physics_priors.reaction_diffusion import ReactionDiffusion, gray_scott
from atomfield.physics_priors.shallow_water import ShallowWater2D
from atomfield.physics_priors.spectral import PeriodicGrid
from atomfield.physics_priors.wave import acoustic_waves

from .clouds import box_cloud
from .structures import pairs_of

F64, NUM = torch.float64, 24


def smooth(grid: PeriodicGrid, seed: int, highest: int = 3) -> torch.Tensor:
    noise = torch.randn(grid.shape, dtype=F64, generator=torch.Generator().manual_seed(seed))
    index = grid.k_squared.sqrt() / (2 * math.pi)
    field = grid.inverse(torch.where((index > 0) & (index <= highest), grid.forward(noise), 0.0))
    return field / field.square().mean().sqrt()


def in_space(plane: torch.Tensor) -> torch.Tensor:
    """``[T, 3, N]`` of ``[T, 2, n, n]``."""
    flat = plane.flatten(2)
    return torch.cat([flat, torch.zeros_like(flat[:, :1])], dim=1)


def flow() -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
    solver = NavierStokes2D(NUM, 1.0, 5e-3)
    found = solver.solve(3 * smooth(solver.grid, 0), torch.arange(19).double() * 0.02)
    return (
        {"velocity": in_space(found.velocity), "pressure": found.pressure.flatten(1)},
        0.02,
        {"viscosity": 5e-3},
    )


def shallow() -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
    grid = PeriodicGrid((NUM, NUM), (1.0, 1.0))
    times = torch.arange(19).double() * 0.01
    start = torch.stack([smooth(grid, 1), smooth(grid, 2)])
    depth, velocity = ShallowWater2D(grid, 1.44, 5e-3).solve(1 + 0.05 * smooth(grid, 0), 0.1 * start, times)
    states = {"depth": depth.flatten(1), "velocity": in_space(velocity)}
    return states, 0.01, {"wave_speed": 1.2, "viscosity": 5e-3}


def sound() -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
    grid = PeriodicGrid((NUM, NUM), (1.0, 1.0))
    times = torch.arange(19).double() * 0.01
    start = torch.stack([smooth(grid, 1), smooth(grid, 2)])
    pressure, velocity = acoustic_waves(grid, smooth(grid, 0), start, times, 0.8)
    return {"pressure": pressure.flatten(1), "velocity": in_space(velocity)}, 0.01, {"wave_speed": 0.8}


def waves() -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
    states, dt, constants = sound()
    return {"solution": states["pressure"]}, dt, constants


def pattern() -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
    grid = PeriodicGrid((NUM, NUM), (1.0, 1.0))
    spots = torch.sigmoid(3 * smooth(grid, 0))
    start = torch.stack([1 - 0.5 * spots, 0.25 * spots])[:, None]
    solver = ReactionDiffusion(
        grid, torch.tensor([2e-2, 1e-2]).double().reshape(2, 1, 1, 1), 100.0, gray_scott(0.04, 0.06)
    )
    states = solver.solve(start, [0] + [4] * 18, 0.005)[:, :, 0]
    names = ("concentration", "second_concentration")
    constants = {"diffusivity": 2e-2, "reaction_rate": 100.0, "feed": 0.04}
    return {n: states[:, k].flatten(1) for k, n in enumerate(names)}, 0.02, constants


def scalar() -> tuple[dict[str, torch.Tensor], float, dict[str, float]]:
    grid = PeriodicGrid((NUM, NUM), (1.0, 1.0))
    times = torch.arange(19).double() * 0.02
    modes = grid.forward(smooth(grid, 0)) * torch.exp(-0.01 * grid.k_squared * times[:, None, None])
    return {"temperature": grid.inverse(modes).flatten(1)}, 0.02, {"diffusivity": 0.01}


CASES = {  # the errors on clean data are those of the windows' quadrature
    "navier_stokes": (flow, 1e-3, 0.1),
    "shallow_water": (shallow, 2e-3, 0.1),
    "acoustics": (sound, 1e-3, 0.01),
    "wave": (waves, 1e-3, 0.02),
    "gray_scott": (pattern, 2e-2, 0.2),
    "heat": (scalar, 1e-3, 0.05),
}


def fitted(name: str, states: dict[str, torch.Tensor], dt: float, start: dict[str, float]):
    law, cell = field_law(name), PeriodicCell((NUM, NUM), torch.eye(3, dtype=F64)[:2])
    everywhere = torch.ones(NUM * NUM, dtype=torch.bool)
    equations = field_equations(law, cell, states, dt, everywhere, torch.zeros(NUM * NUM, dtype=torch.int64))
    begin = torch.tensor([start[k] for k in law.constants], dtype=F64)
    return law, fit_law(equations, begin, draws=30)


@pytest.mark.parametrize("name", CASES)
def test_constants_of_a_field_with_and_without_noise(name):
    make, clean, noisy = CASES[name]
    states, dt, truth = make()
    start = {k: 2 * v for k, v in truth.items()}
    law, found = fitted(name, states, dt, start)
    for k, constant in enumerate(law.constants):
        assert float(found.values[k]) == pytest.approx(truth[constant], rel=clean), constant
    generator = torch.Generator().manual_seed(3)
    spoiled = {
        k: v + 0.01 * v.std() * torch.randn(v.shape, dtype=F64, generator=generator)
        for k, v in states.items()
    }
    _, found = fitted(name, spoiled, dt, start)
    for k, constant in enumerate(law.constants):
        assert float(found.values[k]) == pytest.approx(truth[constant], rel=noisy), constant
        assert (
            abs(float(found.values[k]) - truth[constant])
            < 5 * float(found.deviations[k]) + clean * truth[constant]
        )


def test_the_source_of_a_steady_flux():
    """u = 1 - |x|^2 / 2 with k = 1.5 in the plane: a source of 3, exact for stencils of degree 2."""
    points, senders, receivers, vectors = box_cloud(150, 2, 14)
    cloud = PointOperators(senders, receivers, vectors, 150, degree=2)
    u = 1 - points.square().sum(1) / 2
    inside = torch.arange(150) >= 2
    states = {"solution": u[None], "permeability": torch.full((1, 150), 1.5, dtype=F64)}
    tiles = (4 * points[:, 0]).long()
    found = fit_law(
        field_equations(field_law("darcy"), cloud, states, 1.0, inside, tiles),
        torch.ones(1, dtype=F64),
        draws=30,
    )
    assert float(found.values[0]) == pytest.approx(3.0, rel=1e-9)
    assert len(found.explained) == 148 and float(found.deviations[0]) < 1e-8


def test_one_long_wave_on_a_line_has_blocks_enough():
    x = 2 * math.pi * torch.arange(32).double() / 32
    waves = torch.stack([torch.exp(-0.5 * 0.1 * t) * torch.sin(x) for t in torch.arange(7).double()])
    cell, inside = (
        PeriodicCell((32,), 2 * math.pi * torch.eye(3, dtype=F64)[:1]),
        torch.ones(32, dtype=torch.bool),
    )
    law = field_law("heat")
    equations = field_equations(
        law, cell, {"temperature": waves}, 0.1, inside, torch.zeros(32, dtype=torch.int64)
    )
    found = fit_law(equations, torch.ones(1, dtype=F64), draws=30)
    assert float(found.values[0]) == pytest.approx(0.5, rel=1e-3)


def test_few_times_are_refused():
    states, dt, truth = scalar()
    with pytest.raises(ValueError, match="found 6 times, expected at least 7"):
        fitted("heat", {k: v[:6] for k, v in states.items()}, dt, truth)


CLUSTER = 3.8 * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0.5, 0.87, 0], [0.5, 0.29, 0.82]], dtype=F64)
ENERGIES = {
    "lennard_jones": (18, (0.0104, 3.40)),
    "morse": (6, (4.0, 0.8, 3.7)),
    "buckingham": (8, (900.0, 0.35, 60.0)),
}


@pytest.mark.parametrize("with_forces", [True, False])
@pytest.mark.parametrize("name", ENERGIES)
def test_constants_of_an_energy(name, with_forces):
    species, truth = ENERGIES[name]
    law = energy_law(name)
    constants = dict(zip(law.constants, torch.tensor(truth, dtype=F64), strict=True))
    zero = {"energy": torch.zeros(1, dtype=F64)}
    generator, structures = torch.Generator().manual_seed(0), []
    for stretch in torch.linspace(0.85, 1.4, 6, dtype=F64):
        moved = stretch * CLUSTER + 0.1 * torch.randn(4, 3, dtype=F64, generator=generator)
        pairs = pairs_of([(moved, None, [species] * 4)])
        with torch.no_grad():
            labels = derivatives(lambda p: law.term(p, {}, constants, zero), pairs, stress=False)
        structures.append(Labelled(pairs, labels["energy"], labels["forces"] if with_forces else None))
    equations = energy_equations(law, [(species, species)], structures)
    found = fit_law(equations, 1.2 * torch.tensor(truth, dtype=F64), positive=True, draws=30)
    assert found.values.tolist() == pytest.approx(list(truth), rel=1e-5)
    assert found.rest < 1e-6


def test_constants_of_three_kinds_of_pairs():
    law, kinds = energy_law("lennard_jones"), [(10, 10), (10, 18), (18, 18)]
    truth = torch.tensor([0.003, 2.8, 0.006, 3.1, 0.0104, 3.4], dtype=F64)
    generator, structures = torch.Generator().manual_seed(1), []
    zero = {"energy": torch.zeros(1, dtype=F64)}
    tables = {"epsilon": torch.ones(19, 19, dtype=F64), "sigma": torch.ones(19, 19, dtype=F64)}
    for (a, b), (epsilon, sigma) in zip(kinds, truth.reshape(3, 2).tolist(), strict=True):
        tables["epsilon"][[a, b], [b, a]], tables["sigma"][[a, b], [b, a]] = epsilon, sigma
    for stretch in torch.linspace(0.85, 1.3, 5, dtype=F64):
        moved = stretch * CLUSTER + 0.1 * torch.randn(4, 3, dtype=F64, generator=generator)
        pairs = pairs_of([(moved, None, [10, 18, 10, 18])])
        with torch.no_grad():
            labels = derivatives(lambda p: law.term(p, {}, tables, zero), pairs, stress=False)
        structures.append(Labelled(pairs, None, labels["forces"]))
    found = fit_law(energy_equations(law, kinds, structures), 1.1 * truth, positive=True, draws=30)
    assert found.values.tolist() == pytest.approx(truth.tolist(), rel=1e-5)


def test_the_jacobian_and_what_is_not_determined():
    at = torch.tensor([0.3, 1.2], dtype=F64)
    rows = torch.linspace(0, 1, 9, dtype=F64)
    function = lambda c: torch.sin(c[0] * rows) * c[1] ** 2  # noqa: E731
    matrix, values = jacobian(function, at)
    torch.testing.assert_close(matrix, torch.func.jacrev(function)(at))
    torch.testing.assert_close(values, function(at))
    blocks = torch.arange(9)
    same = Equations(lambda c: (rows, (c[0] + c[1]) * rows), blocks)
    with pytest.raises(ArithmeticError, match="same effect"):
        fit_law(same, torch.ones(2, dtype=F64))
    without = Equations(lambda c: (rows, c[0] * rows + 0 * c[1]), blocks)
    with pytest.raises(ArithmeticError, match="do not depend on constant 1"):
        fit_law(without, torch.ones(2, dtype=F64))
