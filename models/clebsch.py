"""Clebsch-Gordan tables in float64, from e3nn (real basis, y polar). Phases are e3nn's; a table is stored with the weights."""

from __future__ import annotations

import torch
from torch import Tensor


def clebsch_gordan(l1: int, l2: int, l3: int) -> Tensor:
    """Wigner 3j tensor ``[2*l1+1, 2*l2+1, 2*l3+1]``, unit Frobenius norm, float64 on the CPU."""
    from e3nn.o3 import wigner_3j

    with torch.device("cpu"):
        return wigner_3j(l1, l2, l3, dtype=torch.float64)


def signed(table: Tensor) -> Tensor:
    """A table with its sign fixed: the first entry that is not zero is positive, whatever version of e3nn made it."""
    flat = table.reshape(-1)
    first = flat[flat.abs() > 1e-6 * flat.abs().max()][0]
    return table * first.sign()
