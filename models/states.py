"""Reading field quantities from features, one set of weights per quantity; shared by the heads of fields.

Legend: ``N`` nodes, ``M`` = (lmax+1)^2 components, ``K`` = ``C`` natural + unnatural channels, ``P`` parts (irreps).
"""

from __future__ import annotations

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.quantities import VOCABULARY

from .config import NetworkConfig
from .layers import placements


def read_state(config: NetworkConfig, x_NMK: Tensor, weight_NPC: Tensor, name: str) -> Tensor:
    """Components ``[N, dim]`` of a field quantity from the features, linear: ``weight_NPC[:, part]`` for each of its irreps (for
    each raw component of the control)."""
    c, irreps = config.channels, VOCABULARY[name].irreps
    if config.symmetry == "none":
        rows = sum(stop - start for start, stop, _ in placements(irreps))
        return (weight_NPC[:, :rows] * x_NMK).sum(2)
    parts = []
    for part, (start, stop, natural) in enumerate(placements(irreps)):
        features = x_NMK[:, start:stop, :c] if natural else x_NMK[:, start:stop, c:]
        if features.shape[1] == 0 or features.shape[2] == 0:
            raise InputError(
                f"lmax {config.lmax} and {config.channels_unnatural} channels of unnatural parity cannot hold "
                f"{name!r} ({irreps}); use size s or larger"
            )
        weight = weight_NPC[:, part, : features.shape[2]]
        parts.append((features * weight.unsqueeze(1)).sum(2))
    return torch.cat(parts, dim=1)
