"""One shape, five uses: each shown on a law of a field, of a balance and of an energy, with exact results."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.balances import Bodies, balance, with_total
from atomfield.physics_priors.energy_laws import energy_law
from atomfield.physics_priors.field_laws import field_law
from atomfield.physics_priors.gauss_newton import minimise
from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.periodic_cell import PeriodicCell
from atomfield.physics_priors.spectral import PeriodicGrid

from .structures import molecule, pairs_of

F64 = torch.float64


def flow(num: int = 24, seed: int = 0) -> tuple[PeriodicCell, dict[str, torch.Tensor], float]:
    """A random solution of Navier-Stokes as two states, half a step before and after, on a plane in space."""
    solver, viscosity, dt = NavierStokes2D(num, 1.0, 5e-3), 5e-3, 2e-4
    noise = torch.randn(num, num, dtype=F64, generator=torch.Generator().manual_seed(seed))
    index = solver.grid.k_squared.sqrt() / (2 * math.pi)
    vorticity = solver.grid.inverse(torch.where((index > 0) & (index < 4), solver.grid.forward(noise), 0.0))
    found = solver.solve(vorticity / vorticity.std(), torch.tensor([0.0, dt / 2, dt]).double())
    flat = found.velocity.flatten(2)
    space = torch.cat([flat, torch.zeros(3, 1, num * num, dtype=F64)], dim=1)
    values = {"velocity": space[1], "pressure": found.pressure[1].flatten()}
    values["rate"] = (space[2] - space[0]) / dt
    cell = PeriodicCell((num, num), torch.eye(3, dtype=F64)[:2])
    return cell, values, viscosity


def test_a_solution_obeys_and_a_wrong_constant_does_not():
    cell, values, viscosity = flow()
    law = field_law("navier_stokes")
    rate = {"velocity": values["rate"]}
    right = law.relative(cell, values, rate, {"viscosity": torch.tensor(viscosity)})
    wrong = law.relative(cell, values, rate, {"viscosity": torch.tensor(2 * viscosity)})
    assert float(right) < 1e-5
    assert float(wrong) > 0.05
    assert float(field_law("divergence").relative(cell, values, {}, {})) < 1e-12
    assert float(field_law("conserved_momentum").relative(cell, values, rate, {})) < 1e-10


def test_the_term_of_a_law_is_the_rate_that_it_explains():
    cell, values, viscosity = flow()
    zero = {"velocity": torch.zeros_like(values["velocity"])}
    constants = {"viscosity": torch.tensor(viscosity)}
    term = field_law("navier_stokes").term(cell, values, constants, zero)
    torch.testing.assert_close(term, values["rate"], rtol=0, atol=1e-5 * float(values["rate"].abs().max()))
    with pytest.raises(ValueError, match="predicts nothing"):
        field_law("divergence").term(cell, values, {}, zero)


def test_what_is_imposed_holds_to_rounding():
    cell, values, _ = flow()
    noisy = {"velocity": values["velocity"] + 0.1 * torch.randn(3, 576, dtype=F64)}
    law = field_law("divergence")
    assert float(law.relative(cell, noisy, {}, {})) > 0.1
    assert law.impose is not None
    free = law.impose(cell, noisy)
    assert float(law.relative(cell, free, {}, {})) < 1e-13
    again = law.impose(cell, free)["velocity"]
    torch.testing.assert_close(again, free["velocity"], rtol=0, atol=1e-13)
    momentum = field_law("conserved_momentum")
    assert momentum.impose is not None
    kept = momentum.impose(cell, noisy)
    assert float(cell.mean(kept["velocity"]).abs().max()) < 1e-15


def test_constants_are_identified_by_the_gradient_of_the_residual():
    cell, values, viscosity = flow()
    law = field_law("navier_stokes")
    nu = torch.tensor(1e-3, dtype=F64, requires_grad=True)
    rest = law.residual(cell, values, {"velocity": values["rate"]}, {"viscosity": nu})
    (slope,) = torch.autograd.grad(rest.square().sum(), nu, create_graph=True)
    (bend,) = torch.autograd.grad(slope, nu)
    assert float(nu.detach() - slope.detach() / bend) == pytest.approx(viscosity, rel=1e-3)
    pairs, potential = pairs_of([molecule()]), energy_law("morse")
    truth = {k: torch.tensor(v).double() for k, v in (("depth", 1.1), ("steepness", 1.6), ("length", 1.3))}
    stretches = [pairs, *(_stretched(pairs, s) for s in (0.9, 0.95, 1.05, 1.1, 1.2))]
    zero = {"energy": torch.zeros(1, dtype=F64)}
    labels = torch.stack([potential.term(p, {}, truth, zero) for p in stretches])[:, 0]

    def left(theta: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        constants = dict(zip(potential.constants, theta.unbind(), strict=True))
        rests = [
            potential.residual(p, {}, {"energy": labels[k : k + 1]}, constants)[0]
            for k, p in enumerate(stretches)
        ]
        return torch.stack(rests) @ row

    found = minimise(
        [(left, torch.eye(len(stretches), dtype=F64))], torch.tensor([0.8, 1.3, 1.45]), max_steps=60
    )
    assert found.values.tolist() == pytest.approx([1.1, 1.6, 1.3], rel=1e-6)


def _stretched(pairs, factor):
    from dataclasses import replace

    return replace(pairs, positions=factor * pairs.positions)


def test_the_penalty_is_the_square_of_the_relative_residual():
    cell, values, _ = flow()
    law, noisy = field_law("divergence"), {"velocity": values["velocity"] + 0.1}
    noisy["velocity"] = noisy["velocity"] * torch.linspace(1, 2, 576, dtype=F64)
    size = law.size(cell, noisy, {})
    penalty = law.penalty(cell, noisy, {}, {}, size)
    assert float(penalty) == pytest.approx(float(law.relative(cell, noisy, {}, {})) ** 2, rel=1e-12)


def test_balances():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, dtype=F64, generator=generator)  # noqa: E731
    bodies = Bodies(draw(7, 3), torch.tensor([0, 0, 0, 1, 1, 1, 1]), 2, torch.tensor([True, False]))
    total = torch.tensor([1.0, -2.0], dtype=F64)
    charge = {"charge": total}
    charges = draw(7)
    assert float(balance("net_charge").relative(bodies, {"charges": charges}, {}, charge)) > 0.1
    moved = with_total(bodies, charges, total)
    assert float(balance("net_charge").relative(bodies, {"charges": moved}, {}, charge)) < 1e-15
    unknown = {"charge": torch.full((2,), math.nan, dtype=F64)}
    assert float(balance("net_charge").relative(bodies, {"charges": charges}, {}, unknown)) == 0.0
    forces = {"forces": draw(7, 3)}
    law = balance("net_force")
    assert law.impose is not None and float(law.relative(bodies, forces, {}, {})) > 0.1
    assert float(law.relative(bodies, law.impose(bodies, forces), {}, {})) < 1e-15
    central = {"forces": bodies.arms() * draw(2)[bodies.graph_index][:, None]}
    assert float(balance("net_torque").relative(bodies, central, {}, {})) < 1e-15
    turning = balance("net_torque").residual(bodies, forces, {}, {})
    assert float(turning[0].norm()) > 0.1 and float(turning[1].norm()) == 0.0


def test_a_turned_and_mirrored_box_has_turned_derivatives():
    """Against ``PeriodicGrid`` in the plane, then the same field on a box turned and mirrored in space."""
    lengths = (1.0, 1.5)
    grid = PeriodicGrid((12, 9), lengths)
    x, y = torch.arange(12).double() / 12, torch.arange(9).double() / 6
    field = torch.sin(2 * math.pi * x)[:, None] * torch.cos(4 * math.pi * y / 1.5) + 0.3 * torch.randn(
        12, 9, dtype=F64, generator=torch.Generator().manual_seed(1)
    )
    flat = torch.tensor([[1.0, 0, 0], [0, 1.5, 0]], dtype=F64)
    plane = PeriodicCell((12, 9), flat)
    gradient = plane.gradient(field.flatten())
    torch.testing.assert_close(gradient[:2], grid.gradient(field).flatten(1), rtol=0, atol=1e-11)
    assert float(gradient[2].abs().max()) == 0.0
    torch.testing.assert_close(
        plane.laplacian(field.flatten()), grid.laplacian(field).flatten(), rtol=0, atol=1e-9
    )
    q = torch.linalg.qr(torch.randn(3, 3, dtype=F64, generator=torch.Generator().manual_seed(2)))[0]
    for turn in (q, -q):
        space = PeriodicCell((12, 9), flat @ turn.T)
        torch.testing.assert_close(space.gradient(field.flatten()), turn @ gradient, rtol=0, atol=1e-11)
        vector = torch.randn(3, 108, dtype=F64, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(
            space.divergence(turn @ vector), plane.divergence(vector), rtol=0, atol=1e-10
        )
        torch.testing.assert_close(
            space.project(turn @ vector), turn @ plane.project(vector), rtol=0, atol=1e-12
        )
    assert float(plane.divergence(plane.project(vector)).abs().max()) < 1e-11
