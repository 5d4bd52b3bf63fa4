"""The convolution over all edges as one differentiable operation, twice differentiable.

Legend: ``N`` nodes, ``E`` edges, ``M`` = (lmax+1)^2, ``K`` channels of both classes, ``C`` natural channels, ``P`` radial
weights of an edge.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .library import compiled
from .programs import Shape
from .source import KERNELS, source

_REAL = {torch.float32: "float", torch.float64: "double"}


@lru_cache(maxsize=64)
def _library(shape: Shape, real: str) -> ctypes.CDLL | None:
    arguments = (ctypes.c_int64, *[ctypes.c_void_p] * 13, ctypes.c_int)
    return compiled(lambda: source(shape, real), {kernel.name: arguments for kernel in KERNELS})


def available(x: Tensor, shape: Shape) -> bool:
    """Whether there are kernels for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
    return x.device.type == "cpu" and x.dtype in _REAL and _library(shape, _REAL[x.dtype]) is not None


@dataclass(frozen=True)
class _Order:
    """Edges grouped by one end: ``order[start[n]:start[n + 1]]`` are those of node n; ``other [E]`` is the far end of each."""

    start: Tensor
    order: Tensor
    other: Tensor


@dataclass(frozen=True)
class EdgeList:
    """Senders and receivers ``[E]`` int64 of ``num_nodes`` nodes, with the orders that the kernels walk in."""

    sender_E: Tensor
    receiver_E: Tensor
    num_nodes: int

    @cached_property
    def by_receiver(self) -> _Order:
        return _grouped(self.receiver_E, self.sender_E, self.num_nodes)

    @cached_property
    def by_sender(self) -> _Order:
        return _grouped(self.sender_E, self.receiver_E, self.num_nodes)


def _grouped(near: Tensor, far: Tensor, num_nodes: int) -> _Order:
    """The kernels trust these numbers, so they are checked here."""
    ends = torch.stack([near, far])
    if near.numel() and (int(ends.min()) < 0 or int(ends.max()) >= num_nodes):
        raise IndexError(f"an edge names a node outside 0 to {num_nodes - 1}")
    start = torch.zeros(num_nodes + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(near, minlength=num_nodes), 0, out=start[1:])
    return _Order(start, torch.argsort(near, stable=True), far.contiguous())


def convolve(x: Tensor, weights_EP: Tensor, direction_E3: Tensor, edges: EdgeList, shape: Shape) -> Tensor:
    """``[N, M, K]`` (``[N, M, C]`` with ``scalars_only``): the sum over the edges of each receiver.

    x: ``[N, M, K]`` (``[N, C]``). weights_EP: see :attr:`Shape.num_weights`. direction_E3: unit vectors.
    """
    return _Convolution.apply(
        x.contiguous(), weights_EP.contiguous(), direction_E3.contiguous(), edges, shape
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w, d, edges, shape):
        ctx.save_for_backward(x, w, d)
        ctx.edges, ctx.shape = edges, shape
        out = x.new_empty(edges.num_nodes, shape.components, shape.width)
        _run("forward", shape, edges.by_receiver, x=x, w=w, d=d, out_node=out)
        return out

    @staticmethod
    def backward(ctx, g):
        x, w, d = ctx.saved_tensors
        return *_Gradient.apply(x, w, d, g, ctx.edges, ctx.shape, ctx.needs_input_grad[:3]), None, None


class _Gradient(torch.autograd.Function):
    """Derivatives of ``<g, out>`` with respect to x, w and d."""

    @staticmethod
    def forward(ctx, x, w, d, g, edges, shape, needs):
        g = g.contiguous()
        ctx.save_for_backward(x, w, d, g)
        ctx.edges, ctx.shape = edges, shape
        ctx.set_materialize_grads(False)
        gx = gw = gd = None
        if needs[0]:
            gx = torch.empty_like(x)
            _run("first_by_sender", shape, edges.by_sender, x=x, g=g, w=w, d=d, out_node=gx)
        if needs[1] or needs[2]:
            gw, gd = torch.empty_like(w), torch.empty_like(d)
            _run("first_by_receiver", shape, edges.by_receiver, x=x, g=g, w=w, d=d, out_w=gw, out_d=gd)
        return gx, gw, gd

    @staticmethod
    @once_differentiable
    def backward(ctx, ax, aw, ad):
        x, w, d, g = ctx.saved_tensors
        ax = torch.zeros_like(x) if ax is None else ax.contiguous()
        aw = torch.zeros_like(w) if aw is None else aw.contiguous()
        ad = torch.zeros_like(d) if ad is None else ad.contiguous()
        given = {"x": x, "g": g, "w": w, "d": d, "ax": ax, "aw": aw, "ad": ad}
        tx, tg, tw, td = torch.empty_like(x), torch.empty_like(g), torch.empty_like(w), torch.empty_like(d)
        edges = ctx.edges
        _run("second_by_receiver", ctx.shape, edges.by_receiver, **given, out_node=tg, out_w=tw, out_d=td)
        _run("second_by_sender", ctx.shape, edges.by_sender, **given, out_node=tx)
        return tx, tw, td, tg, None, None, None


_TENSORS = ("x", "g", "w", "d", "ax", "aw", "ad", "out_node", "out_w", "out_d")


def _run(name: str, shape: Shape, order: _Order, **tensors: Tensor) -> None:
    kernels = _library(shape, _REAL[tensors["w"].dtype])
    assert kernels is not None
    null = ctypes.c_void_p(None)
    places = [tensors[k].data_ptr() if k in tensors else null for k in _TENSORS]
    getattr(kernels, name)(
        len(order.start) - 1,
        order.start.data_ptr(),
        order.order.data_ptr(),
        order.other.data_ptr(),
        *places,
        torch.get_num_threads(),
    )
