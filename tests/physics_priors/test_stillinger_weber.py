"""Stillinger-Weber against a sum over all triples, finite differences, and silicon as published."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch

from atomfield.physics_priors.stillinger_weber import BondConstants, stillinger_weber

from .structures import agrees_with_finite_differences, molecule, pairs_of


def uniform(strength, length, reach, a, b) -> BondConstants:
    return BondConstants(
        *(torch.full((119, 119), x, dtype=torch.float64) for x in (strength, length, reach, a, b))
    )


SILICON = uniform(2.1683, 2.0951, 1.80, 7.049556277, 0.6022245584)


def unlike() -> BondConstants:
    """Constants that differ from pair to pair."""
    z = torch.arange(119, dtype=torch.float64)
    both = z[:, None] + z[None]
    return BondConstants(
        1 + 0.01 * both, 2 + 0.005 * both, 1.6 + 0.004 * both, 7 + 0 * both, 0.6 + 0.003 * both
    )


def cluster():
    generator = torch.Generator().manual_seed(0)
    positions = torch.tensor(
        [[0, 0, 0], [2.2, 0.1, 0], [-0.6, 2.1, 0.2], [-0.7, -0.9, 2.0], [1.9, 2.0, 1.0]], dtype=torch.float64
    )
    return (
        positions + 0.1 * torch.rand(5, 3, dtype=torch.float64, generator=generator),
        None,
        [14, 8, 11, 1, 14],
    )


def test_all_pairs_and_triples_by_hand():
    constants = unlike()
    positions, _, numbers = cluster()
    x = positions.tolist()
    expected = 0.0
    of = lambda i, j: [float(t[numbers[i], numbers[j]]) for t in vars(constants).values()]  # noqa: E731
    tail = {}
    for i in range(5):
        for j in range(5):
            if i == j:
                continue
            e, s, reach, a, b = of(i, j)
            r = math.dist(x[i], x[j])
            if r < reach * s:
                tail[i, j] = s / (r - reach * s)
                if i < j:
                    expected += e * a * (b * (s / r) ** 4 - 1) * math.exp(tail[i, j])
    triples = 0
    for i in range(5):
        for j, k in combinations([n for n in range(5) if (i, n) in tail], 2):
            u, v = ([q - p for p, q in zip(x[i], x[n], strict=True)] for n in (j, k))
            cosine = sum(p * q for p, q in zip(u, v, strict=True)) / math.hypot(*u) / math.hypot(*v)
            mean = math.sqrt(of(i, j)[0] * of(i, k)[0])
            expected += 21 * mean * (cosine + 1 / 3) ** 2 * math.exp(1.2 * (tail[i, j] + tail[i, k]))
            triples += 1
    assert triples > 8
    found = float(stillinger_weber(pairs_of([cluster()]), constants, 21.0, 1.2))
    assert found == pytest.approx(expected, rel=1e-12)


def diamond(a: float):
    fcc = torch.tensor([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], dtype=torch.float64)
    return torch.cat([fcc, fcc + 0.25]) * a, torch.eye(3).double() * a, [14] * 8


def test_silicon_as_published():
    """a = 5.431 angstrom; the strength was chosen for a cohesive energy of 4.337 eV, and the angles are then ideal."""
    energies = [
        float(stillinger_weber(pairs_of([diamond(a)]), SILICON, 21.0, 1.2)) / 8 for a in (5.40, 5.431, 5.46)
    ]
    assert energies[1] == min(energies)
    assert energies[1] == pytest.approx(-2 * 2.1683, abs=1e-3)


def test_derivatives():
    generator = torch.Generator().manual_seed(1)
    positions, cell, numbers = diamond(5.5)
    rattled = positions + 0.15 * torch.randn(8, 3, dtype=torch.float64, generator=generator)
    pairs = pairs_of([(rattled, cell, numbers), cluster(), molecule()], 4.5)
    agrees_with_finite_differences(lambda p: stillinger_weber(p, SILICON, 21.0, 1.2), pairs)


def test_atoms_far_apart_have_no_energy():
    far = (torch.tensor([[0.0, 0, 0], [0, 0, 9.0]], dtype=torch.float64), None, [14, 14])
    assert float(stillinger_weber(pairs_of([far]), SILICON, 21.0, 1.2)) == 0.0
