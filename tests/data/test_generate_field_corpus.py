"""The fields of the pretraining corpus in miniature: every level, what is held out, what the laws keep."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.generate import field_corpus as corpus
from atomfield.data.generate.corpus import Order, checked, config_path, read_yaml
from atomfield.data.generate.fields import VISCOSITY_GAP, fields, pretraining_viscosity, task_fields
from atomfield.data.graph import Graph
from atomfield.data.quantities import CONDITIONS, FIELD_STATES
from atomfield.physics_priors.spectral import PeriodicGrid


@pytest.fixture(scope="module")
def some() -> dict[str, list[Graph]]:
    """Six trajectories of each level, the last on scattered points; two of each kind of reaction."""
    made = {}
    for level in corpus.LEVELS:
        count = 2 if level in ("gray-scott-2d", "fitzhugh-nagumo-2d") else 6
        made[level] = corpus.trajectories(corpus.Chunk(9001, level, 0, count)).graphs
    return made


def test_every_level_is_there_with_its_conditions(some):
    expected = {
        "navier-stokes-2d": {"viscosity"},
        "advection-diffusion-2d": {"diffusivity"},
        "burgers-1d": {"viscosity"},
        "burgers-2d": {"viscosity"},
        "shallow-water-2d": {"viscosity", "wave_speed"},
        "gray-scott-2d": {"diffusivity", "reaction_rate", "feed", "kill"},
        "fitzhugh-nagumo-2d": {"diffusivity", "reaction_rate"},
        "acoustics-2d": {"wave_speed"},
        "acoustics-1d": {"wave_speed"},
    }
    assert set(expected) == set(corpus.LEVELS)
    for level, graphs in some.items():
        assert graphs or level == "gray-scott-2d"
        for g in graphs:
            assert (g.level, g.dataset, g.num_times) == (level, corpus.DATASET, 8)
            assert set(g.conditions) == expected[level] <= set(CONDITIONS)
            assert set(g.quantities) <= set(FIELD_STATES)
            assert all(bool(torch.isfinite(v).all()) for v in g.quantities.values())
            assert len(g.positions) <= 32 * 32


def test_every_sixth_plane_is_scattered(some):
    for level, graphs in some.items():
        if level.endswith("2d") and len(graphs) == 6:
            assert [bool(g.edges) for g in graphs] == [True] * 5 + [False]


def test_at_least_two_thousand_trajectories_in_chunks_of_their_own_seed():
    path = config_path("corpus/fields")
    content = read_yaml(path)
    assert content.pop("make") == "fields"
    config = checked(corpus.FieldsConfig, content, path)
    chunks = corpus.chunks_of(config)
    assert sum(c.count for c in chunks) == sum(config.trajectories.values()) > 2000
    assert set(config.trajectories) == set(corpus.LEVELS)
    assert len(set(chunks)) == len(chunks)
    once, again = (corpus.trajectories(corpus.Chunk(1, "acoustics-1d", 25, 2)).graphs for _ in range(2))
    assert all(
        torch.equal(a.quantities["pressure"], b.quantities["pressure"])
        for a, b in zip(once, again, strict=True)
    )


def test_viscosities_of_the_task_stay_unseen(some):
    low, high = VISCOSITY_GAP
    rng = np.random.default_rng(3)
    found = [pretraining_viscosity(rng) for _ in range(300)]
    assert not any(low <= v <= high for v in found)
    assert all(not low <= g.conditions["viscosity"] <= high for g in some["navier-stokes-2d"])
    starts = [g.quantities["velocity"][0].flatten()[:6] for g in some["navier-stokes-2d"]]
    for other in (next(iter(fields(0.01))), next(iter(task_fields(0.05)))):
        assert not any(torch.equal(other.quantities["velocity"][0].flatten()[:6], s) for s in starts)


def test_drifting_flows_obey_the_equation_in_the_frame_of_the_box(some):
    """d omega/dt + u . grad omega = nu laplacian omega, by central differences in time, to the error of those."""
    grids = [g for g in some["navier-stokes-2d"] if g.grid_shape]
    checked = 0
    for g in grids:
        n = g.grid_shape[0]
        velocity, omega = g.quantities["velocity"].double(), g.quantities["vorticity"][..., 2].double()
        drift = velocity[0, :, :2].mean(0)
        if float(drift.norm()) < 0.1 or n < 24:
            continue
        grid = PeriodicGrid((n, n), (1.0, 1.0))
        dt = float(g.times[1] - g.times[0])
        w = omega.reshape(8, n, n)
        u = velocity[..., :2].movedim(-1, 1).reshape(8, 2, n, n)
        rate = (w[4] - w[2]) / (2 * dt)
        carried = (u[3] * grid.gradient(w[3])).sum(0) - g.conditions["viscosity"] * grid.laplacian(w[3])
        still = (u[3] - drift[:, None, None]) * grid.gradient(w[3])
        wrong = still.sum(0) - g.conditions["viscosity"] * grid.laplacian(w[3])
        size = float(rate.square().mean().sqrt())
        assert float((rate + carried).square().mean().sqrt()) < 0.25 * size
        assert float((rate + wrong).square().mean().sqrt()) > 0.5 * size
        checked += 1
    assert checked


def test_shallow_water_keeps_its_water_and_sound_its_energy(some):
    for g in some["shallow-water-2d"]:
        if g.edges:
            assert float((g.quantities["depth"].double().mean(1) - 1).abs().max()) < 1e-4
    for g in some["acoustics-2d"]:
        if g.edges and g.num_nodes >= 400:
            p, v = g.quantities["pressure"].double(), g.quantities["velocity"].double()
            energy = p.square().mean(1) / g.conditions["wave_speed"] ** 2 + v.square().sum(-1).mean(1)
            assert float((energy / energy[0] - 1).abs().max()) < 1e-3


def test_reactions_have_patterns(some):
    for g in some["gray-scott-2d"] + some["fitzhugh-nagumo-2d"]:
        assert math.isfinite(float(g.times[-1]))
        assert float(g.quantities["second_concentration"][-1].std()) >= corpus.FLAT


def test_fields_cannot_be_left_out(tmp_path):
    config = corpus.FieldsConfig(seed=1, trajectories={"acoustics-1d": 2})
    with pytest.raises(InputError, match="no identity"):
        corpus.build_fields(config, Order(tmp_path / "store", without=("other",)))
    report = corpus.build_fields(config, Order(tmp_path / "store", jobs=0, progress=False))
    assert report["levels"] == {"acoustics-1d": 2}
