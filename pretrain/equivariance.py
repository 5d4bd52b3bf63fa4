"""How far a network is from its symmetry, measured on real records in its working precision."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.basis import from_irreps, to_irreps
from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import VOCABULARY, parse_irreps
from atomfield.models.network import AtomFieldNet
from atomfield.models.rotation import FrameRotation


def turned(value: Tensor, irreps: str, q: Tensor) -> Tensor:
    """A Cartesian value of the vocabulary after the orthogonal map ``q [3, 3]``."""
    sign = torch.linalg.det(q).sign()
    match irreps:
        case "0e":
            return value
        case "0o":
            return sign * value
        case "1o":
            return value @ q.T
        case "1e":
            return sign * (value @ q.T)
        case "0e+2e" | "0e+1e+2e":
            return q @ value @ q.T
        case _:
            law = representation(irreps, q).to(value)
            return from_irreps(to_irreps(value, irreps) @ law.T, irreps)


def representation(irreps: str, q: Tensor) -> Tensor:
    """``[D, D]`` float64: what the orthogonal map ``q`` does to components in the order of ``irreps``."""
    parts = parse_irreps(irreps)
    sign = torch.linalg.det(q).sign()
    most = max(l for _, l, _ in parts)
    rotation = (sign * q).double().cpu()
    wigner = [torch.ones(1, 1, dtype=torch.float64)]
    if most:
        wigner += [matrix[0] for matrix in FrameRotation(most).wigner(rotation[None])]
    blocks = [wigner[l] * (parity if sign < 0 else 1) for count, l, parity in parts for _ in range(count)]
    return torch.block_diag(*blocks)


def turned_batch(batch: GraphBatch, q: Tensor) -> GraphBatch:
    """The batch seen after ``q``: positions, cells and every quantity. Edges stay."""
    quantities = {
        name: turned(value, VOCABULARY[name].irreps, q.to(value)) if name in VOCABULARY else value
        for name, value in batch.quantities.items()
    }
    q = q.to(batch.positions)
    return replace(
        batch, positions=batch.positions @ q.T, cell=batch.cell @ q.T, quantities=quantities, coarse=()
    )


def equivariance_error(net: AtomFieldNet, batch: GraphBatch, seed: int = 0, *, direct: bool = False) -> float:
    """Largest over quantities of |f(Q x) - Q f(x)| / |Q f(x)|, Frobenius norms, for one random rotation with a reflection. Of a
    state of a field that is stepped f is the change: beside the state itself any error would be small.
    ``direct``: with the forces of the vector head.

    Rounding gives 1e-7 to 1e-6 in float32. A network without the symmetry gives tenths.
    """
    generator = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = (-q if torch.linalg.det(q) > 0 else q).to(batch.positions.device)
    with torch.no_grad():
        found, plain = net(turned_batch(batch, q), direct=direct), net(batch, direct=direct)
    worst = 0.0
    for name, value in plain.items():
        if name not in VOCABULARY:
            continue
        irreps, value = VOCABULARY[name].irreps, value.double()
        stepped = batch.world == "field" and name in batch.quantities and name not in net.config.steady
        size = value - batch.quantities[name] if stepped else value
        known = torch.isfinite(value)
        difference = torch.where(known, found[name].double() - turned(value, irreps, q), 0.0).norm()
        worst = max(worst, float(difference / torch.where(known, size, 0.0).norm().clamp_min(1e-30)))
    return worst
