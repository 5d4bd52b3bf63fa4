"""D3(BJ) against the numbers of s-dftd3 and of tad-dftd3, the decay of noble-gas pairs, and finite differences.

The reference numbers are those of s-dftd3 1.7.0 (PyPI: dftd3), method "pbe" or "b3lyp", atm=False, with CODATA 2018 units:

    model = DispersionModel(numbers, positions / bohr[, cell / bohr, [True] * 3])
    model.set_realspace_cutoff(cutoff / bohr, cutoff / bohr, cutoff / bohr)        # crystal only
    model.get_dispersion(RationalDampingParam(method="pbe", atm=False), grad=True)
"""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.dispersion import (
    HARTREE,
    RationalDamping,
    c6_coefficients,
    coordination_numbers,
    d3_tables,
    damping_of,
    dispersion,
)
from atomfield.physics_priors.pairs import derivatives
from atomfield.physics_priors.zbl import BOHR

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of

pytest.importorskip("tad_dftd3", reason="the extra atomfield[dispersion] is not installed")


def _water_dimer():
    positions = torch.tensor(
        [
            [-1.551007, -0.114520, 0.0],
            [-1.934259, 0.762503, 0.0],
            [-0.599677, 0.040712, 0.0],
            [1.350625, 0.111469, 0.0],
            [1.680398, -0.373741, -0.758561],
            [1.680398, -0.373741, 0.758561],
        ],
        dtype=torch.float64,
    )
    return positions, None, [8, 1, 1, 8, 1, 1]


@pytest.mark.parametrize(
    ("functional", "energy"), [("pbe", -0.03752694955315701), ("b3lyp", -0.05894127621504152)]
)
def test_a_molecule_is_that_of_the_reference(functional, energy):
    found = dispersion(pairs_of([_water_dimer()]), damping_of(functional))
    assert float(found) == pytest.approx(energy, rel=1e-9)


def test_forces_of_a_molecule_are_those_of_the_reference():
    expected = torch.tensor(
        [
            [0.005969078605075064, -0.00018931813843041864, 0.0],
            [0.003017644754765172, -0.0006880470184706758, 0.0],
            [0.002124869038132922, -0.00021290092366344564, 0.0],
            [-0.004851029635864274, 0.00024643040703051466, 0.0],
            [-0.003130281381054442, 0.00042191783676701273, 0.0008082565286841606],
            [-0.003130281381054442, 0.00042191783676701273, -0.0008082565286841606],
        ],
        dtype=torch.float64,
    )
    with torch.no_grad():
        found = derivatives(lambda p: dispersion(p, damping_of("pbe")), pairs_of([_water_dimer()]))
    torch.testing.assert_close(found["forces"], expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("cutoff", "energy", "force", "virial"),
    [
        (12.0, -0.5938987791609608, -0.010131849000276034, 0.5604740411245194),
        (25.0, -0.6042688412766848, -0.010251540639862501, 0.5805748060280166),
    ],
)
def test_a_crystal_is_that_of_the_reference(cutoff, energy, force, virial):
    """Cut sharply, as the reference does. Its virial is dE/dstrain."""
    pairs = pairs_of([crystal()], cutoff)
    with torch.no_grad():
        found = derivatives(lambda p: dispersion(p, damping_of("pbe"), cutoff, onset=cutoff - 1e-12), pairs)
    volume = float(torch.linalg.det(pairs.cell[0]))
    assert float(found["energy"]) == pytest.approx(energy, rel=1e-8)
    assert float(found["forces"][0, 0]) == pytest.approx(force, abs=1e-9)
    assert float(found["stress"][0, 0, 0]) * volume == pytest.approx(virial, abs=1e-7)


