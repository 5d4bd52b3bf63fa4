"""Equilibrated charges against the solution for two atoms, a plain solve of the conditions, and finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.physics_priors.charge_equilibration import equilibrate
from atomfield.physics_priors.coulomb import COULOMB
from atomfield.physics_priors.dipole import dipole, field_response
from atomfield.physics_priors.ewald import ewald_energy, ewald_matrix
from atomfield.physics_priors.pairs import derivatives

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of

CHI = torch.tensor([4.9, 2.1, 2.2, 1.0], dtype=torch.float64)
HARDNESS = torch.tensor([3.0, 4.0, 4.1, 2.0], dtype=torch.float64)
WIDTH = torch.tensor([0.5, 0.35, 0.4, 0.55], dtype=torch.float64)
CUTOFF = 12.0


def _two(structure, total=0.0, **more):
    pairs = pairs_of([structure], CUTOFF)
    n = len(pairs.species)
    return pairs, equilibrate(
        pairs, CHI[:n], HARDNESS[:n], WIDTH[:n], torch.tensor([total], dtype=torch.float64), CUTOFF, **more
    )


def test_two_atoms():
    """q = (chi_2 - chi_1) / (H_11 + H_22 - 2 H_12) and the energy -(chi_1 - chi_2)^2 / 2 over the same."""
    _, found = _two(dimer(1.3, [8, 1]))
    spread = math.sqrt(2 * (0.5**2 + 0.35**2))
    off = COULOMB * math.erf(1.3 / spread) / 1.3
    own = 3.0 + 4.0 + COULOMB / math.sqrt(math.pi) * (1 / 0.5 + 1 / 0.35)
    charge = (2.1 - 4.9) / (own - 2 * off)
    assert found.charges.tolist() == pytest.approx([charge, -charge], rel=1e-13)
    assert float(found.energy) == pytest.approx(-(2.8**2) / 2 / (own - 2 * off), rel=1e-13)


@pytest.mark.parametrize("total", [-1.0, 0.0, 0.7])
def test_the_conditions_hold_in_a_mixed_batch(total):
    """Against numpy's solve of the whole system with its multiplier, graph by graph."""
    pairs = pairs_of([crystal(), dimer(1.1, [8, 1]), molecule()], CUTOFF)
    chi, hardness, width = (torch.cat([x, x[:2], x]) for x in (CHI, HARDNESS, WIDTH))
    totals = torch.tensor([total, -total, 2 * total], dtype=torch.float64)
    found = equilibrate(pairs, chi, hardness, width, totals, CUTOFF)
    torch.testing.assert_close(pairs.sum_atoms(found.charges), totals, rtol=0, atol=5e-16)
    matrix = ewald_matrix(pairs, CUTOFF, width)
    for graph in range(3):
        rows = torch.nonzero(pairs.graph_index == graph)[:, 0]
        n = len(rows)
        system = np.zeros((n + 1, n + 1))
        system[:n, :n] = matrix[graph, :n, :n] + torch.diag(
            hardness[rows] + COULOMB / math.sqrt(math.pi) / width[rows]
        )
        system[:n, n] = system[n, :n] = 1
        solution = np.linalg.solve(system, np.append(-chi[rows].numpy(), totals[graph]))
        np.testing.assert_allclose(found.charges[rows].numpy(), solution[:n], rtol=0, atol=1e-12)
        assert float(found.potential[graph]) == pytest.approx(-solution[n], abs=1e-11)


def test_the_potential_is_the_slope_with_the_total_charge():
    step = 1e-4
    up, down = (_two(crystal(), 0.3 + s * step)[1].energy for s in (1, -1))
    assert float(_two(crystal(), 0.3)[1].potential) == pytest.approx(float(up - down) / (2 * step), abs=1e-7)


@pytest.mark.parametrize("structure", [crystal(), molecule()], ids=["crystal", "molecule"])
def test_derivatives(structure):
    total = torch.tensor([0.4], dtype=torch.float64)

    def law(p):
        return equilibrate(p, CHI, HARDNESS, WIDTH, total, CUTOFF, accuracy=1e-12).energy

    agrees_with_finite_differences(law, pairs_of([structure], CUTOFF))


def test_forces_are_those_at_fixed_charges():
    pairs, found = _two(crystal(), 0.2)
    with torch.no_grad():
        whole = derivatives(
            lambda p: (
                equilibrate(p, CHI, HARDNESS, WIDTH, torch.tensor([0.2], dtype=torch.float64), CUTOFF).energy
            ),
            pairs,
        )
        fixed = derivatives(lambda p: ewald_energy(p, found.charges, CUTOFF, WIDTH), pairs)
    torch.testing.assert_close(whole["forces"], fixed["forces"], rtol=0, atol=1e-11)
    torch.testing.assert_close(whole["stress"], fixed["stress"], rtol=0, atol=1e-12)


