"""The Ewald sum against Madelung constants, direct sums, its own independence of the splitting, and finite differences."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from atomfield.physics_priors.coulomb import COULOMB, coulomb_energy
from atomfield.physics_priors.ewald import ewald_energy, ewald_matrix
from atomfield.physics_priors.pairs import find_pairs

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of

CHARGES = torch.tensor([0.9, -0.7, -0.5, 0.3], dtype=torch.float64)
WIDTH = torch.tensor([0.3, 0.45, 0.35, 0.5], dtype=torch.float64)


def _lattice(name: str) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Primitive cell of unit lattice constant, two sites, and the distance of nearest neighbours."""
    fcc = torch.tensor([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]], dtype=torch.float64)
    match name:
        case "NaCl":
            return fcc, torch.tensor([[0.0, 0, 0], [0.5, 0, 0]]).double(), 0.5
        case "CsCl":
            return (
                torch.eye(3).double(),
                torch.tensor([[0.0, 0, 0], [0.5, 0.5, 0.5]]).double(),
                math.sqrt(3) / 2,
            )
        case _:
            return fcc, torch.tensor([[0.0, 0, 0], [0.25, 0.25, 0.25]]).double(), math.sqrt(3) / 4


# Crandall and Buhler, J. Phys. A 20, 5497 (1987); Sakamoto, J. Chem. Phys. 28, 164 (1958)
@pytest.mark.parametrize(
    ("name", "madelung"),
    [("NaCl", -1.747564594633), ("CsCl", -1.762674773071), ("ZnS", -1.638055053388)],
)
def test_madelung_constants(name, madelung):
    cell, sites, nearest = _lattice(name)
    size = 5.64
    pairs = pairs_of([(size * sites, size * cell, [11, 17])], cutoff=9.0)
    energy = ewald_energy(pairs, torch.tensor([1.0, -1.0]).double(), 9.0, accuracy=1e-14)
    assert float(energy) * nearest * size / COULOMB == pytest.approx(madelung, abs=1e-11)


def test_the_splitting_changes_nothing():
    structure = crystal()
    values = []
    for cutoff in (5.0, 7.0, 11.0):
        pairs = pairs_of([structure], cutoff)
        values.append(float(ewald_energy(pairs, CHARGES, cutoff, accuracy=1e-14)))
    assert max(values) - min(values) < 1e-11


def test_a_charged_cell_is_neutralised_by_a_background():
    """One charge in a cube: -2.837297479 / 2 in units of k q^2 / L (Leslie and Gillan, J. Phys. C 18, 973 (1985))."""
    size = 6.0
    lone = (torch.zeros(1, 3).double(), size * torch.eye(3).double(), [11])
    for cutoff in (6.0, 10.0):
        pairs = pairs_of([lone], cutoff)
        energy = ewald_energy(pairs, torch.ones(1).double(), cutoff, accuracy=1e-14)
        assert float(energy) * size / COULOMB == pytest.approx(-2.837297479 / 2, abs=1e-9)


def test_gaussian_charges_are_the_sum_over_wave_vectors():
    """E = 1/2V sum_k 4 pi/k^2 |rho(k)|^2 less each self-energy, summed plainly, with a total charge that is not zero."""
    positions, cell, species = crystal()
    pairs = pairs_of([(positions, cell, species)], 10.0)
    charges = CHARGES + 0.2
    n = torch.cartesian_prod(*[torch.arange(-22, 23).double()] * 3)
    n = n[(n != 0).any(1)]
    k = 2 * math.pi * n @ torch.linalg.inv(cell).T
    square = (k**2).sum(1)
    form = torch.exp(-square[:, None] * WIDTH**2 / 2) * charges
    phase = k @ positions.T
    density = (form * torch.cos(phase)).sum(1) ** 2 + (form * torch.sin(phase)).sum(1) ** 2
    whole = COULOMB * 2 * math.pi / torch.linalg.det(cell) * (density / square).sum()
    self_part = (COULOMB * charges**2 / (2 * WIDTH * math.sqrt(math.pi))).sum()
    found = ewald_energy(pairs, charges, 10.0, WIDTH, accuracy=1e-14)
    assert float(found) == pytest.approx(float(whole - self_part), abs=1e-9)