def test_the_batch_is_that_of_tad_dftd3():
    """Elements from all over the table, coordination numbers and C6 included."""
    import tad_dftd3

    generator = torch.Generator().manual_seed(3)
    species = [1, 6, 7, 17, 26, 47, 58, 79, 92, 100]
    positions = 3.0 * torch.tensor([[i % 3, i // 3 % 3, i // 9] for i in range(10)], dtype=torch.float64)
    positions = positions + torch.rand(10, 3, generator=generator, dtype=torch.float64)
    pairs = pairs_of([molecule(), (positions, None, species)])
    damping = damping_of("r2scan")
    numbers = torch.tensor(species)
    parameters = {k: torch.tensor(getattr(damping, k), dtype=torch.float64) for k in ("s6", "s8", "a1", "a2")}
    parameters["s9"] = torch.tensor(0.0, dtype=torch.float64)
    expected = tad_dftd3.dftd3(numbers, positions / BOHR, parameters).sum() * HARTREE
    assert float(dispersion(pairs, damping)[1]) == pytest.approx(float(expected), rel=1e-11)
    coordination = coordination_numbers(pairs, d3_tables())
    reference = tad_dftd3.ncoord.cn_d3(numbers, positions / BOHR)
    torch.testing.assert_close(coordination[4:], reference, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("species", "energies"),
    [
        (10, {3.8: -0.0011322133456831847, 6.0: -8.588362869705297e-05, 14.0: -5.073216929243034e-07}),
        (18, {3.8: -0.010745634191808639, 6.0: -0.0009614606335568926, 14.0: -5.33412901938743e-06}),
    ],
    ids=["Ne2", "Ar2"],
)
def test_a_noble_gas_pair(species, energies):
    """Attractive everywhere, the reference's numbers, and -C6/r^6 far away."""
    damping = damping_of("pbe")
    for r, expected in energies.items():
        found = float(dispersion(pairs_of([dimer(r, [species] * 2)]), damping))
        assert found == pytest.approx(expected, rel=1e-8)
    r = torch.linspace(2.5, 20.0, 60)
    curve = dispersion(pairs_of([dimer(float(x), [species] * 2) for x in r]), damping)
    assert bool((curve < 0).all()) and bool((curve.diff() > 0).all())
    far = pairs_of([dimer(100.0, [species] * 2), dimer(200.0, [species] * 2)])
    near, double = dispersion(far, damping).tolist()
    assert near / double == pytest.approx(64, rel=5e-3)
    coefficient = c6_coefficients(far, d3_tables(), coordination_numbers(far, d3_tables()))[-1]
    assert double == pytest.approx(-HARTREE * float(coefficient) * (BOHR / 200.0) ** 6, rel=2e-3)


def test_c6_of_argon_is_near_the_measured_one():
    """64.3 hartree bohr^6 (Kumar and Meath, Mol. Phys. 54, 823 (1985))."""
    far = pairs_of([dimer(50.0, [18, 18])])
    found = c6_coefficients(far, d3_tables(), coordination_numbers(far, d3_tables()))
    assert float(found[0]) == pytest.approx(64.3, rel=0.02)


@pytest.mark.parametrize("cutoff", [None, 7.5])
def test_derivatives(cutoff):
    damping = RationalDamping(s8=0.7875, a1=0.4289, a2=4.4407)
    pairs = pairs_of([_water_dimer(), crystal()], 8.0)
    agrees_with_finite_differences(lambda p: dispersion(p, damping, cutoff), pairs)


def test_the_damping_is_identified_by_gradient():
    """The slope of the energy with a1 and s8 is the difference quotient."""
    pairs = pairs_of([_water_dimer()])
    a1, s8 = (torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.43, 0.8))

    def energy(a, s):
        return dispersion(pairs, RationalDamping(s8=s, a1=a, a2=4.4407))

    assert torch.autograd.gradcheck(energy, (a1, s8))


def test_the_tail_beyond_the_cutoff():
    """A crystal cut at 12 and at 25 angstrom differs by the integral over the rest, within a fifth of it."""
    volume = float(torch.linalg.det(crystal()[1]))
    pairs = pairs_of([crystal()], 25.0)
    damping = RationalDamping(s8=0.0, a1=0.4289, a2=4.4407)
    near, far = (float(dispersion(pairs, damping, c, onset=c - 1e-9)) for c in (12.0, 25.0))
    coordination = coordination_numbers(pairs, d3_tables(), 25.0)
    within = pairs.distances() < 12.0
    number = torch.zeros(4, 4, dtype=torch.float64)
    total = number.index_put(
        (pairs.receiver, pairs.sender),
        c6_coefficients(pairs, d3_tables(), coordination) * within,
        accumulate=True,
    )
    count = number.index_put((pairs.receiver, pairs.sender), within.double(), accumulate=True)
    mean = HARTREE * BOHR**6 * float((total / count).sum())
    tail = -2 * math.pi * mean / (3 * volume) * (12.0**-3 - 25.0**-3)
    assert far - near == pytest.approx(tail, rel=0.2)


def test_what_is_unknown_is_refused():
    with pytest.raises(ValueError, match="'pbeee'"):
        damping_of("pbeee")
    with pytest.raises(ValueError, match="atomic number 110"):
        dispersion(pairs_of([dimer(3.0, [110, 1])]), damping_of("pbe"))


def test_an_isolated_atom_has_no_energy():
    lone = (torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64), None, [18])
    with torch.no_grad():
        found = derivatives(lambda p: dispersion(p, damping_of("pbe")), pairs_of([lone]))
    assert float(found["energy"]) == 0.0 and float(found["forces"].abs().max()) == 0.0
