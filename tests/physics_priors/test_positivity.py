"""Positive whatever comes in, with an exact inverse and a slope that does not vanish for large values."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.positivity import free_of, nearest_nonnegative, positive


def test_positive_and_inverse():
    free = torch.linspace(-600, 600, 1201, dtype=torch.float64)
    quantity = positive(free)
    assert bool((quantity > 0).all())
    torch.testing.assert_close(free_of(quantity), free, rtol=1e-12, atol=1e-12)


def test_scale_and_floor():
    quantity = torch.tensor([2.1, 3.0, 50.0], dtype=torch.float64)
    torch.testing.assert_close(positive(free_of(quantity, 0.5, 2.0), 0.5, 2.0), quantity)
    with pytest.raises(ValueError, match="expected values above 2.1"):
        free_of(quantity, floor=2.5 - 0.5 + 0.1)


def test_errors_keep_their_size_far_from_zero():
    free = torch.tensor([100.0], dtype=torch.float64, requires_grad=True)
    positive(free).sum().backward()
    assert float(free.grad) == pytest.approx(1.0)


def test_the_nearest_field_without_negative_values_and_with_its_mean():
    """Against the conditions of the minimum: equal shifts where it is positive, a slope that does not go down at zero."""
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(200, dtype=torch.float64, generator=generator)
    weights = 0.1 + torch.rand(200, dtype=torch.float64, generator=generator)
    assert torch.equal(nearest_nonnegative(field), field.clamp_min(0))
    for mean in (0.05, 0.4, 3.0):
        found = nearest_nonnegative(field, weights, torch.tensor(mean, dtype=torch.float64))
        assert float(weights @ found / weights.sum()) == pytest.approx(mean, rel=1e-12)
        assert float(found.min()) >= 0
        above = found > 0
        shift = (found - field)[above]
        assert float(shift.max() - shift.min()) < 1e-12
        assert bool((field[~above] + shift[0] <= 1e-12).all())
    assert torch.equal(nearest_nonnegative(field, weights, torch.tensor(-1.0)), field.clamp_min(0))
    leaf = field.clone().requires_grad_()
    nearest_nonnegative(leaf, weights, torch.tensor(0.4, dtype=torch.float64)).square().sum().backward()
    assert float(leaf.grad.abs().max()) > 0.1
    assert float(leaf.grad.sum()) == pytest.approx(0.0, abs=1e-9)  # a shift of all changes nothing
