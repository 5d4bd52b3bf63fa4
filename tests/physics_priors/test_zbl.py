"""ZBL against its table of coefficients worked out in high precision, its limits, and finite differences."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.coulomb import COULOMB
from atomfield.physics_priors.zbl import screening, zbl, zbl_pair

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of

RADII = torch.full((119,), 1.4, dtype=torch.float64)


@pytest.mark.parametrize(("first", "second"), [(1, 1), (6, 8), (14, 14), (79, 29)])
@pytest.mark.parametrize("distance", [0.05, 0.3, 1.0, 2.5])
def test_the_table(first, second, distance):
    """Digit by digit with mpmath from the printed coefficients."""
    from mpmath import exp, mpf, workdps

    with workdps(40):
        a = mpf("0.8854") * mpf("0.529177210903") / (mpf(first) ** mpf("0.23") + mpf(second) ** mpf("0.23"))
        terms = (
            ("0.18175", "3.19980"),
            ("0.50986", "0.94229"),
            ("0.28022", "0.40290"),
            ("0.02817", "0.20162"),
        )
        x = mpf(distance) / a
        phi = sum(mpf(c) * exp(-mpf(d) * x) for c, d in terms)
        expected = float(mpf("14.39964547842567") * first * second / mpf(distance) * phi)
    pairs = pairs_of([dimer(distance, [first, second])])
    assert float(zbl(pairs)) == pytest.approx(expected, rel=1e-12)


def test_bare_nuclei_at_contact():
    """The amplitudes add up to 1, so the pair becomes that of bare charges."""
    assert float(screening(torch.zeros((), dtype=torch.float64))) == pytest.approx(1.0, abs=1e-12)
    r = torch.tensor([1e-7], dtype=torch.float64)
    numbers = torch.tensor([14]), torch.tensor([8])
    assert float(zbl_pair(r, *numbers)) == pytest.approx(COULOMB * 14 * 8 / 1e-7, rel=3e-6)


def test_it_only_repels():
    r = torch.linspace(0.05, 12, 500, dtype=torch.float64)
    energy = zbl_pair(r, torch.tensor(6), torch.tensor(1))
    assert bool((energy > 0).all()) and bool((energy.diff() < 0).all())


def test_it_is_whole_up_to_half_of_where_it_ends():
    """0.8 of two radii of 1.4 angstrom, or the cutoff where that is shorter."""
    inner, end = pairs_of([dimer(1.12, [6, 8])]), pairs_of([dimer(2.2401, [6, 8])])
    assert float(zbl(inner, RADII)) == float(zbl(inner)) > float(zbl(inner, RADII, 2.0))
    assert float(zbl(end, RADII)) == 0.0 < float(zbl(end))
    assert float(zbl(end, RADII, end=1.0)) > 0.0 == float(zbl(end, RADII, 2.0, end=1.0))


@pytest.mark.parametrize("radii", [None, RADII], ids=["whole", "switched"])
def test_derivatives(radii):
    agrees_with_finite_differences(lambda p: zbl(p, radii), pairs_of([crystal(), molecule()], 6.0))
