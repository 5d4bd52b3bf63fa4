"""The control: the same graph, widths and heads without the symmetry, by which the worth of the symmetry is shown.

Every feature is a scalar (l = 0). What has a direction enters and leaves as raw components in the axes that happen to be used:
edge vectors, vectors and tensors of a field, dipoles. Translations and permutations remain symmetries and forces remain the
gradient; rotations do not.

Legend: ``E`` edges, ``B`` radial bases.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_COMPONENTS = 6
"""Raw components of the largest quantity of a field, a symmetric tensor."""


def directed_basis(basis_EB: Tensor, direction_E3: Tensor) -> Tensor:
    """``[E, 4 B]``: every radial basis alone and times each raw component of the edge's direction."""
    raw = torch.cat([torch.ones_like(direction_E3[:, :1]), direction_E3], dim=1)
    return (raw.unsqueeze(2) * basis_EB.unsqueeze(1)).flatten(1)