def test_gradients_of_charges_with_respect_to_what_a_network_predicts():
    pairs = pairs_of([molecule(), dimer(1.2, [8, 1])])
    inputs = tuple(torch.cat([x, x[:2]]).requires_grad_() for x in (CHI, HARDNESS, WIDTH))
    positions = pairs.positions.clone().requires_grad_()
    totals = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)

    def charges(x, chi, hardness, width, total):
        return equilibrate(replace(pairs, positions=x), chi, hardness, width, total, CUTOFF).charges

    arguments = (positions, *inputs, totals)
    assert torch.autograd.gradcheck(charges, arguments)
    assert torch.autograd.gradgradcheck(charges, arguments, atol=1e-4)


def test_polarisability_is_the_slope_of_the_dipole():
    pairs = pairs_of([molecule()])
    total = torch.zeros(1, dtype=torch.float64)

    def solution(field):
        return equilibrate(pairs, CHI, HARDNESS, WIDTH, total, CUTOFF, field=field)

    at = torch.tensor([[0.05, 0.0, -0.1]], dtype=torch.float64)
    moment, polarisability = field_response(lambda f: solution(f).energy, at)
    masses = torch.ones(4, dtype=torch.float64)
    torch.testing.assert_close(moment, dipole(pairs, solution(at).charges, masses), rtol=0, atol=1e-12)
    for axis in range(3):
        step = torch.zeros(1, 3, dtype=torch.float64)
        step[0, axis] = 1e-3
        up, down = (dipole(pairs, solution(at + s * step).charges, masses) for s in (1, -1))
        torch.testing.assert_close(polarisability[0, axis], (up - down)[0] / 2e-3, rtol=0, atol=1e-9)
    assert float(torch.linalg.eigvalsh(polarisability[0].detach()).min()) > -1e-12


def _two_molecules(distance: float):
    a, b = molecule(), dimer(1.2, [8, 1])
    positions = torch.cat([a[0], b[0] + torch.tensor([distance, 0.0, 0.0])])
    pairs = pairs_of([(positions, None, a[2] + b[2])])
    return pairs, tuple(torch.cat([x, x[:2]]) for x in (CHI, HARDNESS, WIDTH))


def test_fragments_that_keep_their_charges_add_up():
    pairs, (chi, hardness, width) = _two_molecules(2000.0)
    fragment = torch.tensor([0, 0, 0, 0, 1, 1])
    totals = torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = equilibrate(pairs, chi, hardness, width, totals, CUTOFF, fragment=fragment)
    first, second = _two(molecule(), 1.0)[1], _two(dimer(1.2, [8, 1]), 0.0)[1]
    assert float(found.charges[4:].sum()) == pytest.approx(0.0, abs=1e-15)
    # an ion and a dipole 2000 angstrom apart: k q mu / r^2 is 1e-6 eV
    assert float(found.energy) == pytest.approx(float(first.energy + second.energy), abs=3e-6)
    torch.testing.assert_close(found.charges[4:], second.charges, rtol=0, atol=1e-6)


def test_without_fragments_charge_flows_at_any_distance():
    """The known failure of the method, stated in its docstring: electronegativities are equal 2000 angstrom apart."""
    pairs, (chi, hardness, width) = _two_molecules(2000.0)
    found = equilibrate(pairs, chi, hardness, width, torch.zeros(1, dtype=torch.float64), CUTOFF)
    assert abs(float(found.charges[4:].sum())) > 0.05


def test_a_field_on_a_crystal_is_refused():
    with pytest.raises(ValueError, match="expected molecules only"):
        _two(crystal(), field=torch.ones(1, 3, dtype=torch.float64))


def test_negative_hardness_is_refused():
    pairs = pairs_of([molecule()])
    with pytest.raises(torch.linalg.LinAlgError):
        equilibrate(pairs, CHI, -20 * HARDNESS, WIDTH, torch.zeros(1).double(), CUTOFF)


def test_an_isolated_atom_keeps_the_charge_it_is_given():
    """E = chi Q + (J + k / (s sqrt(pi))) Q^2 / 2."""
    lone = (torch.zeros(1, 3, dtype=torch.float64), None, [8])
    _, found = _two(lone, -1.0)
    assert found.charges.tolist() == [-1.0]
    assert float(found.energy) == pytest.approx(
        -4.9 + (3.0 + COULOMB / (0.5 * math.sqrt(math.pi))) / 2, rel=1e-13
    )
