"""The Morse bond against its depth, its force constant, and finite differences."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.morse import morse

from .structures import agrees_with_finite_differences, crystal, dimer, molecule, pairs_of


def test_depth_and_separated_atoms():
    pairs = pairs_of([dimer(0.7414, [1, 1]), dimer(60.0, [1, 1])])
    assert morse(pairs, 4.7466, 1.9426, 0.7414).tolist() == pytest.approx([-4.7466, 0.0], abs=1e-14)


def test_the_force_constant():
    """d2E/dr2 = 2 D a^2 and d3E/dr3 = -6 D a^3 at the minimum."""
    depth, steepness, length = 4.7466, 1.9426, 0.7414
    pairs = pairs_of([dimer(length, [1, 1])])
    z = torch.tensor(length, dtype=torch.float64, requires_grad=True)
    positions = torch.stack([torch.zeros(3).double(), torch.stack([z * 0, z * 0, z])])
    from dataclasses import replace

    value = morse(replace(pairs, positions=positions), depth, steepness, length).sum()
    derivatives = []
    for _ in range(3):
        (value,) = torch.autograd.grad(value, z, create_graph=True)
        derivatives.append(float(value.detach()))
    assert derivatives == pytest.approx(
        [0.0, 2 * depth * steepness**2, -6 * depth * steepness**3], rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("cutoff", [None, 5.0])
def test_derivatives(cutoff):
    pairs = pairs_of([crystal(), molecule()], 7.0)
    agrees_with_finite_differences(lambda p: morse(p, 0.7, 1.3, 2.0, cutoff), pairs)


def test_it_ends_at_the_cutoff():
    assert float(morse(pairs_of([dimer(5.0, [1, 1])]), 1.0, 0.2, 1.0, 5.0)) == 0.0
