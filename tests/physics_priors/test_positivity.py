"""Positive whatever comes in, with an exact inverse and a slope that does not vanish for large values."""

from __future__ import annotations

import pytest
import torch

from atomfield.physics_priors.positivity import free_of, positive


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
