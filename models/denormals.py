"""Numbers too small for a normal exponent (below 1e-38 in float32) are taken for zero while a network trains.

Units of a silu that training drives far below zero give such values, and a processor takes many times as long for each of them:
a finetuning on 50 solubilities at a rate of 8e-3 took several times as long with them (``docs/log.md`` has the command).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PARALLEL = 1 << 17
"""Elements that are enough for torch to use all its threads."""


def are_flushed() -> bool:
    """Whether this thread takes denormal numbers for zero."""
    return float((torch.full((16,), 1e-39) * 0.5).sum()) == 0.0


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Denormal numbers are zero within, in this thread and torch's others; afterwards they are as before."""
    before = are_flushed()
    torch.zeros(PARALLEL).add_(1.0)  # threads that began within would keep the setting for good
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)
