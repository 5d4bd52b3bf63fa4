"""Dipoles and fields against what is known by hand and by symmetry."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.coulomb import coulomb_energy
from atomfield.physics_priors.dipole import dipole, field_energy, field_response
from atomfield.physics_priors.pairs import derivatives

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of

CHARGES = torch.tensor([-0.8, 0.4, 0.4, 0.0], dtype=torch.float64)
MASSES = torch.tensor([16.0, 1.0, 1.0, 23.0], dtype=torch.float64)


def test_a_pair_of_charges():
    pairs = pairs_of([dimer(2.0, [1, 17])])
    found = dipole(pairs, torch.tensor([0.5, -0.5]).double(), torch.tensor([1.0, 35.0]).double())
    assert found.tolist() == [[0.0, 0.0, pytest.approx(-1.0)]]


def test_an_ion_has_a_dipole_about_its_centre_of_mass():
    """Charge 1 on the lighter of two atoms 2 angstrom apart, masses 1 and 3: it lies 1.5 from the centre."""
    pairs = pairs_of([dimer(2.0, [1, 2])])
    found = dipole(pairs, torch.tensor([1.0, 0.0]).double(), torch.tensor([1.0, 3.0]).double())
    assert found[0].tolist() == [0.0, 0.0, pytest.approx(-1.5)]


def test_where_the_coordinates_begin_is_no_matter():
    structure = molecule()
    moved = (structure[0] + torch.tensor([3.0, -8.0, 1.0]), None, structure[2])
    for charges in (CHARGES, CHARGES + 0.25):
        one, two = (dipole(pairs_of([s]), charges, MASSES) for s in (structure, moved))
        torch.testing.assert_close(one, two, rtol=0, atol=1e-13)


def test_a_field_pulls_with_q_f():
    pairs = pairs_of([molecule()])
    field = torch.tensor([[0.1, -0.2, 0.05]], dtype=torch.float64)
    with torch.no_grad():
        forces = derivatives(lambda p: field_energy(p, CHARGES, field), pairs)["forces"]
    torch.testing.assert_close(forces, CHARGES[:, None] * field)
    assert float(forces.sum(0).abs().max()) < 1e-15
    agrees_with_finite_differences(
        lambda p: coulomb_energy(p, CHARGES) + field_energy(p, CHARGES, field), pairs
    )


def test_response_is_the_dipole_of_fixed_charges():
    pairs = pairs_of([molecule()])
    own = torch.tensor([[0.0, 0.1, 0], [0, 0, 0], [0.2, 0, 0], [0, 0, 0]], dtype=torch.float64)
    moment, polarisability = field_response(
        lambda f: field_energy(pairs, CHARGES, f, own), torch.zeros(1, 3, dtype=torch.float64)
    )
    torch.testing.assert_close(moment, dipole(pairs, CHARGES, MASSES, own))
    assert float(polarisability.abs().max()) == 0.0


def test_response_of_a_quadratic_energy():
    alpha = torch.tensor([[2.0, 0.3, 0], [0.3, 1.0, -0.1], [0, -0.1, 0.5]], dtype=torch.float64)
    start = torch.tensor([[0.1, 0.2, 0.3]], dtype=torch.float64)

    def energy(field):
        return -(start * field).sum(1) - torch.einsum("ga,ab,gb->g", field, alpha, field) / 2

    at = torch.tensor([[0.5, 0.0, -1.0]], dtype=torch.float64)
    moment, polarisability = field_response(energy, at)
    torch.testing.assert_close(moment, start + at @ alpha)
    torch.testing.assert_close(polarisability[0], alpha)


def test_a_crystal_is_refused():
    with pytest.raises(ValueError, match="expected molecules only"):
        field_energy(pairs_of([crystal()]), CHARGES, torch.zeros(1, 3, dtype=torch.float64))
