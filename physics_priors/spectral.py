"""Operators on periodic grids by Fourier transform: exact on every resolved mode.

Grids are uniform with ``shape`` points on a box of sides ``lengths``; point i of an axis lies at i * length / n. Fields are
real tensors ``[..., *shape]``; a vector field has its components in front: ``[d, ..., *shape]`` with d = number of
axes. Derivatives multiply by i k with the Nyquist mode of even grids set to zero (it has no real derivative).
Reference: Canuto et al., *Spectral Methods*, Springer 2006.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class PeriodicGrid:
    """Wavenumbers of a grid and the operators that need them (float64)."""

    def __init__(self, shape: tuple[int, ...], lengths: tuple[float, ...]):
        self.shape, self.lengths = shape, lengths
        self.axes = tuple(range(-len(shape), 0))
        waves, derivative, index = [], [], []
        for axis, (n, length) in enumerate(zip(shape, lengths, strict=True)):
            last = axis == len(shape) - 1
            frequency = torch.fft.rfftfreq(n, 1 / n) if last else torch.fft.fftfreq(n, 1 / n)
            k = frequency.double() * (2 * math.pi / length)
            d = torch.where(frequency.abs() * 2 == n, 0.0, k)
            view = [1] * len(shape)
            view[axis] = len(k)
            waves.append(k.reshape(view))
            derivative.append(d.reshape(view))
            index.append(frequency.round().long().reshape(view))
        self._index = index
        self.k = derivative
        """Per axis, broadcastable: wavenumbers of first derivatives."""
        self.waves = waves
        """Per axis, broadcastable: wavenumbers with the Nyquist mode, for even derivatives."""
        self.k_squared = torch.stack(torch.broadcast_tensors(*[w * w for w in waves])).sum(0)
        """|k|^2 of every mode, the symbol of minus the Laplacian."""

    def forward(self, field: Tensor) -> Tensor:
        return torch.fft.rfftn(field, dim=self.axes)

    def inverse(self, modes: Tensor) -> Tensor:
        return torch.fft.irfftn(modes, s=self.shape, dim=self.axes)

    def gradient(self, field: Tensor) -> Tensor:
        """``[d, ..., *shape]``."""
        modes = self.forward(field)
        return torch.stack([self.inverse(1j * k * modes) for k in self.k])

    def divergence(self, vector: Tensor) -> Tensor:
        return sum(
            (self.inverse(1j * k * self.forward(v)) for k, v in zip(self.k, vector, strict=True)),
            start=torch.zeros(()),
        )

    def curl_2d(self, vector: Tensor) -> Tensor:
        """Scalar curl dv/dx - du/dy of a plane field: the z component of the vorticity (an axial vector)."""
        u, v = vector
        return self.inverse(1j * self.k[0] * self.forward(v) - 1j * self.k[1] * self.forward(u))

    def derivative(self, field: Tensor, orders: tuple[int, ...]) -> Tensor:
        """Mixed derivative of any order, one number per axis: ``(2, 1)`` is d3/dx2 dy. Odd orders drop the Nyquist
        mode of their axis."""
        modes = self.forward(field)
        for k, wave, order in zip(self.k, self.waves, orders, strict=True):
            modes = modes * (1j * (k if order % 2 else wave)) ** order
        return self.inverse(modes)

    def laplacian(self, field: Tensor) -> Tensor:
        return self.inverse(-self.k_squared * self.forward(field))

    def mean(self, field: Tensor) -> Tensor:
        """``[...]``."""
        return field.mean(self.axes)

    def inverse_laplacian(self, source: Tensor) -> Tensor:
        """Solution of zero mean of ``laplacian(phi) = source``; the mean of the source is ignored."""
        modes = self.forward(source)
        safe = torch.where(self.k_squared == 0, 1.0, self.k_squared)
        return self.inverse(torch.where(self.k_squared == 0, 0.0, -modes / safe))

    def project(self, vector: Tensor) -> Tensor:
        """Leray projection: the divergence-free part (Helmholtz), removing the gradient of a potential mode by mode."""
        modes = [self.forward(v) for v in vector]
        square = torch.stack(torch.broadcast_tensors(*[k * k for k in self.k])).sum(0)
        along = sum((k * m for k, m in zip(self.k, modes, strict=True)), start=torch.zeros(()))
        ratio = torch.where(square == 0, 0.0, along / torch.where(square == 0, 1.0, square))
        return torch.stack([self.inverse(m - k * ratio) for k, m in zip(self.k, modes, strict=True)])

    def dealias_mask(self) -> Tensor:
        """1 for the modes that the 2/3 rule keeps, else 0 (Orszag, J. Atmos. Sci. 28, 1074 (1971))."""
        keep = [3 * m.abs() < n for m, n in zip(self._index, self.shape, strict=True)]
        return torch.stack(torch.broadcast_tensors(*keep)).all(0).double()

    def resample(self, field: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The same trigonometric polynomial on a coarser grid (modes beyond the new Nyquist frequency are cut)."""
        modes = torch.fft.fftn(field, dim=self.axes)
        for axis, (n, m) in zip(self.axes, zip(self.shape, shape, strict=True), strict=True):
            half = (m - 1) // 2
            index = torch.cat(
                [
                    torch.arange(half + 1),
                    torch.zeros(m - 2 * half - 1, dtype=torch.int64),
                    torch.arange(n - half, n),
                ]
            )
            modes = modes.index_select(axis, index)
            if m % 2 == 0:
                modes.select(axis, half + 1).zero_()
        scale = math.prod(shape) / math.prod(self.shape)
        return torch.fft.ifftn(modes * scale, dim=self.axes).real

    def sample(self, field: Tensor, points: Tensor) -> Tensor:
        """Values of the trigonometric polynomial at arbitrary ``points [P, d]``: ``[..., P]``."""
        modes = torch.fft.fftn(field, dim=self.axes) / math.prod(self.shape)
        letters = "abc"[: len(self.shape)]
        factors = []
        for n, length, x in zip(self.shape, self.lengths, points.T, strict=True):
            frequency = torch.fft.fftfreq(n, 1 / n).double()
            wave = torch.exp(2j * math.pi * x[:, None] * frequency / length)
            both_signs = torch.arange(n) * 2 == n  # the highest frequency of an even grid is a cosine
            factors.append(torch.where(both_signs, wave.real.to(wave.dtype), wave))
        terms = ",".join("p" + c for c in letters)
        return torch.einsum(f"...{letters},{terms}->...p", modes, *factors).real
