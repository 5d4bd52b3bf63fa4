"""Products at nodes as one differentiable operation, twice differentiable."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .library import compiled
from .mode import weights_are_fixed
from .power_source import CHUNKS, FUNCTIONS, power_source
from .powers import PowerShape, paths
from .tape import call

_REAL = {torch.float32: "float", torch.float64: "double"}
_LARGEST = 1500
"""Terms of the products beyond which the compiler takes longer than it saves."""


@lru_cache(maxsize=64)
def _library(shape: PowerShape, real: str) -> ctypes.CDLL | None:
    terms = sum(len(p.terms) for both, _, _ in shape.groups for p in paths(shape.lmax, both))
    if terms * (shape.correlation - 1) > _LARGEST:
        return None
    return compiled(
        lambda: power_source(shape, real),
        dict.fromkeys(FUNCTIONS, (ctypes.c_int64, *[ctypes.c_void_p] * 7, ctypes.c_int)),
    )


def powers_available(a: Tensor, shape: PowerShape) -> bool:
    """Whether there are kernels for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
    return a.device.type == "cpu" and a.dtype in _REAL and _library(shape, _REAL[a.dtype]) is not None


def powers(a: Tensor, weights: Tensor, shape: PowerShape) -> Tensor:
    """``[correlation - 1, N, M, K]``: P2(a, a) and P(P2, a) of ``a [N, M, K]``; ``weights`` as :attr:`PowerShape.num_weights`."""
    return _Powers.apply(a.contiguous(), weights.contiguous(), shape)


def multiplied(a: Tensor, weights: Tensor, shape: PowerShape) -> Tensor:
    """:func:`powers` of contiguous tensors, unknown to autograd."""
    out = a.new_empty(shape.correlation - 1, *a.shape)
    _run("forward", shape, a, w=weights, out_g=out)
    return out


def product_slope(a: Tensor, weights: Tensor, g: Tensor, shape: PowerShape) -> Tensor:
    """Derivative of ``<g, powers>`` with respect to ``a``, of contiguous tensors, unknown to autograd."""
    slope = torch.empty_like(a)
    _run("first", shape, a, w=weights, g=g, out_a=slope)
    return slope


def product_slopes(a: Tensor, weights: Tensor, g: Tensor, shape: PowerShape) -> tuple[Tensor, Tensor]:
    """:func:`product_slope`, and rows whose sum is the derivative with respect to ``weights``."""
    slope, parts = torch.empty_like(a), a.new_empty(CHUNKS, shape.num_weights)
    _run("first_with_weights", shape, a, w=weights, g=g, out_a=slope, out_w=parts)
    return slope, parts


def product_second(
    a: Tensor, weights: Tensor, g: Tensor, t: Tensor, shape: PowerShape
) -> tuple[Tensor, Tensor, Tensor]:
    """From the cotangent ``t`` of :func:`product_slope` to those of ``a`` and ``g``, and rows that add up to that of weights."""
    out_a, out_g, parts = torch.empty_like(a), torch.empty_like(g), a.new_empty(CHUNKS, shape.num_weights)
    _run("second", shape, a, w=weights, g=g, t=t, out_a=out_a, out_g=out_g, out_w=parts)
    return out_a, out_g, parts


class _Powers(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, w, shape):
        ctx.save_for_backward(a, w)
        ctx.shape = shape
        return multiplied(a, w, shape)

    @staticmethod
    def backward(ctx, g):
        a, w = ctx.saved_tensors
        ga, gw = _Gradient.apply(a, w, g, ctx.shape, ctx.needs_input_grad[1] and not weights_are_fixed())
        return ga, gw, None


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a, w, g, shape, with_weights):
        g = g.contiguous()
        ctx.save_for_backward(a, w, g)
        ctx.shape = shape
        ctx.set_materialize_grads(False)
        if not with_weights:
            return product_slope(a, w, g, shape), None
        ga, gw = product_slopes(a, w, g, shape)
        return ga, gw.sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, ta, tw):
        if tw is not None:
            raise NotImplementedError(
                "second derivatives through the derivative with respect to path weights"
            )
        a, w, g = ctx.saved_tensors
        if ta is None:
            return None, None, None, None, None
        out_a, out_g, out_w = product_second(a, w, g, ta.contiguous(), ctx.shape)
        return out_a, out_w.sum(0), out_g, None, None


_TENSORS = ("w", "g", "t", "out_a", "out_g", "out_w")


def _run(name: str, shape: PowerShape, a: Tensor, **tensors: Tensor) -> None:
    kernels = _library(shape, _REAL[a.dtype])
    assert kernels is not None
    places = [tensors[k].data_ptr() if k in tensors else None for k in _TENSORS]
    arguments = (len(a), a.data_ptr(), *places, torch.get_num_threads())
    reads = [a, *(t for k, t in tensors.items() if not k.startswith("out"))]
    call(getattr(kernels, name), arguments, reads, [t for k, t in tensors.items() if k.startswith("out")])
