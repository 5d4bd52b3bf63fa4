"""The compiled convolution equals the eager one, with its first and second derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeConvolution, EdgeGeometry
from atomfield.models.fused import (
    EdgeList,
    PowerShape,
    Radial,
    Shape,
    convolve,
    fixed_weights,
    library,
    powers,
)
from atomfield.models.fused.edges import _library
from atomfield.models.product import NodeProduct
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
@pytest.mark.usefixtures("optimised_kernels")
@pytest.mark.parametrize("scalars_only", [True, False])
@pytest.mark.parametrize(("lmax", "channels", "unnatural"), [(0, 4, 0), (1, 8, 3), (2, 9, 4), (3, 8, 0)])
def test_equals_eager_with_two_derivatives(
    lmax: int, channels: int, unnatural: int, scalars_only: bool
) -> None:
    torch.manual_seed(lmax)
    config = NetworkConfig(lmax=lmax, channels=channels, channels_unnatural=unnatural)
    convolution = EdgeConvolution(config).double()
    edges = EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES - 1, (EDGES,)), NODES)
    x = torch.randn(NODES, (lmax + 1) ** 2, config.width, dtype=torch.float64, requires_grad=True)
    vector = torch.randn(EDGES, 3, dtype=torch.float64, requires_grad=True)
    inputs = (x, vector, *(p for p in convolution.parameters() if p.numel()))
    cotangent = torch.randn(x.shape, dtype=torch.float64)

    def results(fused: bool) -> list[Tensor]:
        convolution.fused = fused
        out = convolution(x, geometry(edges, config, vector), scalars_only=scalars_only)
        loss = (torch.tanh(out) * cotangent).sum()
        first = torch.autograd.grad(
            loss, inputs, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        # in the first layer x follows from weights alone, and a pass for forces leaves its derivative out
        places = (vector,) if scalars_only else (x, vector)
        with fixed_weights():
            moved = torch.autograd.grad(loss, places, create_graph=True, materialize_grads=True)
        again = sum((g.square() * torch.arange(g.numel()).view(g.shape).cos()).sum() for g in moved)
        second = torch.autograd.grad(again, inputs, allow_unused=True, materialize_grads=True)
        return [out, *first, *moved, *second]

    for expected, found in zip(results(False), results(True), strict=True):
        assert torch.equal(expected, found) or relative_error(expected, found) < 1e-12


def random_radial(shape: Shape, edges: int) -> Radial:
    h, b = shape.hidden, shape.num_bases
    nodes, weights = torch.randn(2, NODES, h), torch.randn(h, shape.num_weights)
    return Radial(nodes[0], nodes[1], torch.randn(edges, b), torch.rand(edges), torch.randn(b, h), weights)


def exactly(radial: Radial) -> Radial:
    return Radial(*[t.detach().double() for t in radial])


@needs_compiler
@pytest.mark.usefixtures("optimised_kernels")
def test_float32_and_threads_and_no_edges() -> None:
    shape = Shape(2, 8, 4, False, 5, 16)
    torch.manual_seed(0)
    x, radial = torch.randn(NODES, 9, 12), random_radial(shape, EDGES)
    direction = F.normalize(torch.randn(EDGES, 3))
    edges = EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES, (EDGES,)), NODES)
    weights = radial.second_HP.requires_grad_(True)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            out = convolve(x, radial, direction, edges, shape)
            found.append([out.detach(), *torch.autograd.grad(out.sin().sum(), weights)])
    finally:
        torch.set_num_threads(threads)
    assert all(map(torch.equal, *found)), "every sum has one owner, whatever the number of threads"
    exact = convolve(x.double(), exactly(radial), F.normalize(direction.double()), edges, shape)
    assert float((exact - found[0][0]).abs().max()) < 1e-5 * float(exact.abs().max())
    none = EdgeList(torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), NODES)
    assert not convolve(x, random_radial(shape, 0), direction[:0], none, shape).any()


@needs_compiler
@pytest.mark.usefixtures("optimised_kernels")
@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0, 200.0])
def test_hidden_units_far_from_zero(scale: float) -> None:
    """The logistic function saturates without overflow, in both precisions."""
    shape = Shape(0, 4, 0, False, 3, 12)
    torch.manual_seed(1)
    radial = random_radial(shape, EDGES)
    radial = radial._replace(sender_NH=radial.sender_NH * scale)
    edges = EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES, (EDGES,)), NODES)
    x, direction = torch.randn(NODES, 1, 4), F.normalize(torch.randn(EDGES, 3))
    for dtype, limit in ((torch.float32, 1e-5), (torch.float64, 1e-14)):
        r = Radial(*[t.to(dtype) for t in radial])
        hidden = r.sender_NH[edges.sender_E] + r.receiver_NH[edges.receiver_E] + r.basis_EB @ r.first_BH
        weight = (F.silu(hidden) * r.envelope_E[:, None]) @ r.second_HP
        message = weight * x.to(dtype)[edges.sender_E, 0]
        expected = torch.zeros(NODES, 4, dtype=dtype).index_add(0, edges.receiver_E, message)
        found = convolve(x.to(dtype), r, direction.to(dtype), edges, shape)[:, 0]
        assert relative_error(expected, found) < limit


@needs_compiler
@pytest.mark.usefixtures("optimised_kernels")
@pytest.mark.parametrize(
    ("lmax", "channels", "unnatural", "correlation"), [(1, 6, 2, 3), (2, 5, 0, 3), (3, 4, 0, 2)]
)
def test_products_equal_eager_with_two_derivatives(
    lmax: int, channels: int, unnatural: int, correlation: int
) -> None:
    torch.manual_seed(lmax)
    config = NetworkConfig(
        lmax=lmax, channels=channels, channels_unnatural=unnatural, correlation=correlation
    )
    products = [NodeProduct(config).double() for _ in range(correlation - 1)]
    weights = [w for product in products for w in product.parameters()]
    a = torch.randn(11, (lmax + 1) ** 2, config.width, dtype=torch.float64, requires_grad=True)

    def results(fused: bool) -> list[Tensor]:
        if fused:
            flat = torch.cat([w for product in products for w in product.flat_weights()])
            out = powers(a, flat, PowerShape(lmax, channels, unnatural, correlation))
        else:
            power, found = a, []
            for product in products:
                power = product(power, a)
                found.append(power)
            out = torch.stack(found)
        loss = out.sin().sum()
        first = torch.autograd.grad(loss, [a, *weights], retain_graph=True)
        with fixed_weights():
            (moved,) = torch.autograd.grad(loss, [a], create_graph=True)
        second = torch.autograd.grad(moved.square().sum() + out.cos().sum(), [a, *weights])
        return [out, *first, moved, *second]

    for expected, found in zip(results(False), results(True), strict=True):
        assert relative_error(expected, found) < 1e-12


@needs_compiler
def test_derivatives_that_kernels_lack_are_refused() -> None:
    shape = PowerShape(0, 3, 0, 2)
    a = torch.randn(4, 1, 3, requires_grad=True)
    weights = torch.randn(shape.num_weights, requires_grad=True)
    (slope,) = torch.autograd.grad(powers(a, weights, shape).square().sum(), weights, create_graph=True)
    with pytest.raises(NotImplementedError, match="path weights"):
        slope.sum().backward()


@needs_compiler
def test_an_edge_to_nowhere_is_refused() -> None:
    edges = EdgeList(torch.tensor([0, 3]), torch.tensor([1, 1]), 3)
    shape = Shape(0, 4, 0, False, 5, 16)
    with pytest.raises(IndexError, match="outside 0 to 2"):
        convolve(torch.zeros(3, 1, 4), random_radial(shape, 2), torch.ones(2, 3), edges, shape)


def test_without_a_compiler_edges_run_eagerly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "compiler", lambda: None)
    _library.cache_clear()
    try:
        assert _library(Shape(1, 4, 0, False, 4, 8), "float") is None
    finally:
        _library.cache_clear()


@needs_compiler
def test_a_damaged_cache_is_compiled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ATOMFIELD_CACHE", str(folder))
    _library.cache_clear()
    try:
        shape = Shape(0, 5, 0, False, 4, 8)
        file = folder / "kernels"
        monkeypatch.setattr(library, "_load", lambda file: None)
        assert _library(shape, "float") is None, "nothing can be loaded"
        monkeypatch.undo()
        monkeypatch.setenv("ATOMFIELD_CACHE", str(folder))
        _library.cache_clear()
        (made,) = file.iterdir()
        made.write_bytes(b"not a library")
        assert _library(shape, "float") is not None
        assert made.stat().st_size > 100
    finally:
        _library.cache_clear()
