"""Constants of a law on a line from its weak form: one linear least-squares problem, no network and no starting values.

Uncertainty: a bootstrap over blocks of windows, so it holds what varies from place to place (noise, unresolved
scales), not a bias that all
places share. See ``weak_form.py`` and ``sparse_regression.py`` for the sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .line_laws import LineLaw
from .sparse_regression import SparseFit, block_bootstrap, sequential_threshold
from .weak_form import Term, half_width, weak_system

POWER = 8
"""Exponent of the test function: smooth enough for four derivatives."""


@dataclass(frozen=True)
class WeakEstimate:
    """``values [K]``, ``deviations [K]``, ``draws [B, K]``; ``error``: what is left relative to du/dt; ``halves``:
    of the windows; ``coarse [K]``: from every second point and time, different where the grid does not resolve the field."""

    values: Tensor
    deviations: Tensor
    draws: Tensor
    error: float
    halves: tuple[int, int]
    coarse: Tensor


def windows_of(u: Tensor, given: tuple[int, int] | None) -> tuple[int, int]:
    """Half-widths in points along x and t: as given, or from the spectrum of ``u [n, T]``."""
    return given or (half_width(u, 0, POWER), half_width(u, 1, POWER))


def identify(
    law: LineLaw,
    u: Tensor,
    dx: float,
    dt: float,
    *,
    halves: tuple[int, int] | None = None,
    draws: int = 200,
    seed: int = 0,
) -> WeakEstimate:
    """Constants from ``u [n, T]`` (float64) on a uniform line and uniform times; differentiable in u up to the draws."""
    halves = windows_of(u, halves)
    matrix, rate, blocks = _system(law, u, dx, dt, halves)
    values = torch.linalg.lstsq(matrix, rate).solution
    error = float(((matrix @ values - rate).norm() / rate.norm()).detach())
    generator = torch.Generator().manual_seed(seed)
    boot = block_bootstrap(matrix.detach(), rate.detach(), blocks, draws, generator)[..., 0]
    smallest = POWER + 2
    half = max(halves[0] // 2, smallest), max(halves[1] // 2, smallest)
    few, right, _ = _system(law, u.detach()[::2, ::2], 2 * dx, 2 * dt, half)
    coarse = torch.linalg.lstsq(few, right).solution[:, 0]
    return WeakEstimate(values[:, 0], boot.std(0), boot, error, halves, coarse)


def _system(
    law: LineLaw, u: Tensor, dx: float, dt: float, halves: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """(matrix ``[R, K]`` of the constants, rate ``[R, 1]``, blocks ``[R]``)."""
    wanted = tuple(dict.fromkeys(term for parts in law.terms for _, term in parts))
    system = weak_system(u, dx, dt, wanted, halves, POWER)
    column = dict(zip(wanted, system.matrix.T, strict=True))
    columns = [torch.stack([w * column[t] for w, t in parts]).sum(0) for parts in law.terms]
    return torch.stack(columns, dim=1), system.rate, system.blocks


@dataclass(frozen=True)
class Discovery:
    """``terms`` of the library and their ``fit``; ``deviations [K]`` of the kept ones (zero elsewhere)."""

    terms: tuple[Term, ...]
    fit: SparseFit
    deviations: Tensor
    halves: tuple[int, int]


def discover(
    u: Tensor,
    dx: float,
    dt: float,
    terms: tuple[Term, ...],
    *,
    threshold: float = 0.05,
    halves: tuple[int, int] | None = None,
    draws: int = 200,
    seed: int = 0,
) -> Discovery:
    """The sparse equation for du/dt of ``u [n, T]`` among ``terms``."""
    halves = windows_of(u, halves)
    system = weak_system(u, dx, dt, terms, halves, POWER)
    fit = sequential_threshold(system.matrix, system.rate, threshold)
    kept = fit.active[:, 0].nonzero().flatten()
    deviations = torch.zeros(len(terms), dtype=torch.float64)
    if len(kept):
        generator = torch.Generator().manual_seed(seed)
        boot = block_bootstrap(
            system.matrix[:, kept].detach(), system.rate.detach(), system.blocks, draws, generator
        )
        deviations[kept] = boot[..., 0].std(0)
    return Discovery(terms, fit, deviations, halves)
