"""The convolution over edges on a GPU: operations that autograd, tracing and ``torch.compile`` know, twice differentiable.

Legend: ``N`` nodes, ``E`` edges, ``M`` = (lmax+1)^2, ``K`` channels of both classes, ``C`` natural channels, ``P`` radial
weights of an edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from atomfield.models.fused.edges import EdgeList
from atomfield.models.fused.mode import innermost
from atomfield.models.fused.programs import Shape
from atomfield.models.fused.source import KERNELS, Kernel

from .convolution_source import parts_of, source
from .text import module_of, on_device_of, runs_on

_TILE = 128
"""Edges times channels of a tile."""


def convolution_available(x: Tensor) -> bool:
    """Whether these kernels serve features like ``x``."""
    return x.dtype in (torch.float32, torch.float64) and runs_on(x)


def convolved_on_gpu(
    x: Tensor, w_EP: Tensor, direction_E3: Tensor, edges: EdgeList, shape: Shape, *, fixed: bool = False
) -> Tensor:
    """``[N, M, K]`` (``[N, M, C]`` with ``scalars_only``): the sum over the edges of each receiver.

    x: ``[N, M, K]`` (``[N, C]``). w_EP: as :attr:`Shape.num_weights`. direction_E3: unit vectors. fixed: node features follow
    from weights alone, so that a pass that wants forces only leaves their derivatives out.
    """
    near, far = edges.by_receiver, edges.by_sender
    return _convolve(
        x.contiguous(), w_EP.contiguous(), direction_E3.contiguous(), near.start, near.order, near.other,
        far.start, far.order, far.other, _numbers(shape), fixed,
    )  # fmt: skip


def _numbers(shape: Shape) -> list[int]:
    return [shape.lmax, shape.channels, shape.unnatural, int(shape.scalars_only)]


@lru_cache(maxsize=64)
def _shape(lmax: int, channels: int, unnatural: int, scalars_only: int) -> Shape:
    return Shape(lmax, channels, unnatural, bool(scalars_only), 0, 0)


@lru_cache(maxsize=64)
def _module(shape: Shape) -> ModuleType:
    return module_of(source(shape))


_KERNELS = {kernel.name: kernel for kernel in KERNELS}


def _run(shape: Shape, name: str, order: Sequence[Tensor], **given: Tensor) -> None:
    """``order``: start, order and far ends of the edges of each node."""
    kernel: Kernel = _KERNELS[name]
    count = len(order[0]) - 1
    if not count:
        return
    module, unused = _module(shape), given["d"]
    for number, part in enumerate(parts_of(shape)):
        tensors = dict(given)
        if kernel.edge_outputs:
            tensors["out_d"] = given["out_d"][number]
        named = ("x", "g", "w", "d", "ax", "aw", "ad", "out_node", "out_w", "out_d")
        with on_device_of(unused):
            getattr(module, f"{name}_{part.name}")[(count,)](
                *order,
                *(tensors.get(n, unused) for n in named),
                BLOCK=max(1, _TILE // part.lanes),
                num_warps=4,
            )


def _out(x: Tensor, starts: Tensor, shape: Shape) -> Tensor:
    return x.new_empty(starts.shape[0] - 1, shape.components, shape.width)


# ---------------------------------------------------------------------- the sum over edges
@torch.library.custom_op("atomfield::convolve", mutates_args=())
def _convolve(
    x: Tensor, w: Tensor, d: Tensor, near_start: Tensor, near_order: Tensor, near_other: Tensor,
    far_start: Tensor, far_order: Tensor, far_other: Tensor, shape: list[int], fixed: bool,
) -> Tensor:  # fmt: skip
    known = _shape(*shape)
    out = _out(x, near_start, known)
    _run(known, "forward", (near_start, near_order, near_other), x=x, w=w, d=d, out_node=out)
    return out


@_convolve.register_fake
def _(x, w, d, near_start, near_order, near_other, far_start, far_order, far_other, shape, fixed):
    return _out(x, near_start, _shape(*shape))


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.shape, ctx.fixed = inputs
    ctx.within = innermost()
    ctx.save_for_backward(*tensors)


def _convolve_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    x, w, d, *orders = ctx.saved_tensors
    wanted = ctx.needs_input_grad
    nodes = wanted[0] and not (ctx.fixed and ctx.within is not None and ctx.within.now)
    gx, gw, gd = _slopes(x, w, d, g.contiguous(), *orders, ctx.shape, nodes, wanted[1] or wanted[2])
    return gx if nodes else None, gw if wanted[1] else None, gd if wanted[2] else None, *[None] * 8


_convolve.register_autograd(_convolve_backward, setup_context=_keep)


# ---------------------------------------------------------------------- its derivatives
@torch.library.custom_op("atomfield::convolve_slopes", mutates_args=())
def _slopes(
    x: Tensor, w: Tensor, d: Tensor, g: Tensor, near_start: Tensor, near_order: Tensor, near_other: Tensor,
    far_start: Tensor, far_order: Tensor, far_other: Tensor, shape: list[int], nodes: bool, on_edges: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Of ``<g, convolved>`` with respect to x, w and d; empty where they were not asked for."""
    known = _shape(*shape)
    gx, gw, gd = (
        torch.empty_like(t) if on else t.new_empty(0) for t, on in ((x, nodes), (w, on_edges), (d, on_edges))
    )
    if on_edges:
        parts = d.new_empty(len(parts_of(known)), *d.shape)
        order = (near_start, near_order, near_other)
        _run(known, "first_by_receiver", order, x=x, w=w, d=d, g=g, out_w=gw, out_d=parts)
        torch.sum(parts, 0, out=gd)
    if nodes:
        _run(known, "first_by_sender", (far_start, far_order, far_other), x=x, w=w, d=d, g=g, out_node=gx)
    return gx, gw, gd


