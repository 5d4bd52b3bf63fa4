"""Particle-mesh Ewald against the exact sum, and its convergence."""

from __future__ import annotations

import itertools
from dataclasses import replace

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


def test_forces_and_stress_are_derivatives_of_the_energy_on_the_mesh():
    """Of its own energy, by fourth-order differences along a motion of all ions and a strain, however coarse the mesh.
    Steps are small because the interpolation is smooth between mesh points only."""
    pairs, charges = _salt()
    law = lambda p: pme_energy(p, charges, CUTOFF, spacing=0.7, accuracy=1e-10)  # noqa: E731
    generator = torch.Generator().manual_seed(1)
    motion = torch.randn(64, 3, generator=generator, dtype=torch.float64)
    strain = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    strain = strain + strain.T

    def moved(h: float) -> float:
        return float(law(replace(pairs, positions=pairs.positions + h * motion)))

    def strained(h: float) -> float:
        change = torch.eye(3, dtype=torch.float64) + h * strain
        return float(law(replace(pairs, positions=pairs.positions @ change, cell=pairs.cell @ change)))

    with torch.no_grad():
        found = derivatives(law, pairs)
        slopes = [
            (8 * (f(h) - f(-h)) - f(2 * h) + f(-2 * h)) / (12 * h)
            for f, h in ((moved, 1e-5), (strained, 1e-5))
        ]
    volume = float(torch.linalg.det(pairs.cell))
    assert slopes[0] == pytest.approx(-float((found["forces"] * motion).sum()), rel=1e-6)
    assert slopes[1] == pytest.approx(volume * float((found["stress"][0] * strain).sum()), rel=1e-6)


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
