"""Denormal numbers are zero while a network trains, in every thread, and as before afterwards; within our kernels always."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from atomfield.models.denormals import are_flushed, flushed_denormals
from atomfield.models.fused import (
    EdgeList,
    NodeBlock,
    NodeProgram,
    Piece,
    PowerShape,
    Radial,
    Shape,
    Vectors,
    across_vectors,
    convolve,
    library,
    powers,
)
from atomfield.models.fused.shared_loop import FLUSHED
from atomfield.models.fused.threads import control_words

pytestmark = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot flush denormals"
)
needs_compiler = pytest.mark.skipif(library.compiler() is None, reason="needs a C compiler")

MANY = 1 << 20
"""Elements that torch shares between all its threads."""


@pytest.fixture(params=[1, pytest.param(4, marks=needs_compiler)])
def num_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def denormals(values: Tensor) -> int:
    """By their bits: a comparison of numbers would take them for zero where they are flushed."""
    bits = values.contiguous().numpy().view(np.uint32)
    return int(((bits & 0x7F800000 == 0) & (bits & 0x007FFFFF != 0)).sum())


def made() -> int:
    """How many of ``MANY`` products of 1e-20 with itself are kept as 1e-40, over all threads of torch."""
    x = torch.full((MANY,), 1e-20)
    return denormals(x * x)


def flags(count: int) -> list[bool]:
    return [bool(word & FLUSHED) for word in control_words(count)]


def test_within_and_afterwards(num_threads: int) -> None:
    assert not are_flushed() and made() == MANY
    with flushed_denormals():
        assert are_flushed() and made() == 0
        with flushed_denormals():
            assert are_flushed()
        assert are_flushed() and made() == 0
    assert not are_flushed() and made() == MANY
    if num_threads > 1:
        assert flags(num_threads) == num_threads * [False]


def test_also_after_an_error() -> None:
    with pytest.raises(KeyError), flushed_denormals():
        raise KeyError
    assert not are_flushed()


def test_who_flushes_already_goes_on_so() -> None:
    torch.set_flush_denormal(True)
    try:
        with flushed_denormals():
            assert are_flushed()
        assert are_flushed()
    finally:
        torch.set_flush_denormal(False)


# ---------------------------------------------------------------- kernels
NODES = 256


def products() -> Tensor:
    shape = PowerShape(0, 8, 0, 2)
    return powers(torch.full((NODES, 1, 8), 1e-20), torch.ones(shape.num_weights), shape)


def messages() -> Tensor:
    shape = Shape(0, 8, 0, False, 4, 8)
    ring = torch.arange(NODES)
    edges = EdgeList(ring, ring.roll(1), NODES)
    nodes = torch.ones(NODES, shape.hidden)
    radial = Radial(
        nodes, nodes, torch.ones(NODES, 4), torch.ones(NODES), torch.ones(4, shape.hidden),
        torch.full((shape.hidden, shape.num_weights), 1e-20),
    )  # fmt: skip
    direction = torch.tensor([[0.0, 0.0, 1.0]]).expand(NODES, 3)
    return convolve(torch.full((NODES, 1, 8), 1e-20), radial, direction, edges, shape)


def block() -> Tensor:
    program = NodeProgram()
    x = program.input("x", 1, 8)
    whole = Piece("x", 0, 1, 8, 1, 8)
    square = NodeBlock(program, {"x": whole}, [(program.mul(x, x), Piece("y", 0, 1, 8, 1, 8))], [])
    return square([torch.full((NODES, 1, 8), 1e-20)], [])[0]


def slopes() -> Tensor:
    one = torch.ones(NODES)
    direction = torch.tensor([[0.0, 0.0, 1.0]]).repeat(NODES, 1)
    known = Vectors(direction.double(), one, direction, torch.ones(NODES, 4), one)
    return across_vectors(known, torch.full((NODES, 3), 1e-20).double() * 1e-20, 5.0)[2][:, :2]


KERNELS = (products, messages, block, slopes)


@needs_compiler
@pytest.mark.parametrize("kernel", KERNELS)
def test_within_kernels_and_not_outside(kernel: Callable[[], Tensor]) -> None:
    """Every output is about 1e-40, in chunks that four threads share: none is kept, and no thread is left as it was within."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert flags(4) == 4 * [False]
        found = kernel()
        assert not found.contiguous().numpy().view(np.uint32).any()
        assert flags(4) == 4 * [False]
        assert made() == MANY
        with flushed_denormals():  # nor is one set back that was flushed by its caller
            kernel()
            assert flags(4) == 4 * [True]
    finally:
        torch.set_num_threads(before)


@needs_compiler
@pytest.mark.parametrize("kernel", KERNELS)
def test_numbers_that_are_not_denormal_are_kept(
    kernel: Callable[[], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.full
    monkeypatch.setattr(torch, "full", lambda shape, value: real(shape, 1e-15))
    found = kernel().abs()
    assert float(found.min()) > 5e-36