@_slopes.register_fake
def _(
    x, w, d, g, near_start, near_order, near_other, far_start, far_order, far_other, shape, nodes, on_edges
):
    return tuple(
        torch.empty_like(t) if on else t.new_empty(0) for t, on in ((x, nodes), (w, on_edges), (d, on_edges))
    )


def _keep_slopes(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *tensors, ctx.shape, ctx.nodes, ctx.on_edges = inputs
    ctx.save_for_backward(*tensors)


def _slopes_backward(ctx: Any, ax: Tensor, aw: Tensor, ad: Tensor) -> tuple[Any, ...]:
    x, w, d, g, *orders = ctx.saved_tensors
    ax = ax.contiguous() if ctx.nodes else torch.zeros_like(x)
    aw = aw.contiguous() if ctx.on_edges else torch.zeros_like(w)
    ad = ad.contiguous() if ctx.on_edges else torch.zeros_like(d)
    return *_second(x, w, d, g, ax, aw, ad, *orders, ctx.shape), *[None] * 9


_slopes.register_autograd(_slopes_backward, setup_context=_keep_slopes)


# ---------------------------------------------------------------------- derivatives of these
@torch.library.custom_op("atomfield::convolve_second", mutates_args=())
def _second(
    x: Tensor, w: Tensor, d: Tensor, g: Tensor, ax: Tensor, aw: Tensor, ad: Tensor,
    near_start: Tensor, near_order: Tensor, near_other: Tensor,
    far_start: Tensor, far_order: Tensor, far_other: Tensor, shape: list[int],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """From cotangents of :func:`_slopes` to those of x, w, d and g."""
    known = _shape(*shape)
    tx, tw, td, tg = (torch.empty_like(t) for t in (x, w, d, g))
    given = {"x": x, "w": w, "d": d, "g": g, "ax": ax, "aw": aw, "ad": ad}
    parts = d.new_empty(len(parts_of(known)), *d.shape)
    order = (near_start, near_order, near_other)
    _run(known, "second_by_receiver", order, **given, out_node=tg, out_w=tw, out_d=parts)
    _run(known, "second_by_sender", (far_start, far_order, far_other), **given, out_node=tx)
    torch.sum(parts, 0, out=td)
    return tx, tw, td, tg


@_second.register_fake
def _(x, w, d, g, ax, aw, ad, near_start, near_order, near_other, far_start, far_order, far_other, shape):
    return tuple(torch.empty_like(t) for t in (x, w, d, g))
