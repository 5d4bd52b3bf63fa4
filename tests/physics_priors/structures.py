"""Small structures that the tests of several laws share, float64."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from atomfield.physics_priors.pairs import PairEdges, derivatives, find_pairs


def pairs_of(structures: list[tuple[Tensor, Tensor | None, list[int]]], cutoff: float = 8.0) -> PairEdges:
    """A batch of (positions, cell or None, atomic numbers)."""
    positions = torch.cat([p for p, _, _ in structures])
    cell = torch.stack([torch.zeros(3, 3).double() if c is None else c for _, c, _ in structures])
    species = torch.cat([torch.tensor(z) for _, _, z in structures])
    counts = torch.tensor([len(z) for _, _, z in structures])
    graph_index = torch.repeat_interleave(torch.arange(len(counts)), counts)
    return find_pairs(positions, cell, species, graph_index, cutoff)


def molecule() -> tuple[Tensor, None, list[int]]:
    positions = torch.tensor(
        [[0.0, 0.0, 0.12], [0.0, 0.79, -0.47], [0.05, -0.76, -0.48], [2.6, 0.3, 1.1]], dtype=torch.float64
    )
    return positions, None, [8, 1, 1, 11]


def crystal() -> tuple[Tensor, Tensor, list[int]]:
    """Four atoms in a skewed cell, no two closer than 1.8 angstrom."""
    cell = torch.tensor([[4.7, 0.2, -0.1], [0.5, 4.3, 0.3], [-0.4, 0.6, 5.1]], dtype=torch.float64)
    inner = torch.tensor(
        [[0.05, 0.02, 0.01], [0.52, 0.48, 0.03], [0.5, 0.06, 0.47], [0.02, 0.55, 0.52]], dtype=torch.float64
    )
    return inner @ cell, cell, [11, 17, 8, 12]


def dimer(distance: float, species: list[int]) -> tuple[Tensor, None, list[int]]:
    return torch.tensor([[0.0, 0, 0], [0, 0, distance]], dtype=torch.float64), None, species


def agrees_with_finite_differences(
    law, pairs: PairEdges, *, step: float = 1e-4, tolerance: float = 1e-6
) -> None:
    """Forces and stress of ``law`` against central differences of its energy, and second derivatives against those of the forces.

    Pairs are kept while atoms move: a law that is cut off must be smooth there, which its own test checks.
    """
    with torch.no_grad():
        _first_derivatives(law, pairs, step, tolerance)
    direction = torch.linspace(-1, 1, pairs.positions.numel(), dtype=torch.float64).reshape(-1, 3)
    with torch.enable_grad():
        positions = pairs.positions.clone().requires_grad_()
        forces = derivatives(law, replace(pairs, positions=positions), stress=False)["forces"]
        (curvature,) = torch.autograd.grad((forces * direction).sum(), positions)
    with torch.no_grad():
        up, down = (
            derivatives(law, replace(pairs, positions=pairs.positions + s * step * direction), stress=False)[
                "forces"
            ]
            for s in (1, -1)
        )
    expected = (up - down) / (2 * step)
    assert float((curvature - expected).abs().max()) < 10 * tolerance * max(1.0, float(expected.abs().max()))


def _first_derivatives(law, pairs: PairEdges, step: float, tolerance: float) -> None:
    found = derivatives(law, pairs)
    scale = max(1.0, float(found["forces"].abs().max()))
    for atom in range(len(pairs.positions)):
        for axis in range(3):
            moved = torch.zeros_like(pairs.positions)
            moved[atom, axis] = step
            up, down = (law(replace(pairs, positions=pairs.positions + s * moved)).sum() for s in (1, -1))
            assert abs(float((down - up) / (2 * step) - found["forces"][atom, axis])) < tolerance * scale
    volume = torch.linalg.det(pairs.cell).abs()
    periodic = volume > 0
    for a in range(3):
        for b in range(3):
            strain = torch.zeros(3, 3, dtype=torch.float64)
            strain[a, b] += step / 2
            strain[b, a] += step / 2
            up, down = (
                law(
                    replace(
                        pairs,
                        positions=pairs.positions + s * pairs.positions @ strain,
                        cell=pairs.cell + s * pairs.cell @ strain,
                    )
                )
                for s in (1, -1)
            )
            expected = torch.where(periodic, (up - down) / (2 * step) / volume.clamp_min(1e-12), 0.0)
            difference = (found["stress"][:, a, b] - expected).abs().max()
            assert float(difference) < tolerance * scale
