"""Rotation of features into a frame whose polar axis (y in e3nn's convention) lies along each edge.

Legend: ``E`` edges, ``l`` degree. The 3x3 rotation is the smallest one that takes the direction to +y (Rodrigues'
formula, rational in the direction, no angles), applied after a fixed half turn about x where y < 0, so that it is smooth and
twice differentiable everywhere that is used; a later gauge (roll) cancels between the rotation and its inverse. Wigner
matrices of higher degree are polynomials of the 3x3 one: ``D_l = Q_l^T (D_1 x D_(l-1)) Q_l`` with Q_l the Clebsch-Gordan
isometry of 1 x (l-1) -> l.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .clebsch import clebsch_gordan


def edge_frames(direction_E3: Tensor) -> Tensor:
    """Rotations ``[E, 3, 3]`` with ``R @ direction = (0, 1, 0)``; ``direction_E3`` are unit vectors."""
    flip = torch.where(direction_E3[:, 1:2].detach() < 0, -1.0, 1.0).to(direction_E3)
    signs = torch.cat([torch.ones_like(flip), flip, flip], dim=1)
    d = direction_E3 * signs
    x, y, z = d.unbind(1)
    k = 1 / (1 + y)
    row0 = torch.stack([1 - k * x * x, -x, -k * x * z], dim=1)
    row1 = d
    row2 = torch.stack([-k * x * z, -z, 1 - k * z * z], dim=1)
    return torch.stack([row0, row1, row2], dim=1) * signs.unsqueeze(1)


class FrameRotation(nn.Module):
    """Rotations of whole feature vectors ``[E, M, M]``, M = (lmax+1)^2, with rows sorted by |m|."""

    order: Tensor

    def __init__(self, lmax: int):
        super().__init__()
        self.lmax = lmax
        for l in range(2, lmax + 1):
            isometry = clebsch_gordan(1, l - 1, l) * (2 * l + 1) ** 0.5
            self.register_buffer(f"isometry_{l}", isometry.reshape(3 * (2 * l - 1), 2 * l + 1))
        order = [l * l + l for l in range(lmax + 1)]
        for m in range(1, lmax + 1):
            order += [l * l + l + sign * m for l in range(m, lmax + 1) for sign in (-1, 1)]
        self.register_buffer("order", torch.tensor(order))

    def wigner(self, rotation_E33: Tensor) -> list[Tensor]:
        """``[D_1, ..., D_lmax]`` with shapes ``[E, 2l+1, 2l+1]``; empty for lmax 0."""
        if self.lmax == 0:
            return []
        matrices = [rotation_E33]
        for l in range(2, self.lmax + 1):
            isometry = getattr(self, f"isometry_{l}").to(rotation_E33.dtype)
            a, b = rotation_E33, matrices[-1]
            size = b.shape[1]
            kron = (a[:, :, None, :, None] * b[:, None, :, None, :]).reshape(-1, 3 * size, 3 * size)
            matrices.append(isometry.T @ (kron @ isometry))
        return matrices

    def forward(self, rotation_E33: Tensor) -> Tensor:
        size = (self.lmax + 1) ** 2
        rows = [F.pad(torch.ones_like(rotation_E33[:, :1, :1]), (0, size - 1))]
        for l, matrix in enumerate(self.wigner(rotation_E33), start=1):
            rows.append(F.pad(matrix, (l * l, size - (l + 1) ** 2)))
        return torch.cat(rows, dim=1)[:, self.order]
