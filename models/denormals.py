"""Numbers too small for a normal exponent (below 1e-38 in float32) are taken for zero while a network trains or answers.

Units of a silu that training drives far below zero give such values, and a processor takes many times as long for each of them:
a finetuning on 50 solubilities at a rate of 8e-3 took several times as long with them (``docs/log.md`` has the command). The
loops of our own kernels take them for zero by themselves (``fused/shared_loop.py``).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from .fused import threads

_SMALLEST = sys.float_info.min
"""The smallest normal number in float64: half of it is denormal."""


def are_flushed() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return _SMALLEST * 0.5 == 0.0


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormal numbers are zero within, in this thread and, where there is a C compiler, in torch's others; afterwards they are
    as before. Takes a microsecond on one thread, and two short parallel loops on several."""
    if are_flushed():
        yield
        return
    count = torch.get_num_threads()
    others = threads.flush(count) if count > 1 else None
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        if others is not None:
            threads.restore(others)
