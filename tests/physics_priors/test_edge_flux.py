"""Antisymmetric fluxes: mass and momentum over a thousand steps, and the limiter that keeps amounts from going negative."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atomfield.physics_priors.edge_flux import EdgePairs, FluxHead

from .clouds import periodic_cloud


class Message(nn.Module):
    """A network without any symmetry."""

    def __init__(self, channels: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 * channels + 2, 16), nn.Tanh(), nn.Linear(16, channels)).double()

    def forward(self, own, other, vectors):
        return self.net(torch.cat([own, other, vectors], dim=1))


@pytest.fixture
def cloud():
    _points, senders, receivers, vectors, shifts = periodic_cloud(6, 0.2, 1.9)
    torch.manual_seed(0)
    volumes = 0.5 + torch.rand(36, dtype=torch.float64)
    return senders, receivers, vectors, EdgePairs(senders, receivers, 36, shifts), volumes


def test_mass_and_momentum_are_kept_over_a_thousand_steps(cloud):
    """Channel 0 is a density, the others a momentum; the network is random and the state moves a long way."""
    senders, receivers, vectors, pairs, volumes = cloud
    head = FluxHead(Message(3))
    state = torch.randn(36, 3, dtype=torch.float64)
    start, before = state, (volumes[:, None] * state).sum(0)
    with torch.no_grad():
        for _ in range(1000):
            state = state + 0.02 * head(state, vectors, pairs, (senders, receivers), volumes)
    assert float((state - start).abs().max()) > 1
    drift = (volumes[:, None] * state).sum(0) - before
    assert float(drift.abs().max()) < 1e-13 * float((volumes[:, None] * state).abs().sum())


def test_the_raw_network_is_not_conservative(cloud):
    """What the construction is for: the same messages added at receivers alone do not balance."""
    senders, receivers, vectors, pairs, _ = cloud
    message, state = Message(3), torch.randn(36, 3, dtype=torch.float64)
    raw = message(state[receivers], state[senders], vectors).detach()
    assert float(raw.sum(0).abs().max()) > 1
    assert float(pairs.accumulate(pairs.antisymmetric(raw)).sum(0).abs().max()) < 1e-13


def test_limited_outflow_never_takes_more_than_there_is(cloud):
    _, _, _, pairs, _ = cloud
    generator = torch.Generator().manual_seed(1)
    amount = torch.rand(36, 1, dtype=torch.float64, generator=generator)
    amount[3] = 0.0
    total = float(amount.sum())
    emptied = False
    for _ in range(1000):
        fluxes = torch.randn(len(pairs.forward), 1, dtype=torch.float64, generator=generator)
        emptied |= bool((amount + 0.05 * pairs.accumulate(fluxes) < 0).any())
        amount = amount + 0.05 * pairs.accumulate(pairs.limit_outflow(fluxes, amount, 0.05))
        assert float(amount.min()) > -1e-15  # emptied, to rounding
    assert emptied  # without the limiter it would have gone negative
    assert abs(float(amount.sum()) - total) < 1e-13 * total * 36


def test_small_fluxes_are_not_limited(cloud):
    _, _, _, pairs, _ = cloud
    fluxes = torch.randn(len(pairs.forward), 2, dtype=torch.float64)
    amount = torch.full((36, 2), 100.0, dtype=torch.float64)
    assert torch.equal(pairs.limit_outflow(fluxes, amount, 0.01), fluxes)


def test_two_images_of_one_neighbour_are_two_pairs():
    senders, receivers = torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0, 1, 0])
    shifts = torch.tensor([[0], [0], [1], [-1]])
    pairs = EdgePairs(senders, receivers, 2, shifts)
    assert sorted(zip(pairs.forward.tolist(), pairs.backward.tolist(), strict=True)) == [(0, 1), (2, 3)]


def test_edges_without_an_opposite_and_repeated_edges_are_refused():
    with pytest.raises(ValueError, match=r"edge 2 \(2 -> 0\) has no opposite"):
        EdgePairs(torch.tensor([0, 1, 2]), torch.tensor([1, 0, 0]), 3)
    with pytest.raises(ValueError, match="stands twice"):
        EdgePairs(torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0, 1, 0]), 2)
