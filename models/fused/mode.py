"""Whether derivatives with respect to weights are wanted in the backward pass that runs now.

PyTorch does not tell a Python operation which of its inputs ``autograd.grad`` was asked for, so the pass that only wants forces
says so here and saves the sums over nodes and edges that weights need. Both the way there and the way back of that pass stand
within :func:`fixed_weights`; an operation remembers on its way there which of these it was in (:func:`innermost`), since on a GPU
the way back runs in a thread of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_state = threading.local()


@dataclass
class Fixed:
    """One entry of :func:`fixed_weights`; ``now`` until it is left."""

    now: bool = True


def innermost() -> Fixed | None:
    """That this thread is in."""
    return getattr(_state, "fixed", None)


def weights_are_fixed() -> bool:
    return innermost() is not None


@contextmanager
def fixed_weights() -> Iterator[None]:
    """Backward passes of this thread leave derivatives with respect to weights out (they are None)."""
    before = innermost()
    _state.fixed = own = Fixed()
    try:
        yield
    finally:
        _state.fixed = before
        own.now = False
