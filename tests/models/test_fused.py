"""The compiled convolution equals the eager one, with its first and second derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeConvolution, EdgeGeometry
from atomfield.models.fused import EdgeList, Shape, convolve, library
from atomfield.models.rotation import FrameRotation

needs_compiler = pytest.mark.skipif(library.compiler() is None, reason="needs a C compiler")

NODES, EDGES = 7, 60


def geometry(edges: EdgeList, config: NetworkConfig, vector_E3: Tensor) -> EdgeGeometry:
    direction = vector_E3 / vector_E3.norm(dim=1, keepdim=True)
    generator = torch.Generator().manual_seed(3)
    basis = torch.randn(len(vector_E3), config.num_radial, generator=generator, dtype=torch.float64)
    envelope = vector_E3.norm(dim=1).cos()
    return EdgeGeometry(edges, basis, envelope, direction, FrameRotation(config.lmax))


def relative_error(expected: Tensor, found: Tensor) -> float:
    return float((expected - found).detach().abs().max() / expected.detach().abs().max())


@needs_compiler
@pytest.mark.parametrize("scalars_only", [True, False])
@pytest.mark.parametrize(
    ("lmax", "channels", "unnatural"), [(0, 4, 0), (1, 8, 3), (2, 9, 4), (2, 4, 4), (3, 8, 0)]
)
def test_equals_eager_with_two_derivatives(
    lmax: int, channels: int, unnatural: int, scalars_only: bool
) -> None:
    torch.manual_seed(lmax)
    config = NetworkConfig(lmax=lmax, channels=channels, channels_unnatural=unnatural)
    convolution = EdgeConvolution(config).double()
    edges = EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES - 1, (EDGES,)), NODES)
    x = torch.randn(NODES, (lmax + 1) ** 2, config.width, dtype=torch.float64, requires_grad=True)
    vector = torch.randn(EDGES, 3, dtype=torch.float64, requires_grad=True)
    inputs = (x, vector, *convolution.parameters())
    cotangent = torch.randn(x.shape, dtype=torch.float64)

    def results(fused: bool) -> list[Tensor]:
        convolution.fused = fused
        out = convolution(x, geometry(edges, config, vector), scalars_only=scalars_only)
        loss = (torch.tanh(out) * cotangent).sum()
        first = torch.autograd.grad(
            loss, inputs, create_graph=True, allow_unused=True, materialize_grads=True
        )
        again = sum((g.square() * torch.arange(g.numel()).view(g.shape).cos()).sum() for g in first)
        second = torch.autograd.grad(again, inputs, allow_unused=True, materialize_grads=True)
        return [out, *first, *second]

    for expected, found in zip(results(False), results(True), strict=True):
        assert torch.equal(expected, found) or relative_error(expected, found) < 1e-12


@needs_compiler
def test_float32_and_threads_and_no_edges() -> None:
    shape = Shape(2, 8, 4, False)
    torch.manual_seed(0)
    x, weights = torch.randn(NODES, 9, 12), torch.randn(EDGES, shape.num_weights)
    direction = F.normalize(torch.randn(EDGES, 3))
    edges = EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES, (EDGES,)), NODES)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(convolve(x, weights, direction, edges, shape))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found), "every sum has one owner, whatever the number of threads"
    exact = convolve(x.double(), weights.double(), F.normalize(direction.double()), edges, shape)
    assert float((exact - found[0]).abs().max()) < 1e-5 * float(exact.abs().max())
    none = EdgeList(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), NODES)
    assert not convolve(x, weights[:0], direction[:0], none, shape).any()


@needs_compiler
def test_an_edge_to_nowhere_is_refused() -> None:
    edges = EdgeList(torch.tensor([0, 3]), torch.tensor([1, 1]), 3)
    shape = Shape(0, 4, 0, False)
    with pytest.raises(IndexError, match="outside 0 to 2"):
        convolve(torch.zeros(3, 1, 4), torch.zeros(2, shape.num_weights), torch.ones(2, 3), edges, shape)


def test_without_a_compiler_edges_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "compiler", lambda: None)
    library.library.cache_clear()
    try:
        assert library.library(Shape(1, 4, 0, False), "float") is None
    finally:
        library.library.cache_clear()


@needs_compiler
def test_a_damaged_cache_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ATOMFIELD_CACHE", str(folder))
    library.library.cache_clear()
    try:
        shape = Shape(0, 5, 0, False)
        file = folder / "kernels"
        monkeypatch.setattr(library, "_load", lambda file: None)
        assert library.library(shape, "float") is None, "nothing can be loaded"
        monkeypatch.undo()
        monkeypatch.setenv("ATOMFIELD_CACHE", str(folder))
        library.library.cache_clear()
        (made,) = file.iterdir()
        made.write_bytes(b"not a library")
        assert library.library(shape, "float") is not None
        assert made.stat().st_size > 100
    finally:
        library.library.cache_clear()
