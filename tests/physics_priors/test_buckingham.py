"""Buckingham against its exp-6 form, whose minimum is known, its published oxygen pair, and finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.buckingham import buckingham
from atomfield.physics_priors.pairs import derivatives

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of


def test_the_exp_6_form_has_its_minimum_where_it_must():
    """E = e/(1 - 6/x) [(6/x) exp(x (1 - r/m)) - (m/r)^6] has depth e at r = m."""
    depth, minimum, x = 0.0105, 3.87, 14.0
    strength = depth / (1 - 6 / x) * 6 / x * math.exp(x)
    dispersion = depth / (1 - 6 / x) * minimum**6
    pairs = pairs_of([dimer(minimum, [18, 18])])
    with torch.no_grad():
        found = derivatives(lambda p: buckingham(p, strength, minimum / x, dispersion), pairs)
    assert float(found["energy"]) == pytest.approx(-depth, rel=1e-12)
    assert float(found["forces"].abs().max()) < 1e-14


def test_a_number_worked_out_by_hand():
    """O-O of Lewis and Catlow, J. Phys. C 18, 1149 (1985), in eV and angstrom, at 2 angstrom:
    22764 exp(-13.4228188) - 27.88/64 = 0.0337150 - 0.4356250."""
    found = float(buckingham(pairs_of([dimer(2.0, [8, 8])]), 22764.0, 0.1490, 27.88))
    assert found == pytest.approx(22764.0 * 2.718281828459045**-13.422818791946309 - 0.435625, rel=1e-12)
    assert -0.4021 < found < -0.4017


@pytest.mark.parametrize("cutoff", [None, 5.0])
def test_derivatives(cutoff):
    pairs = pairs_of([crystal(), molecule()], 7.0)
    agrees_with_finite_differences(lambda p: buckingham(p, 50.0, 0.4, 2.0, cutoff), pairs)


def test_it_ends_at_the_cutoff():
    assert float(buckingham(pairs_of([dimer(5.0, [8, 8])]), 1000.0, 1.0, 1.0, 5.0)) == 0.0
