"""Coulomb's law against numbers worked out by hand, an integral, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import constants, integrate

from atomfield.physics_priors.coulomb import COULOMB, coulomb_energy, self_energy

from .structures import agrees_with_finite_differences, dimer, molecule, pairs_of

CHARGES = torch.tensor([-0.8, 0.4, 0.4, 1.0], dtype=torch.float64)
WIDTH = torch.tensor([0.4, 0.3, 0.5, 0.9], dtype=torch.float64)


def test_the_constant():
    assert pytest.approx(constants.e / (4 * math.pi * constants.epsilon_0) * 1e10, rel=2e-9) == COULOMB


@pytest.mark.parametrize("distance", [5.0, 12.5, 50.0])
def test_two_ions(distance):
    pairs = pairs_of([dimer(distance, [11, 17])])
    charges = torch.tensor([1.0, -1.0], dtype=torch.float64)
    assert float(coulomb_energy(pairs, charges)) == pytest.approx(-14.3996454784 / distance, rel=1e-11)
    wide = torch.tensor([0.5, 0.6], dtype=torch.float64)
    assert float(coulomb_energy(pairs, charges, wide)) == pytest.approx(-14.3996454784 / distance, rel=1e-8)


@pytest.mark.parametrize("distance", [0.05, 0.7, 2.0])
def test_gaussians_are_the_integral_of_their_densities(distance):
    """In wave numbers: (2/pi) int exp(-k^2 (s1^2 + s2^2) / 2) sin(k r) / (k r) dk."""
    pairs = pairs_of([dimer(distance, [11, 17])])
    width = torch.tensor([0.5, 0.8], dtype=torch.float64)
    found = float(coulomb_energy(pairs, torch.ones(2, dtype=torch.float64), width))

    def integrand(k):
        return math.exp(-(k**2) * (0.25 + 0.64) / 2) * math.sin(k * distance) / (k * distance)

    expected = 2 / math.pi * integrate.quad(integrand, 1e-12, 40, epsabs=1e-13)[0]
    assert found == pytest.approx(COULOMB * expected, rel=1e-9)


def test_the_self_energy_is_half_the_interaction_at_contact():
    pairs = pairs_of([dimer(1e-4, [11, 11])])
    width = torch.full((2,), 0.7, dtype=torch.float64)
    charges = torch.tensor([0.3, 0.3], dtype=torch.float64)
    contact = float(coulomb_energy(pairs, charges, width))
    assert float(self_energy(pairs, charges, width)) == pytest.approx(contact, rel=1e-7)


@pytest.mark.parametrize("width", [None, WIDTH], ids=["points", "gaussians"])
def test_derivatives(width):
    agrees_with_finite_differences(lambda p: coulomb_energy(p, CHARGES, width), pairs_of([molecule()]))
