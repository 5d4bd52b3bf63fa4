"""What is checked of a forecast, on fields whose totals, divergence and law are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.inference.animation import animate, checks_figure
from atomfield.inference.forecast import divergence, forecast, law_residual, resampled, totals
from atomfield.models.network import AtomFieldNet
from atomfield.physics_priors.advection_diffusion import AdvectionDiffusion
from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.spectral import PeriodicGrid
from tests.physics.subjects import cavity, flow, water

NUM = 24


def grid_record(
    quantities: dict[str, torch.Tensor], conditions: dict[str, float], times: torch.Tensor | None
) -> Graph:
    index = torch.stack(torch.meshgrid(*[torch.arange(NUM)] * 2, indexing="ij"), -1).reshape(-1, 2).double()
    return Graph(
        torch.cat([index / NUM, torch.zeros(NUM**2, 1)], dim=1), torch.zeros(NUM**2), "field", cell=torch.eye(3),
        pbc=torch.tensor([True, True, False]), edges={"grid": grid_edges((NUM, NUM), (True, True))}, grid_shape=(NUM, NUM),
        quantities=quantities, conditions=conditions, times=times, spacing=1 / NUM, level="fluid",
    )  # fmt: skip


def vectors(values: torch.Tensor) -> torch.Tensor:
    """``[T, 2, n, n]`` -> ``[T, N, 3]``."""
    flat = values.flatten(2).transpose(1, 2)
    return torch.cat([flat, torch.zeros_like(flat[..., :1])], dim=2)


@pytest.fixture(scope="module")
def vortices() -> Graph:
    """A solution of Navier-Stokes on 24 x 24 points."""
    x = torch.arange(NUM).double() / NUM * 2 * np.pi
    omega = (
        torch.sin(x)[:, None] * torch.cos(2 * x)[None]
        + 0.5 * torch.cos(x + 0.3)[None]
        + torch.zeros(NUM, NUM)
    )
    times = torch.arange(9).double() * 0.01
    solved = NavierStokes2D(NUM, 1.0, 2e-3).solve(5 * omega, times)
    quantities = {"velocity": vectors(solved.velocity), "pressure": solved.pressure.flatten(1)}
    return grid_record(quantities, {"viscosity": 2e-3}, times)


def test_a_solution_satisfies_its_law_and_noise_does_not(vortices: Graph) -> None:
    start, times = vortices.snapshot(0), vortices.times.numpy()
    law, residual = law_residual(start, vortices.quantities, times)
    assert law == "navier_stokes"
    assert residual is not None
    assert residual.max() < 1e-3
    assert divergence(start, vortices.quantities)["divergence_velocity"].max() < 1e-10
    found = totals(start, vortices.quantities)
    np.testing.assert_allclose(found["total_velocity_x"], found["total_velocity_x"][0], atol=1e-12)
    assert np.all(np.diff(found["kinetic_energy"]) < 0)  # viscosity takes it
    noisy = {n: v + 0.1 * torch.randn_like(v) for n, v in vortices.quantities.items()}
    noisy["velocity"][..., 2] = 0
    assert law_residual(start, noisy, times)[1].min() > 0.1
    assert divergence(start, noisy)["divergence_velocity"].min() > 0.01


def test_advection_and_diffusion() -> None:
    grid = PeriodicGrid((NUM, NUM), (1.0, 1.0))
    x = torch.arange(NUM).double() / NUM * 2 * np.pi
    c = torch.sin(x)[:, None] + torch.cos(2 * x)[None]
    u = torch.stack([torch.full((NUM, NUM), 0.7), torch.full((NUM, NUM), -0.2)]).double()
    times = torch.arange(7).double() * 0.01
    solved = AdvectionDiffusion(grid, u, 3e-3).solve(c, times)
    states = {"concentration": solved.flatten(1)}
    record = grid_record({**states, "velocity": vectors(u[None])[0]}, {"diffusivity": 3e-3}, times)
    law, residual = law_residual(record.snapshot(0), states, times.numpy())
    assert law == "advection_diffusion"
    assert residual.max() < 1e-3
    total = totals(record.snapshot(0), {"concentration": states["concentration"] + 1.0})[
        "total_concentration"
    ]
    np.testing.assert_allclose(total, 1.0, atol=1e-10)  # of the unit square
    wrong = replace(record, conditions={"diffusivity": 0.3}).snapshot(0)
    assert law_residual(wrong, states, times.numpy())[1].min() > 0.3


def test_another_resolution_is_the_same_field(vortices: Graph) -> None:
    fine = resampled(vortices, (36, 30))
    assert fine.grid_shape == (36, 30)
    assert fine.quantities["velocity"].shape == (9, 36 * 30, 3)
    back = resampled(fine, (NUM, NUM))
    for name, values in vortices.quantities.items():
        torch.testing.assert_close(back.quantities[name], values, atol=1e-9, rtol=0)
    torch.testing.assert_close(back.positions, vortices.positions)
    coarse = totals(vortices.snapshot(0), {"pressure": vortices.quantities["pressure"] + 2.0})
    finer = totals(fine.snapshot(0), {"pressure": fine.quantities["pressure"] + 2.0})
    np.testing.assert_allclose(finer["total_pressure"], coarse["total_pressure"], rtol=1e-10)
    with pytest.raises(InputError, match="expected 2 numbers"):
        resampled(vortices, (8,))
    with pytest.raises(InputError, match="only a periodic grid"):
        resampled(cavity(), (8, 8))


def test_a_forecast_with_its_files(net: AtomFieldNet, vortices: Graph, tmp_path: Path) -> None:
    found = forecast(net, vortices)
    assert found.states["velocity"].shape == (9, NUM**2, 3)
    assert found.residual.shape == (5,)
    numbers = found.metrics()
    assert {"total_velocity_x_end", "divergence_velocity_largest", "residual_navier_stokes_median"} <= set(
        numbers
    )
    assert numbers["velocity_relative_error_end"] > 0
    np.testing.assert_array_equal(found.truth["velocity"], vortices.quantities["velocity"].numpy())
    assert checks_figure(found).axes
    from PIL import Image

    short = forecast(net, vortices, steps=2)
    with Image.open(animate(short, tmp_path / "a.gif", "pressure")) as picture:
        assert picture.n_frames == 3
    beyond = forecast(net, vortices, steps=12)
    assert not beyond.truth
    np.testing.assert_allclose(np.diff(beyond.times), 0.01)
    pytest.importorskip("meshio")
    from atomfield.inference.write_vtk import write_vtk

    write_vtk(found, tmp_path / "states.pvd")
    import meshio

    mesh = meshio.read(tmp_path / "states_0008.vtu")
    np.testing.assert_allclose(mesh.point_data["pressure"], found.states["pressure"][8].squeeze())
    assert len(mesh.cells[0].data) == (NUM - 1) ** 2


def test_points_without_a_grid(net: AtomFieldNet, tmp_path: Path) -> None:
    found = forecast(net, flow(), steps=3)
    assert "kinetic_energy" in found.checks
    assert found.residual is None
    animate(found, tmp_path / "b.gif")
    with pytest.raises(InputError, match="needs a field"):
        forecast(net, water(), steps=1)


def test_what_does_not_evolve_is_resampled_too(vortices: Graph) -> None:
    """Quantities of a trajectory without times in front, and the next state of a snapshot."""
    still = {"normal": vortices.quantities["velocity"][0], "temperature": vortices.quantities["pressure"][0]}
    fine = resampled(replace(vortices, quantities={**vortices.quantities, **still}), (30, 36))
    for name, evolving in (("normal", "velocity"), ("temperature", "pressure")):
        torch.testing.assert_close(fine.quantities[name], fine.quantities[evolving][0])
    pair = resampled(vortices.pair(0), (30, 36))
    torch.testing.assert_close(pair.next_quantities["velocity"], fine.quantities["velocity"][1])


def test_the_same_resolution_is_the_same_record() -> None:
    """Rough values and steps that differ between the axes: the spacing that the network reads is kept."""
    graph = replace(flow(), spacing=0.2)
    again = resampled(graph, (4, 5))
    assert again.spacing == pytest.approx(0.2)
    for name, values in graph.quantities.items():
        torch.testing.assert_close(again.quantities[name], values, atol=1e-12, rtol=0)
    assert resampled(graph, (8, 10)).spacing == pytest.approx(0.1)


def test_totals_of_a_grid_whose_axes_have_different_steps() -> None:
    """Of one: the area of the unit square."""
    found = totals(flow(), {"pressure": torch.ones(1, 20, dtype=torch.float64)})
    assert found["total_pressure"] == pytest.approx([1.0])


def test_a_record_of_one_time(net: AtomFieldNet, vortices: Graph) -> None:
    one = replace(vortices.window(3, 4), conditions={"viscosity": 2e-3, "dt": 0.05})
    found = forecast(net, one, steps=2)
    np.testing.assert_allclose(found.times, [0.03, 0.08, 0.13])
    assert not found.truth
    later = forecast(net, vortices.window(3, 9), dt=0.01)
    np.testing.assert_allclose(later.times, vortices.times[3:])
    assert set(later.truth) == {"velocity", "pressure"}


def test_the_truth_is_at_the_times_of_the_forecast(net: AtomFieldNet, vortices: Graph) -> None:
    """However short the steps are: a forecast with twice the step is not compared with the record's own."""
    assert vortices.times is not None
    brief = replace(vortices, times=1e-10 * vortices.times)
    assert forecast(net, brief).truth
    assert not forecast(net, brief, steps=3, dt=2e-12).truth