def test_matrix_and_energy_agree_in_a_mixed_batch():
    """A crystal, a molecule and a smaller crystal side by side: the matrix, the energy and each graph alone."""
    small = (torch.tensor([[0.1, 0.2, 0.3]]).double(), 3.9 * torch.eye(3).double(), [11])
    pairs = pairs_of([crystal(), molecule(), small], 9.0)
    charges = torch.cat([CHARGES, 0.8 * CHARGES + 0.1, torch.ones(1).double()])
    width = torch.cat([WIDTH, WIDTH, WIDTH[:1]])
    for spread in (None, width):
        energy = ewald_energy(pairs, charges, 9.0, spread, accuracy=1e-12)
        matrix = ewald_matrix(pairs, 9.0, spread, accuracy=1e-12)
        assert matrix.shape == (3, 4, 4)
        torch.testing.assert_close(matrix, matrix.transpose(1, 2), rtol=0, atol=1e-12)
        padded = torch.zeros(3, 4, dtype=torch.float64)
        padded[0], padded[1], padded[2, 0] = charges[:4], charges[4:8], charges[8]
        torch.testing.assert_close(torch.einsum("gi,gij,gj->g", padded, matrix, padded) / 2, energy)
        assert float(matrix[2, 1:].abs().max()) == 0.0
        for graph, (structure, rows) in enumerate(
            zip((crystal(), molecule(), small), (slice(0, 4), slice(4, 8), slice(8, 9)), strict=True)
        ):
            alone = pairs_of([structure], 9.0)
            part = ewald_energy(
                alone, charges[rows], 9.0, None if spread is None else spread[rows], accuracy=1e-12
            )
            assert float(part) == pytest.approx(float(energy[graph]), abs=1e-10)


def test_a_molecule_follows_the_plain_law():
    pairs = pairs_of([molecule()])
    for width in (None, WIDTH):
        torch.testing.assert_close(
            ewald_energy(pairs, CHARGES, 8.0, width),
            coulomb_energy(pairs, CHARGES, width),
            rtol=1e-14,
            atol=0,
        )


@pytest.mark.parametrize("distance", [5.0, 20.0, 50.0])
def test_two_ions_far_apart_follow_the_coulomb_law(distance):
    pairs = pairs_of([dimer(distance, [11, 17])])
    energy = ewald_energy(pairs, torch.tensor([1.0, -1.0]).double(), 6.0)
    assert float(energy) == pytest.approx(-14.39964548 / distance, rel=1e-9)


def test_a_large_box_approaches_the_molecule():
    """Cubic box: what remains is the interaction of dipoles, 2 pi mu^2 / 3 L^3 (Makov and Payne, PRB 51, 4014 (1995))."""
    positions, _, species = dimer(1.1, [11, 17])
    size = 30.0
    charges = torch.tensor([0.5, -0.5]).double()
    pairs = find_pairs(
        positions, size * torch.eye(3).double()[None], torch.tensor(species), torch.zeros(2).long(), 14.0
    )
    found = ewald_energy(pairs, charges, 14.0, accuracy=1e-13)
    expected = -COULOMB * 0.25 / 1.1 - COULOMB * 2 * math.pi / 3 * 0.55**2 / size**3
    assert float(found) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("width", [None, WIDTH], ids=["points", "gaussians"])
@pytest.mark.parametrize("total", [0.0, 0.8], ids=["neutral", "charged"])
def test_derivatives(width, total):
    pairs = pairs_of([crystal()], 9.0)
    charges = CHARGES + total / 4

    def law(p):
        return ewald_energy(p, charges, 9.0, width, accuracy=1e-12)

    agrees_with_finite_differences(law, pairs)


def test_derivatives_with_respect_to_charges_and_widths():
    pairs = pairs_of([crystal(), molecule()], 9.0)
    charges = torch.cat([CHARGES, CHARGES]).requires_grad_()
    width = torch.cat([WIDTH, WIDTH]).requires_grad_()
    positions = pairs.positions.clone().requires_grad_()
    cell = pairs.cell.clone()

    def energy(x, q, w):
        return ewald_energy(replace(pairs, positions=x, cell=cell), q, 9.0, w).sum()

    assert torch.autograd.gradcheck(energy, (positions, charges, width))
    assert torch.autograd.gradgradcheck(energy, (positions, charges, width))


def test_a_gaussian_wider_than_real_space_is_refused():
    with pytest.raises(ValueError, match="raise the cutoff"):
        ewald_energy(pairs_of([crystal()], 5.0), CHARGES, 5.0, 3 * WIDTH)
