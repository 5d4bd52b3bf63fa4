"""Cartesian tensors and irreps."""

from __future__ import annotations

import torch
from e3nn import o3

from atomfield.data.basis import from_irreps, to_irreps


def test_any_tensor_is_scalar_axial_vector_and_quadrupole() -> None:
    torch.manual_seed(0)
    tensor = torch.randn(4, 3, 3, dtype=torch.float64)
    parts = to_irreps(tensor, "0e+1e+2e")
    torch.testing.assert_close(from_irreps(parts, "0e+1e+2e"), tensor)
    torch.testing.assert_close(parts.norm(dim=1), tensor.flatten(1).norm(dim=1))
    turn = o3.rand_matrix(dtype=torch.float64)
    blocks = o3.Irreps("0e+1e+2e").D_from_matrix(turn)
    turned = to_irreps(turn @ tensor @ turn.T, "0e+1e+2e")
    torch.testing.assert_close(turned, parts @ blocks.T, atol=1e-5, rtol=0)  # e3nn's tables are float32
    symmetric = (tensor + tensor.mT) / 2
    torch.testing.assert_close(
        to_irreps(symmetric, "0e+2e"), to_irreps(symmetric, "0e+1e+2e")[:, [0, 4, 5, 6, 7, 8]]
    )
