"""Coarse levels: nothing at first, then far beyond the edges in one step; the path up and down keeps means and slopes."""

from __future__ import annotations

from dataclasses import replace

import torch

from atomfield.data.coarse import with_coarse
from atomfield.models.coarse import CoarseLevels, Transfer, coarse_levels
from atomfield.models.long_range import Space
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.physics.far_subjects import far_network
from tests.small import small_network, waves


def _field(net: AtomFieldNet, num_points: int = 24):
    """A wave on num_points^2 points, and the same with another value at the first one."""
    graph = waves(1, num_points=num_points)[0].snapshot(0)
    values = graph.quantities["concentration"].clone()
    values[0] += 1.0
    other = replace(graph, quantities={**graph.quantities, "concentration": values})
    return [replace(g, level="fluid") for g in (graph, other)]


def test_it_starts_as_the_local_network():
    torch.manual_seed(0)
    config = small_network().config.model_copy(update={"long_range": "coarse"})
    module = CoarseLevels(config)
    batch = graphs_to_batch(config, [waves(1)[0].snapshot(0)])
    space = Space.of_field(batch, config.field_spacing / batch.spacing)
    x = torch.randn(batch.num_nodes, 4, config.width)
    out = module(x, batch, space, torch.randn(batch.num_nodes, config.channels))
    assert torch.equal(out, x)
    out.square().sum().backward()
    grad = module.levels[0].fall.linear.natural.grad
    assert grad is not None and grad.abs().max() > 0


def test_it_reaches_far_beyond_the_edges():
    """Two layers see two neighbours on a grid; with two levels of clusters all points of 24 x 24 feel the first."""
    for switch, everywhere in (("none", False), ("coarse", True)):
        net = far_network(long_range=switch)
        with torch.no_grad():
            a, b = (net(graphs_to_batch(net.config, [g]))["velocity"] for g in _field(net))
        moved = (a - b).abs().amax(1).reshape(24, 24) > 1e-14
        assert moved[0, 0]
        assert bool(moved[12, 12]) == everywhere
        assert bool(moved.float().mean() > 0.5) == everywhere


def test_levels_that_come_with_the_batch_are_those_found_later():
    net = far_network(long_range="coarse")
    batch = graphs_to_batch(net.config, _field(net, 8))
    ready = with_coarse(batch)
    assert coarse_levels(ready) is ready.coarse
    with torch.no_grad():
        assert torch.equal(net(batch)["velocity"], net(ready)["velocity"])


def test_a_linear_field_survives_the_way_down():
    """Scalars that grow linearly within a cluster: vectors of the cluster times offsets give back the slope."""
    config = small_network().config
    transfer = Transfer(config)
    torch.nn.init.zeros_(transfer.linear.natural)
    with torch.no_grad():
        transfer.weight.copy_(torch.eye(config.channels))
    slope = torch.randn(3, config.channels)
    x = torch.zeros(5, 4, config.width)
    x[:, 1:4, : config.channels] = slope
    offset = torch.randn(5, 3)
    torch.testing.assert_close(transfer.down(x, offset)[:, 0, : config.channels], offset @ slope)
    assert transfer.down(x, offset)[:, 1:].abs().max() == 0
    scalars = torch.zeros(5, 4, config.width)
    scalars[:, 0, : config.channels] = 2.0
    moment = transfer.up(scalars, offset)[:, 1:4, : config.channels]
    torch.testing.assert_close(moment, 2 * offset.unsqueeze(2).expand_as(moment))
