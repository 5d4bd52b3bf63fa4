"""Kernels as people get them, for the tests of the kernels themselves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atomfield.models import blocks
from atomfield.models.fused import edges, library, product


def _forget() -> None:
    for known in (edges._library, product._library, blocks._blocks):
        known.cache_clear()


@pytest.fixture
def optimised_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled with the flags of everyday use; other tests compile without optimisation."""
    monkeypatch.delenv(library.FLAGS_VARIABLE, raising=False)
    _forget()
    yield
    _forget()
