"""A small network with what acts beyond the cutoff switched on, every weight perturbed."""

from __future__ import annotations

from typing import Any

import torch

from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.network import AtomFieldNet

from .subjects import AUXILIARY, CUTOFF, LEVELS


def far_network(lmax: int = 1, **switches: Any) -> AtomFieldNet:
    """float64, 6 + 3 channels, two layers; ``switches`` are keys of ``NetworkConfig``."""
    config = NetworkConfig(
        channels=6, channels_unnatural=3, lmax=lmax, layers=2, correlation=2, num_radial=4, radial_hidden=8, head_hidden=8,
        cutoff=CUTOFF, average_neighbors=8.0, levels=LEVELS, default_level_atoms="quantum", default_level_field="fluid",
        properties=(PropertyConfig(name="gap"), PropertyConfig(name="volume_of_pores", pooling="sum")),
        auxiliary=AUXILIARY, **switches,
    )  # fmt: skip
    torch.manual_seed(0)
    net = AtomFieldNet(config).eval()
    for parameter in net.parameters():
        parameter.data = parameter.data.double() + 0.1 * torch.randn(parameter.shape, dtype=torch.float64)
    net.atom_head.reference.uniform_(0.5, 2.0)
    return net.requires_grad_(False)
