"""Products at nodes on a GPU: operations that autograd, tracing and ``torch.compile`` know, twice differentiable.

Legend: ``N`` nodes, ``M`` components, ``K`` channels of both classes.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from atomfield.models.fused.mode import innermost
from atomfield.models.fused.powers import PowerShape, paths

from .products_source import lanes_of, source
from .text import module_of, on_device_of, runs_on

_TILE = 128
"""Nodes times channels of a tile."""
_LARGEST = 400
"""Terms of the products beyond which compiling takes minutes."""


@lru_cache(maxsize=64)
def _module(shape: PowerShape) -> ModuleType:
    return module_of(source(shape))


def products_available(a: Tensor, shape: PowerShape) -> bool:
    """Whether these kernels serve features like ``a``."""
    return a.dtype in (torch.float32, torch.float64) and terms(shape) <= _LARGEST and runs_on(a)


@lru_cache(maxsize=64)
def terms(shape: PowerShape) -> int:
    """How long the products are."""
    own = sum(len(p.terms) for both, _, _ in shape.groups for p in paths(shape.lmax, both))
    return own * (shape.correlation - 1)


def powers_on_gpu(a: Tensor, weights: Tensor, shape: PowerShape) -> Tensor:
    """``[correlation - 1, N, M, K]``: P2(a, a) and P(P2, a) of ``a [N, M, K]``; ``weights`` as :attr:`PowerShape.num_weights`."""
    numbers = [shape.lmax, shape.channels, shape.unnatural, shape.correlation]
    return _powers(a.contiguous(), weights.contiguous(), numbers)


def _tile(shape: PowerShape) -> int:
    """Nodes of a program: alike for all groups, whose rows of sums stand side by side."""
    return max(1, _TILE // max(lanes_of(start, stop) for _, start, stop in shape.groups))


def _run(numbers: list[int], name: str, a: Tensor, w: Tensor, **given: Tensor) -> None:
    shape, count = PowerShape(*numbers), a.shape[0]
    if not count:
        return
    module, block = _module(shape), _tile(shape)
    tensors = [given.get(n, a) for n in ("g", "t", "out_a", "out_g", "out_w")]
    for group in range(len(shape.groups)):
        with on_device_of(a):
            getattr(module, f"{name}_{group}")[(-(-count // block),)](
                a, w, *tensors, count, BLOCK=block, num_warps=4
            )


def _rows(a: Tensor, shape: PowerShape) -> Tensor:
    return a.new_empty(-(-a.shape[0] // _tile(shape)), shape.num_weights)


@torch.library.custom_op("atomfield::powers", mutates_args=())
def _powers(a: Tensor, w: Tensor, shape: list[int]) -> Tensor:
    out = a.new_empty(shape[3] - 1, *a.shape)
    _run(shape, "forward", a, w, out_g=out)
    return out


@_powers.register_fake
def _(a, w, shape):
    return a.new_empty(shape[3] - 1, *a.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    a, w, ctx.shape = inputs
    ctx.within = innermost()
    ctx.save_for_backward(a, w)


def _powers_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    a, w = ctx.saved_tensors
    weights = ctx.needs_input_grad[1] and not (ctx.within is not None and ctx.within.now)
    ga, gw = _slopes(a, w, g.contiguous(), ctx.shape, weights)
    return ga, gw if weights else None, None


_powers.register_autograd(_powers_backward, setup_context=_keep)


@torch.library.custom_op("atomfield::powers_slopes", mutates_args=())
def _slopes(a: Tensor, w: Tensor, g: Tensor, shape: list[int], weights: bool) -> tuple[Tensor, Tensor]:
    """Of ``<g, powers>`` with respect to a and, where asked for, to w."""
    out = torch.empty_like(a)
    if not weights:
        _run(shape, "first", a, w, g=g, out_a=out)
        return out, w.new_empty(0)
    rows = _rows(a, PowerShape(*shape))
    _run(shape, "first_with_weights", a, w, g=g, out_a=out, out_w=rows)
    return out, rows.sum(0)


@_slopes.register_fake
def _(a, w, g, shape, weights):
    return torch.empty_like(a), torch.empty_like(w) if weights else w.new_empty(0)


def _keep_slopes(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    a, w, g, ctx.shape, ctx.weights = inputs
    ctx.save_for_backward(a, w, g)


def _slopes_backward(ctx: Any, ta: Tensor, tw: Tensor) -> tuple[Any, ...]:
    if ctx.weights:
        raise NotImplementedError("second derivatives through the derivative with respect to path weights")
    a, w, g = ctx.saved_tensors
    out_a, out_w, out_g = _second(a, w, g, ta.contiguous(), ctx.shape)
    return out_a, out_w, out_g, None, None


_slopes.register_autograd(_slopes_backward, setup_context=_keep_slopes)


@torch.library.custom_op("atomfield::powers_second", mutates_args=())
def _second(a: Tensor, w: Tensor, g: Tensor, t: Tensor, shape: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """From the cotangent ``t`` of the derivative with respect to a, to those of a, w and g."""
    out_a, out_g, rows = torch.empty_like(a), torch.empty_like(g), _rows(a, PowerShape(*shape))
    _run(shape, "second", a, w, g=g, t=t, out_a=out_a, out_g=out_g, out_w=rows)
    return out_a, rows.sum(0), out_g


@_second.register_fake
def _(a, w, g, t, shape):
    return torch.empty_like(a), torch.empty_like(w), torch.empty_like(g)
