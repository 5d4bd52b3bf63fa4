"""Activation checkpointing changes neither energies nor forces nor gradients of a loss on forces."""

from __future__ import annotations

import pytest
import torch

from atomfield.models.backbone import Layer
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.small import morse_clusters, small_network, waves


def _gradients(net: AtomFieldNet, world: str, recompute: bool) -> list[torch.Tensor]:
    net.backbone.recompute = recompute
    net.zero_grad()
    if world == "atoms":
        out = net(graphs_to_batch(net.config, morse_clusters(2)))
        loss = out["forces"].square().mean() + out["energy"].mean()
    else:
        out = net(graphs_to_batch(net.config, [g.snapshot(0) for g in waves(1)]))
        loss = sum(value.square().mean() for value in out.values())
    loss.backward()
    return [loss.detach(), *(p.grad for p in net.parameters() if p.grad is not None)]


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("world", ["atoms", "fields"])
def test_nothing_changes(world: str, fused: bool) -> None:
    torch.manual_seed(0)
    net = small_network(levels=("morse", "wave")).double()
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for module in net.modules():
        if isinstance(module, Layer):
            module.fused = fused
    plain, again = _gradients(net, world, False), _gradients(net, world, True)
    assert len(plain) == len(again) > 20
    for expected, found in zip(plain, again, strict=True):
        assert torch.allclose(expected, found, rtol=1e-12, atol=1e-14)
