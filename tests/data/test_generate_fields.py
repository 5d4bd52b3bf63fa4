"""The generator of fields: a tiny piece of the corpus, its shapes and conventions, and what is held out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.data.generate import fields as generator
from atomfield.data.graph import Graph, collate
from atomfield.data.neighbors import with_edges
from atomfield.data.store import Store, write_store
from atomfield.physics_priors.spectral import PeriodicGrid


@pytest.fixture(scope="module")
def some() -> list[Graph]:
    """Six flows (the last on scattered points), six scalars (the same), five lines."""
    return list(generator.fields(scale=0.05))


def of_level(graphs: list[Graph], level: str) -> list[Graph]:
    return [g for g in graphs if g.level == level]


def test_every_law_is_there_and_each_trajectory_is_a_group(some):
    counts = {
        level: len(of_level(some, level))
        for level in ("navier-stokes-2d", "advection-diffusion-2d", "burgers-1d")
    }
    assert min(counts.values()) >= 5
    assert sum(counts.values()) == len(some)
    assert len({g.group for g in some}) == len(some)
    assert {g.dataset for g in some} == {"starter/fields"}
    assert sum(not g.edges for g in some) == 2


def test_plane_flows_stay_in_their_plane(some):
    for g in of_level(some, "navier-stokes-2d"):
        velocity, vorticity = g.quantities["velocity"], g.quantities["vorticity"]
        assert velocity.shape == vorticity.shape == (generator.NUM_FRAMES, g.num_nodes, 3)
        assert g.quantities["pressure"].shape == (generator.NUM_FRAMES, g.num_nodes)
        assert not velocity[..., 2].any()
        assert not vorticity[..., :2].any()
        assert float(velocity.square().sum(-1).mean(1).sqrt()[0]) == pytest.approx(1.0, abs=0.15)
        assert set(g.conditions) == {"viscosity"}


def test_stored_grids_hold_the_law_they_were_made_with(some):
    """Vorticity is the curl of the velocity and the velocity has no divergence, to the rounding of 12 bits."""
    grid = PeriodicGrid((generator.STORED_POINTS,) * 2, (1.0, 1.0))
    for g in of_level(some, "navier-stokes-2d"):
        if not g.edges:
            continue
        velocity = g.quantities["velocity"][-1].double().T[:2].reshape(2, *grid.shape)
        vorticity = g.quantities["vorticity"][-1, :, 2].double().reshape(grid.shape)
        scale = float(vorticity.abs().max())
        assert float((grid.curl_2d(velocity) - vorticity).abs().max()) < 3e-3 * scale
        assert float(grid.divergence(velocity).abs().max()) < 3e-3 * scale


def test_the_scalar_is_carried_by_a_steady_flow_and_keeps_its_total(some):
    for g in of_level(some, "advection-diffusion-2d"):
        assert g.quantities["velocity"].shape == (g.num_nodes, 3)
        c = g.quantities["concentration"]
        assert c.shape == (generator.NUM_FRAMES, g.num_nodes)
        assert set(g.conditions) == {"diffusivity"}
        if g.edges:
            total = c.double().mean(1)
            assert float((total - total[0]).abs().max()) < 1e-4


def test_lines_run_along_x_and_keep_their_mean(some):
    for g in of_level(some, "burgers-1d"):
        assert g.pbc.tolist() == [True, False, False]
        assert not g.positions[:, 1:].any()
        assert not g.quantities["velocity"][..., 1:].any()
        mean = g.quantities["velocity"][..., 0].double().mean(1)
        assert float((mean - mean[0]).abs().max()) < 1e-4


def test_steps_are_of_about_a_cell_and_states_change(some):
    """What moves in one step comes from the neighbours that a node sees, and persistence is no good prediction."""
    for g in some:
        velocity = g.quantities["velocity"].double()
        step = float(g.times[1] - g.times[0])
        courant = float(velocity.norm(dim=-1).max()) * step / g.spacing
        assert 0.2 < courant < 2.0
        state = g.quantities["concentration" if g.level.startswith("advection") else "velocity"].double()
        change = float((state[-1] - state[0]).square().mean().sqrt() / state[0].std())
        assert 0.1 < change < 2.0


def test_scattered_points_are_apart_and_get_neighbours(some):
    for g in some:
        if g.edges:
            continue
        ready = with_edges(g, cutoff=5.0)
        assert set(ready.edges) == {"knn"}
        sender, receiver = ready.edges["knn"].index
        vector = (
            ready.positions[sender]
            + ready.edges["knn"].shift.double() @ ready.cell
            - ready.positions[receiver]
        )
        assert float(vector.norm(dim=1).min()) > 0.2 / np.sqrt(g.num_nodes)
        batch = collate([ready.pair(0)])
        assert batch.num_edges == 8 * g.num_nodes


def test_the_task_is_of_viscosities_that_pretraining_never_sees(some):
    low, high = generator.VISCOSITY_GAP
    for g in of_level(some, "navier-stokes-2d"):
        nu = g.conditions["viscosity"]
        assert generator.VISCOSITY[0] <= nu <= generator.VISCOSITY[1]
        assert not low <= nu <= high
    task = list(generator.task_fields(scale=0.2))
    assert not {g.group for g in task} & {g.group for g in some}
    assert all(g.num_times >= 12 and g.dataset == "starter/task_fields" for g in task)
    unseen = [g.conditions["viscosity"] for g in task if "test" in g.group]
    assert unseen
    assert all(low <= nu <= high or nu > generator.VISCOSITY[1] for nu in unseen)


def test_the_same_seed_gives_the_same_corpus(some):
    again = next(iter(generator.fields(scale=0.01)))
    for name, value in some[0].quantities.items():
        assert torch.equal(value, again.quantities[name])


def test_values_keep_twelve_bits_and_survive_the_store(some, tmp_path):
    values = torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert float(((generator.rounded(values) - values) / values).abs().max()) < 2.0**-12
    write_store(some, tmp_path / "store", form="parquet")
    for before, after in zip(some, Store(tmp_path / "store"), strict=True):
        assert torch.equal(before.positions, after.positions)
        assert {k: v.dtype for k, v in before.quantities.items()} == {
            k: v.dtype for k, v in after.quantities.items()
        }
        for name, value in before.quantities.items():
            assert torch.equal(value, after.quantities[name])
        assert set(before.edges) == set(after.edges)
    size = sum(p.stat().st_size for p in (tmp_path / "store").glob("*.parquet"))
    numbers = sum(int((v != 0).sum()) for g in some for v in g.quantities.values())
    assert size < 2.4 * numbers  # bytes
