"""Forecasts obey what is imposed to rounding, turn with the field, and weights are still trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.generate.fields import flow
from atomfield.data.graph import collate
from atomfield.data.neighbors import with_edges
from atomfield.models import checkpoint
from atomfield.models.checkpoint import cast
from atomfield.models.constraints import constrained
from atomfield.models.field_operators import as_fields, parts_of
from atomfield.pretrain.equivariance import turned_batch
from tests.small import small_network, waves

LEVELS = ("morse", "navier-stokes-2d")
BOTH = ("divergence", "conserved_momentum")


def network(constraints=(), level="navier-stokes-2d"):
    net = cast(small_network(levels=("morse", level), constraints=constraints), torch.float64)
    torch.manual_seed(1)
    with torch.no_grad():
        net.field_head.weight.normal_(std=0.1)
    return net.eval()


@pytest.fixture(scope="module")
def pair():
    return flow(np.random.default_rng(0), 8e-3, "f", 2, dt=2e-3).pair(0)


def batch_of(*graphs):
    return collate([with_edges(g, 5.0) for g in graphs])


@torch.no_grad()
def test_forecasts_have_no_divergence_and_keep_their_momentum(pair):
    batch = batch_of(pair, pair)
    free, bound = network()(batch), network(BOTH)(batch)
    for part in parts_of(batch):
        size = float(part.operators.gradient(as_fields(free["velocity"][part.rows])).abs().max())
        assert (
            float(part.operators.divergence(as_fields(free["velocity"][part.rows])).abs().max()) > 1e-3 * size
        )
        left = part.operators.divergence(as_fields(bound["velocity"][part.rows])).abs().max()
        assert float(left) < 1e-10
        now = batch.quantities["velocity"][part.rows]
        assert float((bound["velocity"][part.rows] - now).mean(0).abs().max()) < 1e-14
        assert float((free["velocity"][part.rows] - now).mean(0).abs().max()) > 1e-6
    assert torch.equal(free["pressure"], bound["pressure"])


@torch.no_grad()
def test_the_constraint_turns_with_the_field(pair):
    net = network(BOTH)
    q = -torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[
        0
    ]
    batch = batch_of(pair)
    here, there = net(batch), net(turned_batch(batch, q))
    torch.testing.assert_close(there["velocity"], here["velocity"] @ q.T, rtol=0, atol=1e-10)


@torch.no_grad()
def test_amounts_are_kept_by_volume_and_only_where_nothing_can_leave():
    net = network(("conserved_concentration",), "wave")
    graph = waves(1)[0].pair(0)
    volume = torch.rand(graph.num_nodes, dtype=torch.float64) + 0.5
    scattered = replace(graph, grid_shape=None, volume=volume)
    for one, weight in ((graph, torch.ones_like(volume)), (scattered, volume)):
        change = net(batch_of(one))["concentration"] - one.quantities["concentration"]
        assert float((weight * change).sum().abs()) < 1e-12 * float((weight * change.abs()).sum())
    walls = replace(scattered, pbc=torch.zeros(3, dtype=torch.bool))
    change = net(batch_of(walls))["concentration"] - walls.quantities["concentration"]
    assert float((volume * change).sum().abs()) > 1e-6


def test_gradients_reach_the_weights_and_files_keep_the_constraint(pair, tmp_path):
    net = network(BOTH)
    (net(batch_of(pair))["velocity"] ** 2).sum().backward()
    assert float(net.field_head.weight.grad.abs().max()) > 0
    checkpoint.save(net, tmp_path)
    assert checkpoint.load(tmp_path).config.constraints == BOTH


def test_scattered_points_are_refused_with_a_way_out():
    graph = flow(np.random.default_rng(0), 8e-3, "f", 2, dt=2e-3, scattered=True).pair(0)
    with pytest.raises(InputError, match="regular grid .* use loss.physics"):
        network(("divergence",))(batch_of(graph))


def amounts(**fields):
    """A wave of concentrations from 0 to 2."""
    graph = waves(1)[0]
    values = graph.quantities["concentration"] + 1
    return replace(graph, quantities=graph.quantities | {"concentration": values}, **fields).pair(0)


@torch.no_grad()
def test_amounts_are_nowhere_negative_and_keep_their_sum():
    volume = torch.rand(64, dtype=torch.float64) + 0.5
    for graph in (amounts(), amounts(grid_shape=None, volume=volume)):
        batch = batch_of(graph)
        out = {"concentration": graph.quantities["concentration"] - 0.7}  # what a head might say
        plain = constrained(("nonnegative",), batch, out)["concentration"]
        assert (
            torch.equal(plain, out["concentration"].clamp_min(0)) and float(out["concentration"].min()) < -0.5
        )
        kept = constrained(("nonnegative", "conserved_concentration"), batch, out)["concentration"]
        weights, now = batch.volume, graph.quantities["concentration"]
        assert float(kept.min()) >= 0
        assert float(weights @ kept) == pytest.approx(float(weights @ now), rel=1e-12)
    net = network(("conserved_concentration", "nonnegative"), "wave")
    assert float(net(batch)["concentration"].min()) >= 0


def test_what_has_negative_values_is_no_amount():
    with pytest.raises(
        InputError, match=r"concentration is -.* expected 0 or more, as network.constraints nonnegative"
    ):
        network(("nonnegative",), "wave")(batch_of(waves(1)[0].pair(0)))


def test_a_steady_answer_has_no_state_to_keep():
    """A concentration that is found from a velocity: nothing is stepped, and what is left of the constraints holds."""
    graph = amounts()
    steady = replace(graph, quantities={"velocity": graph.quantities["velocity"]}, next_quantities={})
    out = {"concentration": torch.linspace(-1, 1, 64, dtype=torch.float64)}
    found = constrained(("conserved_concentration", "nonnegative"), batch_of(steady), out)
    assert torch.equal(found["concentration"], out["concentration"].clamp_min(0))
