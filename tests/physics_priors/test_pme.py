"""Particle-mesh Ewald against the exact sum, and its convergence."""

from __future__ import annotations

import itertools

import pytest
import torch

from atomfield.physics_priors.ewald import ewald_energy
from atomfield.physics_priors.pairs import derivatives
from atomfield.physics_priors.pme import pme_energy

from .structures import crystal, molecule, pairs_of

pytest.importorskip("torchpme", reason="the extra atomfield[longrange] is not installed")
CUTOFF = 8.0
WIDTH = torch.tensor([0.3, 0.45, 0.35, 0.5], dtype=torch.float64)


def _salt():
    """64 ions off their sites in a skewed cell, 11 angstrom across."""
    sites = torch.tensor(list(itertools.product(range(4), repeat=3)), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    positions = 2.8 * sites + 0.3 * torch.rand(64, 3, generator=generator, dtype=torch.float64)
    cell = 11.2 * torch.eye(3, dtype=torch.float64)
    cell[0, 1], cell[1, 2], cell[2, 0] = 0.2, 0.3, 0.1
    charges = torch.where(sites.sum(1) % 2 == 0, 1.0, -1.0).double()
    return pairs_of([(positions, cell, [11] * 64)], CUTOFF), charges


def test_it_converges_to_the_exact_sum():
    pairs, charges = _salt()
    with torch.no_grad():
        exact = derivatives(lambda p: ewald_energy(p, charges, CUTOFF, accuracy=1e-13), pairs)
        errors = []
        for spacing in (0.7, 0.35):
            found = derivatives(
                lambda p, s=spacing: pme_energy(p, charges, CUTOFF, spacing=s, accuracy=1e-10), pairs
            )
            errors.append([float((found[k] - exact[k]).abs().max()) for k in ("energy", "forces", "stress")])
    assert errors[1][0] < 5e-8 and errors[1][1] < 5e-7 and errors[1][2] < 1e-9
    assert all(fine < coarse / 10 for coarse, fine in zip(*errors, strict=True))


@pytest.mark.parametrize("width", [None, torch.cat([WIDTH, WIDTH])], ids=["points", "gaussians"])
def test_a_batch_of_charged_cells(width):
    big = crystal()
    pairs = pairs_of([crystal(), (1.2 * big[0], 1.2 * big[1], big[2])], CUTOFF)
    charges = torch.tensor([0.9, -0.7, -0.5, 0.6, 0.8, -0.5, -0.2, 0.1], dtype=torch.float64)
    found = pme_energy(pairs, charges, CUTOFF, width, spacing=0.3, accuracy=1e-10)
    torch.testing.assert_close(
        found, ewald_energy(pairs, charges, CUTOFF, width, accuracy=1e-13), rtol=0, atol=1e-6
    )


def test_a_molecule_is_refused():
    with pytest.raises(ValueError, match="no cell"):
        pme_energy(pairs_of([molecule()]), WIDTH, CUTOFF)
