"""Whether derivatives with respect to weights are wanted in the backward pass that runs now.

PyTorch does not tell a Python operation which of its inputs ``autograd.grad`` was asked for, so the pass that only wants forces
says so here and saves the sums over nodes and edges that weights need.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_state = threading.local()


def weights_are_fixed() -> bool:
    return getattr(_state, "fixed", False)


@contextmanager
def fixed_weights() -> Iterator[None]:
    """Backward passes of this thread leave derivatives with respect to weights out (they are None)."""
    before = weights_are_fixed()
    _state.fixed = True
    try:
        yield
    finally:
        _state.fixed = before
