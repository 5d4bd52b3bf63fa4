"""Gaussian charges by wave vectors alone: Madelung's constant, the Ewald sum, and points far away."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.coulomb import COULOMB, coulomb_energy
from atomfield.physics_priors.ewald import ewald_energy
from atomfield.physics_priors.lattice_sums import Box, Sources, all_pairs, sum_over_pairs, sum_over_waves
from atomfield.physics_priors.smeared_coulomb import SmearedCoulomb

from .structures import crystal, molecule, pairs_of

CHARGES = torch.tensor([0.9, -0.7, -0.5, 0.3], dtype=torch.float64)


def _energy(positions, charges, cell, width):
    sources = Sources(positions, charges[:, None])
    potential, _ = sum_over_waves(
        sources, Box(cell, (False,) * 3), SmearedCoulomb(width), 7.5 / (math.sqrt(2) * width), fields=False
    )
    return float((charges * potential[:, 0]).sum() / 2)


def test_madelung_constant_of_rocksalt():
    """-1.747564594633 (Crandall and Buhler, J. Phys. A 20, 5497 (1987)); charges so narrow that neighbours see points."""
    d = 2.82
    cell = d * torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]).double()
    positions = torch.tensor([[0.0, 0, 0], [d, 0, 0]]).double()
    energy = _energy(positions, torch.tensor([1.0, -1.0]).double(), cell, width=0.25)
    assert energy * d / COULOMB == pytest.approx(-1.747564594633, abs=1e-10)


@pytest.mark.parametrize("total", [0.0, 0.8], ids=["neutral", "charged"])
def test_wave_vectors_equal_the_ewald_sum(total):
    positions, cell, species = crystal()
    charges, width = CHARGES + total / 4, 0.5
    pairs = pairs_of([(positions, cell, species)], 12.0)
    ewald = ewald_energy(pairs, charges, 12.0, torch.full((4,), width).double(), accuracy=1e-14)
    assert _energy(positions, charges, cell, width) == pytest.approx(float(ewald), abs=1e-9)


def test_pairs_equal_the_plain_law():
    positions, _, _ = molecule()
    kernel = SmearedCoulomb(0.5)
    receiver, sender = all_pairs(torch.zeros(4, dtype=torch.int64), torch.tensor([4]), torch.tensor([True]))
    potential, _ = sum_over_pairs(
        Sources(positions, CHARGES[:, None]), receiver, sender, kernel, fields=False
    )
    plain = coulomb_energy(pairs_of([molecule()]), CHARGES, torch.full((4,), 0.5).double())
    assert float((CHARGES * potential[:, 0]).sum() / 2) == pytest.approx(float(plain), rel=1e-13)


def test_radial_derivatives():
    kernel = SmearedCoulomb(0.7)
    r = torch.linspace(0.5, 9.0, 20, dtype=torch.float64, requires_grad=True)
    k0, k1, k2 = kernel.radial(r.square())
    (slope,) = torch.autograd.grad(k0.sum(), r, create_graph=True)
    torch.testing.assert_close(k1[:, 0], -slope / r)
    (slope,) = torch.autograd.grad((-slope / r).sum(), r)
    torch.testing.assert_close(k2[:, 0], -slope / r)
    near = kernel.radial(torch.tensor([1e-4]).double())
    for value, limit in zip(near, kernel.at_zero(), strict=False):
        assert float(value) == pytest.approx(float(limit), rel=1e-4)


def test_other_numbers_of_directions_are_refused():
    with pytest.raises(ValueError, match="2 periodic directions"):
        SmearedCoulomb(1.0).spectrum(torch.ones(1).double(), 2)
