"""Compiled layers, node blocks included, equal eager ones with first derivatives and derivatives of forces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from atomfield.models.backbone import Layer
from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeGeometry
from atomfield.models.fused import EdgeList, NodeProgram, fixed_weights, library
from atomfield.models.rotation import FrameRotation

needs_compiler = pytest.mark.skipif(library.compiler() is None, reason="needs a C compiler")
NODES, EDGES = 21, 70


@needs_compiler
@pytest.mark.usefixtures("optimised_kernels")
@pytest.mark.parametrize(
    ("lmax", "channels", "unnatural", "correlation", "scalars_only"),
    [(0, 4, 0, 3, True), (1, 8, 3, 3, False), (1, 8, 0, 1, True), (2, 16, 0, 3, False)],
)
def test_a_layer_equals_eager(
    lmax: int, channels: int, unnatural: int, correlation: int, scalars_only: bool
) -> None:
    torch.manual_seed(lmax)
    config = NetworkConfig(
        lmax=lmax, channels=channels, channels_unnatural=unnatural, radial_hidden=20, correlation=correlation
    )
    layer = Layer(config).double()
    for parameter in layer.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    edges = EdgeList(torch.randint(0, NODES, (EDGES,)), torch.randint(0, NODES - 1, (EDGES,)), NODES)
    x = torch.randn(NODES, (lmax + 1) ** 2, config.width, dtype=torch.float64)
    if scalars_only:
        x[:, 1:], x[:, :, channels:] = 0, 0
    x.requires_grad_(True)
    vector = torch.randn(EDGES, 3, dtype=torch.float64, requires_grad=True)
    condition = torch.randn(NODES, channels, dtype=torch.float64, requires_grad=True)
    basis, cotangent = torch.randn(EDGES, 8, dtype=torch.float64), torch.randn(x.shape, dtype=torch.float64)
    weights = [p for p in layer.parameters() if p.numel()]

    def results(fused: bool) -> list[Tensor]:
        layer.fused = layer.convolution.fused = fused
        r = vector.norm(dim=1)
        geometry = EdgeGeometry(
            edges, (basis * r[:, None]).sin(), r.cos(), vector / r[:, None], FrameRotation(lmax)
        )
        out = layer(x, geometry, condition, scalars_only=scalars_only)
        loss = (out.tanh() * cotangent).sum()
        # in the first layer x follows from weights alone, and a pass for forces leaves its derivative out
        places = [vector] if scalars_only else [x, vector, condition]
        everything = [vector, condition, *weights] + ([] if scalars_only else [x])
        with fixed_weights():
            first = torch.autograd.grad(loss, places, create_graph=True)
        full = torch.autograd.grad(
            loss, everything, retain_graph=True, allow_unused=True, materialize_grads=True
        )
        again = sum((g.square() * torch.arange(g.numel()).view(g.shape).cos()).sum() for g in first)
        second = torch.autograd.grad(
            again + out.sin().sum(), everything, allow_unused=True, materialize_grads=True
        )
        return [out, *first, *full, *second]

    for expected, found in zip(results(False), results(True), strict=True):
        error = (expected - found).detach().abs().max()
        assert error <= 1e-12 * expected.detach().abs().max()


def test_equal_operations_are_one_value_and_zeros_do_not_appear() -> None:
    p = NodeProgram()
    x = p.input("x", 3, 4)
    assert p.mul(x, p.silu(x)) == p.mul(p.silu(x), x)
    assert p.rows(x, 0, 3) == x and p.sum_to(x, 3, 4) == x
    y = p.input("y", 3, 4)
    (to_x, to_y), sums = p.gradient({p.scale(x, 2.0): p.input("g", 3, 4)}, [x, y])
    assert to_x == p.scale(p.input("g", 3, 4), 2.0)
    assert to_y is None and not sums


def test_sizes_that_do_not_fit_are_a_bug_of_ours() -> None:
    p = NodeProgram()
    with pytest.raises(AssertionError):
        p.add(p.input("x", 3, 4), p.input("y", 2, 4))
