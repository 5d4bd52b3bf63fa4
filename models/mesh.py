"""The sums of ``physics_priors/lattice_sums.py`` on a mesh: B-splines to a regular grid, one filter in k, B-splines back.

torch-pme's ``MeshInterpolator`` (BSD-3-Clause) spreads and gathers with the splines of Hockney and Eastwood, of order 5 here;
the filter is f(k^2) of the kernel over the squared transform of the spline, sinc(m/n)^(2*5) with m the integer frequency along
an axis of n points (Essmann et al., J. Chem. Phys. 103, 8577 (1995); Deserno and Holm, J. Chem. Phys. 109, 7678 (1998)). The
filter is ours since fields need i k and every channel its own kernel, in one pair of transforms; torch-pme's
``P3MKSpaceFilter`` takes the sinc of Cartesian components, which holds for orthogonal cells only.

Cost N + n log n. Rotations and translations hold to the interpolation error, which falls as the 5th power of the mesh spacing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.physics_priors.lattice_sums import Box, Kernel, Sources

ORDER = 5
"""Points per axis that a spline covers; its error is of this order in the mesh spacing."""


def mesh_shape(box: Box, spacing: float) -> tuple[int, int, int]:
    """Points along each row: even numbers with factors 2, 3 and 5, at most ``spacing`` apart; 1 along a flat row."""
    shape = []
    for row, flat in zip(box.cell.detach(), box.flat, strict=True):
        n = 1 if flat else max(2 * ORDER, 2 * -(-float(row.norm()) // (2 * spacing)))
        while not flat and not _smooth(int(n)):
            n += 2
        shape.append(int(n))
    return shape[0], shape[1], shape[2]


def _smooth(n: int) -> bool:
    for factor in (2, 3, 5):
        while n % factor == 0:
            n //= factor
    return n == 1


def sum_over_mesh(
    sources: Sources, box: Box, kernel: Kernel, spacing: float, *, fields: bool
) -> tuple[Tensor, Tensor | None]:
    """Potential ``[N, Q]`` and, if asked, field ``[N, 3, Q]``: ``sum_over_waves`` but for the error of the mesh."""
    q, p = sources.charges, sources.dipoles
    num_channels = q.shape[1]
    shape = mesh_shape(box, spacing)
    mesh = _interpolator(box.cell, shape)
    mesh.compute_weights(sources.positions)
    spread = q if p is None else torch.cat([q, p.flatten(1)], dim=1)
    modes = torch.fft.rfftn(mesh.points_to_mesh(spread), dim=(1, 2, 3))
    k, filters = _filters(box, shape, kernel)
    density = modes[:num_channels]
    if p is not None:
        polarisation = modes[num_channels:].view(3, num_channels, *modes.shape[1:])
        density = density - 1j * (k.unsqueeze(1) * polarisation).sum(0)
    potential = density * filters
    outputs = potential
    if fields:
        outputs = torch.cat([potential, (-1j * k.unsqueeze(1) * potential.unsqueeze(0)).flatten(0, 1)])
    values = mesh.mesh_to_points(torch.fft.irfftn(outputs, s=shape, dim=(1, 2, 3)))
    zero, first = kernel.at_zero()
    potential_NQ = values[:, :num_channels] - zero.to(q) * q
    if not fields:
        return potential_NQ, None
    field_N3Q = values[:, num_channels:].view(-1, 3, num_channels)
    return potential_NQ, field_N3Q if p is None else field_N3Q + first.to(p) * p


def _filters(box: Box, shape: tuple[int, int, int], kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Wave vectors of first derivatives ``[3, n0, n1, n2/2+1]`` and filters ``[Q, n0, n1, n2/2+1]``."""
    dtype, device = box.cell.dtype, box.cell.device
    frequency, derivative, spline = [], [], []
    for axis, n in enumerate(shape):
        m = (torch.fft.rfftfreq if axis == 2 else torch.fft.fftfreq)(n, 1 / n, dtype=dtype, device=device)
        frequency.append(m)
        derivative.append(torch.where(2 * m.abs() == n, 0.0, m) if n > 1 else m)  # Nyquist has no real one
        spline.append(torch.sinc(m / n) ** (2 * ORDER))
    reciprocal = box.reciprocal()
    waves = lambda m: torch.stack(torch.meshgrid(*m, indexing="ij"), dim=-1) @ reciprocal  # noqa: E731
    square = waves(frequency).square().sum(-1)
    influence = torch.einsum("x,y,z->xyz", *spline)
    value = kernel.spectrum(square.flatten(), box.dims).T.reshape(-1, *square.shape)
    points = shape[0] * shape[1] * shape[2]
    return waves(derivative).movedim(-1, 0), value / influence * (points / box.measure)


def _interpolator(cell: Tensor, shape: tuple[int, int, int]) -> Any:
    try:
        from torchpme.lib import MeshInterpolator
    except ImportError as error:
        raise InputError(
            "the mesh of the long-range filter needs torch-pme: pip install 'atomfield[longrange]', or choose "
            "long_range_route: direct"
        ) from error
    return MeshInterpolator(cell, torch.tensor(shape, device=cell.device), ORDER, "P3M")
