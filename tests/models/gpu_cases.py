"""Networks and batches for the tests of the passes on GPUs."""

from dataclasses import replace

import numpy as np
import torch

from atomfield.data.graph import Graph
from atomfield.data.graph_batch import GraphBatch
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch

SMALL = {"levels": ("a", "b"), "default_level_atoms": "a", "average_neighbors": 5.0}


def config_of(**changes) -> NetworkConfig:
    return NetworkConfig(**{**SMALL, "channels": 6, "channels_unnatural": 2, "lmax": 1, **changes})


def a_batch(
    config: NetworkConfig, sizes: tuple[int, ...], seed: int = 0, levels: tuple[str, ...] = ()
) -> GraphBatch:
    random = np.random.default_rng(seed)
    graphs = [
        Graph(
            torch.tensor(random.uniform(0, 3, (n, 3))), torch.tensor([6, 1, 8, 7][:n]), "crystal",
            cell=4 * torch.eye(3, dtype=torch.float64), pbc=torch.ones(3).bool(),
        )
        for n in sizes
    ]  # fmt: skip
    batch = graphs_to_batch(config, graphs)
    return replace(batch, levels=list(levels)) if levels else batch


def a_network(**changes) -> AtomFieldNet:
    net = AtomFieldNet(config_of(**changes)).double()
    with torch.no_grad():
        for parameter in net.parameters():
            if not bool(parameter.any()):
                parameter.normal_(std=0.1)
    return net


def plain(net: AtomFieldNet) -> AtomFieldNet:
    """On torch's operations alone."""
    for part in net.modules():
        if hasattr(part, "fused"):
            part.fused = False
    return net


def trained(net: AtomFieldNet, run, batch: GraphBatch):
    """Energies, forces and stress, and the gradient of a loss of them."""
    net.zero_grad()
    out = run(batch)
    loss = sum(out[name].square().sum() for name in ("energy", "forces", "stress"))
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]
    return [*(out[n].detach() for n in ("energy", "forces", "stress")), *gradients]


def assert_alike(found, expected):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11)
