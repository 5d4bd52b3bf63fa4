"""Which few terms explain a rate: least squares with sequential thresholding (STLSQ).

    minimise |A c - b|^2,   then drop terms whose share |c_k| |A_k| / |b| is below the threshold, and repeat until none is dropped

Brunton, Proctor and Kutz, PNAS 113, 3932 (2016). Departure: a term is judged by the size of what it contributes
relative to the target, not by
its bare coefficient, so the choice does not depend on units. The coefficients are differentiable in A and b (the set
of terms is not).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseFit:
    """``coefficients [K, D]``, ``active [K, D]`` (bool), ``share [K, D]``: size of each term relative to the target,
    ``error [D]``:
    norm of what is left relative to the target."""

    coefficients: Tensor
    active: Tensor
    share: Tensor
    error: Tensor


def sequential_threshold(
    matrix: Tensor, target: Tensor, threshold: float = 0.05, ridge: float = 0.0, max_rounds: int = 20
) -> SparseFit:
    """Fit ``target [R, D]`` by columns of ``matrix [R, K]`` (float64).

    threshold: share of the target below which a term goes. ridge: relative to the squared norm of each column,
    against nearly parallel
    columns. ``ValueError`` for fewer rows than columns and for a column or a target that is zero throughout.
    """
    if len(matrix) < matrix.shape[1]:
        raise ValueError(
            f"found {len(matrix)} equations for {matrix.shape[1]} terms, expected at least as many"
        )
    norms, size = matrix.norm(dim=0), target.norm(dim=0)
    if bool((norms == 0).any()) or bool((size == 0).any()):
        raise ValueError("a term or the target is zero throughout the data")
    scaled = matrix / norms
    columns = []
    for d in range(target.shape[1]):
        active = torch.ones(matrix.shape[1], dtype=torch.bool)
        part = _solve(scaled, target[:, d], active, ridge)
        for _ in range(max_rounds):
            keep = active & (part.detach().abs() >= threshold * size[d].detach())
            if bool((keep == active).all()):
                break
            active = keep
            part = _solve(scaled, target[:, d], active, ridge)
        columns.append((part, active))
    parts = torch.stack([part for part, _ in columns], dim=1)
    error = (scaled @ parts - target).norm(dim=0) / size
    active = torch.stack([a for _, a in columns], dim=1)
    return SparseFit(parts / norms[:, None], active, parts.abs() / size, error)


def _solve(matrix: Tensor, target: Tensor, active: Tensor, ridge: float) -> Tensor:
    """Least squares on the active columns, zeros elsewhere ``[K]``, through an orthogonal factorisation."""
    out = torch.zeros(matrix.shape[1], dtype=matrix.dtype)
    index = active.nonzero().flatten()
    if not len(index):
        return out
    part = matrix[:, index]
    if ridge:
        part = torch.cat([part, ridge**0.5 * torch.eye(len(index), dtype=matrix.dtype)])
        target = torch.cat([target, torch.zeros(len(index), dtype=matrix.dtype)])
    q, r = torch.linalg.qr(part)
    found = torch.linalg.solve_triangular(r, (q.T @ target)[:, None], upper=True)[:, 0]
    return out.index_copy(0, index, found)


def block_bootstrap(
    matrix: Tensor, target: Tensor, blocks: Tensor, draws: int, generator: torch.Generator
) -> Tensor:
    """``[draws, K, D]``: least-squares coefficients of all columns with whole blocks of rows drawn again (``blocks
    [R]``: the block
    of each row). Rows that share data belong in one block, or the spread comes out too small (Kuensch, Ann. Stat.
    17, 1217 (1989))."""
    names = torch.unique(blocks)
    rows = [(blocks == name).nonzero().flatten() for name in names]
    if len(names) < 3:
        raise ValueError(f"found {len(names)} blocks of rows, expected at least 3 for a bootstrap")
    out = []
    for _ in range(draws):
        drawn = torch.randint(len(names), (len(names),), generator=generator).tolist()
        index = torch.cat([rows[i] for i in drawn])
        out.append(torch.linalg.lstsq(matrix[index], target[index]).solution)
    return torch.stack(out)
