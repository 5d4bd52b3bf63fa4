"""D4 against numbers of dftd4's documentation, finite differences, and what it must do at a distance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atomfield.physics_priors.dispersion_d4 import HARTREE, dispersion_d4
from atomfield.physics_priors.pairs import derivatives
from atomfield.physics_priors.zbl import BOHR

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of

pytest.importorskip("dftd4", reason="the extra atomfield[d4] is not installed")

SPECIES = [1, 1, 6, 5, 1, 15, 8, 17, 13, 15, 5, 1, 9, 15, 1, 15]
PLACES = """
    +2.79274810283778 +3.82998228828316 -2.79287054959216 -1.43447454186833 +0.43418729987882 +5.53854345129809
    -3.26268343665218 -2.50644032426151 -1.56631149351046 +2.14548759959147 -0.88798018953965 -2.24592534506187
    -4.30233097423181 -3.93631518670031 -0.48930754109119 +0.06107643564880 -3.82467931731366 -2.22333344469482
    +0.41168550401858 +0.58105573172764 +5.56854609916143 +4.41363836635653 +3.92515871809283 +2.57961724984000
    +1.33707758998700 +1.40194471661647 +1.97530004949523 +3.08342709834868 +1.72520024666801 -4.42666116106828
    -3.02346932078505 +0.04438199934191 -0.27636197425010 +1.11508390868455 -0.97617412809198 +6.25462847718180
    +0.61938955433011 +2.17903547389232 -6.21279842416963 -2.67491681346835 +3.00175899761859 +1.05038813614845
    -4.13181080289514 -2.34226739863660 -3.44356159392859 +2.85007173009739 -2.64884892757600 +0.71010806424206
"""
"""bohr: the example of ``DispersionModel`` in dftd4, whose printed energy is of an older version and 5e-8 off."""


def test_the_example_of_the_reference():
    positions = torch.tensor([float(x) for x in PLACES.split()], dtype=torch.float64).reshape(-1, 3) * BOHR
    found = dispersion_d4(pairs_of([(positions, None, SPECIES)]), "scan")
    assert float(found) == pytest.approx(-0.005328888532435093 * HARTREE, rel=1e-7)


def test_derivatives_of_a_molecule():
    agrees_with_finite_differences(lambda p: dispersion_d4(p, "pbe"), pairs_of([molecule()]), tolerance=1e-6)


def test_derivatives_of_a_crystal():
    """Two components of the stress, a force and a row of the Hessian; sharp cutoffs would leave jumps of 1e-4 in the stress."""
    cell = torch.tensor([[0.1, 2.9, 2.8], [2.8, 0.0, 2.9], [2.7, 2.8, 0.1]], dtype=torch.float64)
    pairs = pairs_of([(torch.tensor([[0.0, 0, 0], [2.9, 2.7, 2.8]], dtype=torch.float64), cell, [11, 17])])
    with torch.no_grad():
        found = derivatives(lambda p: dispersion_d4(p, "pbe"), pairs)
    volume, step = float(torch.linalg.det(cell).abs()), 1e-3
    for a, b in ((0, 1), (2, 2)):
        strain = torch.zeros(3, 3, dtype=torch.float64)
        strain[a, b] = strain[b, a] = step / 2 if a != b else step
        up, down = (
            dispersion_d4(
                replace(
                    pairs,
                    positions=pairs.positions + s * pairs.positions @ strain,
                    cell=pairs.cell + s * pairs.cell @ strain,
                ),
                "pbe",
            )
            for s in (1, -1)
        )
        slope = float(up - down) / (2 * step) / volume
        assert float(found["stress"][0, a, b]) == pytest.approx(slope, rel=1e-3, abs=1e-6)
    moved = torch.zeros_like(pairs.positions)
    moved[1, 2] = step
    up, down = (
        derivatives(lambda p: dispersion_d4(p, "pbe"), replace(pairs, positions=pairs.positions + s * moved))
        for s in (1, -1)
    )
    slope = float((down["energy"] - up["energy"]).detach()) / (2 * step)
    assert float(found["forces"][1, 2]) == pytest.approx(slope, rel=1e-3, abs=1e-6)
    positions = pairs.positions.clone().requires_grad_()
    here = derivatives(lambda p: dispersion_d4(p, "pbe"), replace(pairs, positions=positions), stress=False)
    (row,) = torch.autograd.grad(here["forces"][1, 2], positions)
    bend = float((up["forces"][1, 2] - down["forces"][1, 2]).detach()) / (2 * step)
    assert float(row[1, 2]) == pytest.approx(bend, rel=1e-3, abs=1e-6)


def test_a_batch_is_its_members():
    both = pairs_of([molecule(), crystal()])
    charge = torch.tensor([1.0, 0.0])
    single = [
        dispersion_d4(pairs_of([s]), "pbe", q[None])
        for s, q in zip([molecule(), crystal()], charge, strict=True)
    ]
    torch.testing.assert_close(dispersion_d4(both, "pbe", charge), torch.cat(single), rtol=1e-13, atol=0)
    assert float(dispersion_d4(both, "pbe")[0]) != pytest.approx(
        float(single[0]), rel=1e-3
    )  # the charge counts


def test_a_noble_gas_pair_attracts_with_the_sixth_power():
    near, far = (float(dispersion_d4(pairs_of([dimer(r, [18, 18])]), "pbe")) for r in (9.0, 18.0))
    assert near < far < 0
    assert near / far == pytest.approx(64, rel=0.12)  # and some of the eighth power


def test_what_is_unknown_is_refused():
    pairs = pairs_of([molecule()])
    with pytest.raises(ValueError, match="no D4 parameters are known for the functional 'nonsense'"):
        dispersion_d4(pairs, "nonsense")
    for wrong in (0, 104):  # the reference gives them no energy, silently
        with pytest.raises(ValueError, match=f"atomic number {wrong}, expected 1 to 103"):
            dispersion_d4(replace(pairs, species=torch.tensor([8, 1, 1, wrong])), "pbe")
    heavy = dispersion_d4(pairs_of([dimer(3.0, [103, 103])]), "pbe")
    assert float(heavy) < -0.01
    slab = torch.diag(torch.tensor([5.0, 5.0, 0.0], dtype=torch.float64))[None]
    with pytest.raises(ValueError, match="repeats in 2 directions"):
        dispersion_d4(replace(pairs, cell=slab), "pbe")
