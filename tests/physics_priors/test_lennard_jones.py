"""Lennard-Jones against its minimum, the lattice sums of the fcc crystal, finite differences, and constants found from data."""

from __future__ import annotations

import math

import pytest
import torch

from atomfield.physics_priors.lennard_jones import lennard_jones

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of


def test_the_well():
    pairs = pairs_of([dimer(2 ** (1 / 6) * 3.4, [18, 18]), dimer(3.4, [18, 18])])
    assert lennard_jones(pairs, 0.0104, 3.4).tolist() == pytest.approx([-0.0104, 0.0], abs=1e-15)


def test_lattice_sums_of_fcc():
    """sum d^12/r^12 = 12.131880 and sum d^6/r^6 = 14.453921 (Kittel, Introduction to Solid State Physics, chapter 3)."""
    cell = torch.tensor([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]], dtype=torch.float64) / math.sqrt(2)
    cutoff = 12.0
    pairs = pairs_of([(torch.zeros(1, 3).double(), cell, [18])], cutoff)
    # two sizes of the atom tell the two sums apart: 2 E = s^12 A12 - s^6 A6 with epsilon = 1/4
    one, two = (2 * float(lennard_jones(pairs, 0.25, s)) * 2 for s in (1.0, 2 ** (1 / 6)))
    twelfth, sixth = (two - 2 * one) / 2, (two - 4 * one) / 2
    assert twelfth / 2 == pytest.approx(12.131880, abs=1e-6)
    beyond = 4 * math.pi * math.sqrt(2) / (3 * cutoff**3)
    assert sixth / 2 + beyond == pytest.approx(14.453921, abs=2e-4)


@pytest.mark.parametrize("cutoff", [None, 5.0])
def test_derivatives(cutoff):
    pairs = pairs_of([crystal(), molecule()], 7.0)
    agrees_with_finite_differences(lambda p: lennard_jones(p, 0.02, 2.1, cutoff), pairs)


def test_it_ends_smoothly():
    near, end, beyond = (
        float(lennard_jones(pairs_of([dimer(r, [18, 18])]), 1.0, 2.0, 5.0)) for r in (4.99999, 5.0, 5.1)
    )
    assert end == beyond == 0.0
    assert abs(near) < 1e-15


def test_constants_are_identified_by_gradient():
    """Tables by species: epsilon and sigma of Ar-Ar and Ar-Ne are found again from energies."""
    pairs = pairs_of([dimer(r, z) for z in ([18, 18], [18, 10]) for r in (3.2, 3.5, 3.9, 4.6)])
    truth = torch.zeros(2, 19, 19, dtype=torch.float64)
    truth[:, 18, 18] = torch.tensor([1.04, 3.4])
    truth[:, 18, 10] = truth[:, 10, 18] = torch.tensor([0.62, 3.1])
    wanted = lennard_jones(pairs, truth[0], truth[1])
    guess = torch.nn.Parameter(torch.tensor([[1.5, 1.5], [3.0, 3.0]], dtype=torch.float64))
    optimiser = torch.optim.LBFGS(
        [guess], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-16
    )

    def closure():
        optimiser.zero_grad()
        table = torch.zeros(2, 19, 19, dtype=torch.float64)
        table = table.index_put(
            (torch.arange(2)[:, None], torch.tensor([[18, 18, 10]]), torch.tensor([[18, 10, 18]])),
            guess[:, [0, 1, 1]],
        )
        loss = (lennard_jones(pairs, table[0], table[1]) - wanted).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(
        guess.detach(), torch.tensor([[1.04, 0.62], [3.4, 3.1]]).double(), rtol=1e-5, atol=0
    )
