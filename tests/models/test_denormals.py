"""Denormal numbers are zero while a network trains, in every thread, and as before afterwards."""

import pytest
import torch

from atomfield.models.denormals import PARALLEL, are_flushed, flushed_denormals

pytestmark = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush denormals"
)


def zeros() -> int:
    """Of numbers that are none, made by all threads."""
    return int((torch.full((8 * PARALLEL,), 1e-39) * 0.5 == 0).sum())


def test_within_and_afterwards():
    assert not are_flushed() and zeros() == 0
    with flushed_denormals():
        assert are_flushed() and zeros() == 8 * PARALLEL
        with flushed_denormals():
            assert are_flushed()
        assert are_flushed()
    assert not are_flushed() and zeros() == 0


def test_also_after_an_error():
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert not are_flushed()
