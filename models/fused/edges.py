"""The convolution over all edges as one differentiable operation, twice differentiable.

Legend: ``N`` nodes, ``E`` edges, ``M`` = (lmax+1)^2, ``K`` channels of both classes, ``C`` natural channels, ``P`` radial
weights of an edge.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atomfield.data.graph_batch import GraphBatch

from .library import compiled
from .mode import weights_are_fixed
from .order import grouped
from .programs import Shape
from .source import KERNELS, OUTPUTS, TENSORS, source
from .tape import call, constant

_REAL = {torch.float32: "float", torch.float64: "double"}
_ARGUMENTS = (*TENSORS, *OUTPUTS)
_MOST_CHUNKS = 64
"""Parts that threads share; each keeps sums of its own for the weights."""


@lru_cache(maxsize=64)
def _library(shape: Shape, real: str) -> ctypes.CDLL | None:
    arguments = (ctypes.c_int64, *[ctypes.c_void_p] * (5 + len(TENSORS) + len(OUTPUTS)), ctypes.c_int)
    return compiled(lambda: source(shape, real), {kernel.name: arguments for kernel in KERNELS})


def available(x: Tensor, shape: Shape) -> bool:
    """Whether there are kernels for this tensor: on a CPU, in float32 or float64, where a compiler was found."""
    return x.device.type == "cpu" and x.dtype in _REAL and _library(shape, _REAL[x.dtype]) is not None


@dataclass(frozen=True)
class Order:
    """Edges grouped by one end: ``order[start[n]:start[n + 1]]`` are those of node n; ``own`` and ``other [E]`` are that end of
    each and the far one."""

    start: Tensor
    order: Tensor
    own: Tensor
    other: Tensor
    bounds: Tensor
    """Nodes ``bounds[k]`` to ``bounds[k + 1]`` are chunk k; chunks have about as many edges each."""

    @cached_property
    def addresses(self) -> tuple[int, ...]:
        """Of bounds, start, order, own and other."""
        return tuple(t.data_ptr() for t in (self.bounds, self.start, self.order, self.own, self.other))

    @property
    def num_chunks(self) -> int:
        return len(self.bounds) - 1


@dataclass(frozen=True)
class EdgeList:
    """Senders and receivers ``[E]`` int64 of ``num_nodes`` nodes, with the orders that the kernels walk in."""

    sender_E: Tensor
    receiver_E: Tensor
    num_nodes: int

    @staticmethod
    def of(batch: GraphBatch) -> EdgeList:
        """Of ``batch``, which keeps it."""
        found = batch.derived.get("edges")
        if found is None:
            found = EdgeList(batch.edge_index[0], batch.edge_index[1], batch.num_nodes)
            batch.derived["edges"] = found
        return found

    @cached_property
    def by_receiver(self) -> Order:
        return _grouped(self.receiver_E, self.sender_E, self.num_nodes)

    @cached_property
    def by_sender(self) -> Order:
        return _grouped(self.sender_E, self.receiver_E, self.num_nodes)


def _grouped(near: Tensor, far: Tensor, num_nodes: int) -> Order:
    start, order, bounds = grouped(near, far, num_nodes, max(1, min(_MOST_CHUNKS, num_nodes // 8)))
    return Order(start, order, near.contiguous(), far.contiguous(), bounds)


class Radial(NamedTuple):
    """What the radial weights of edges are made of: ``silu(sender[j] + receiver[i] + basis W1) envelope W2``. The letters at the
    end of the names are the shapes; all is in one precision."""

    sender_NH: Tensor
    receiver_NH: Tensor
    basis_EB: Tensor
    envelope_E: Tensor
    first_BH: Tensor
    second_HP: Tensor
    """``[H, P]``, see :attr:`Shape.num_weights`."""


def convolve(
    x: Tensor, radial: Radial, direction_E3: Tensor, edges: EdgeList, shape: Shape, *, fixed: bool = False
) -> Tensor:
    """``[N, M, K]`` (``[N, M, C]`` with ``scalars_only``): the sum over the edges of each receiver.

    x: ``[N, M, K]`` (``[N, C]``). direction_E3: unit vectors. fixed: node features follow from weights alone, so that a pass that
    wants forces only leaves their derivatives out.
    """
    tensors = [x, *radial, direction_E3]
    return _Convolution.apply(*[t.contiguous() for t in tensors], edges, shape, fixed)


class Slopes(NamedTuple):
    """Derivatives of a convolution, each shaped as what it is with respect to; None where it was not asked for. Those of weights
    have one row for each chunk of nodes, whose sum is the derivative."""

    x: Tensor | None
    sender: Tensor | None
    receiver: Tensor | None
    basis: Tensor | None
    envelope: Tensor | None
    first_parts: Tensor | None
    second_parts: Tensor | None
    direction: Tensor | None


def convolved(x: Tensor, radial: Radial, direction_E3: Tensor, edges: EdgeList, shape: Shape) -> Tensor:
    """:func:`convolve` of contiguous tensors, unknown to autograd."""
    out = x.new_empty(edges.num_nodes, shape.components, shape.width)
    _Given(edges, shape, x, *radial, direction_E3).run("forward", out_node=out)
    return out


def convolution_slopes(
    x: Tensor, radial: Radial, direction_E3: Tensor, g: Tensor, edges: EdgeList, shape: Shape, *,
    nodes: bool, on_edges: bool = True, weights: bool = False,
) -> Slopes:  # fmt: skip
    """Derivatives of ``<g, convolved>`` of contiguous tensors, unknown to autograd.

    nodes: with respect to ``x`` and the senders' part. on_edges: to all that belongs to edges and to the receivers' part, which
    ``nodes`` needs too where senders count. weights: to the radial weights, with ``on_edges``.
    """
    given = _Given(edges, shape, x, *radial, direction_E3, g=g)
    gx = gs = gr = gb = ge = gd = gw1 = gw2 = pre = None
    if on_edges:
        pre = x.new_empty(len(radial.envelope_E), shape.hidden)
        gr, gb, ge, gd = (
            torch.empty_like(t)
            for t in (radial.receiver_NH, radial.basis_EB, radial.envelope_E, direction_E3)
        )
        gw1, gw2 = given.weight_sums(weights)
        given.run(
            "first_by_receiver", pre=pre, out_near=gr, out_basis=gb, out_envelope=ge, out_d=gd, out_W1=gw1, out_W2=gw2
        )  # fmt: skip
    if nodes:
        gx = torch.empty_like(x)
        gs = torch.empty_like(radial.sender_NH) if pre is not None else None
        given.run("first_by_sender", pre=pre, out_node=gx, out_near=gs)
    return Slopes(gx, gs, gr, gb, ge, gw1, gw2, gd)


class Seconds(NamedTuple):
    """Derivatives of what :func:`convolution_slopes` gave, each shaped as what it is with respect to; ``g`` is the cotangent of
    the convolution. Those of weights have one row for each chunk of nodes."""

    x: Tensor
    sender: Tensor
    receiver: Tensor
    basis: Tensor
    envelope: Tensor
    direction: Tensor
    g: Tensor
    first_parts: Tensor | None
    second_parts: Tensor | None


def convolution_second(
    x: Tensor, radial: Radial, direction_E3: Tensor, g: Tensor, cotangents: Slopes, edges: EdgeList, shape: Shape, *,
    weights: bool,
) -> Seconds:  # fmt: skip
    """From ``cotangents`` of :func:`convolution_slopes` (None: zero; those of weights are not followed); contiguous tensors,
    unknown to autograd. ``weights``: with derivatives with respect to the radial weights."""

    def filled(value: Tensor | None, like: Tensor) -> Tensor:
        return torch.zeros_like(like) if value is None else value.contiguous()

    given = _Given(
        edges, shape, x, *radial, direction_E3, g=g, ax=filled(cotangents.x, x),
        asender=filled(cotangents.sender, radial.sender_NH), areceiver=filled(cotangents.receiver, radial.receiver_NH),
        abasis=filled(cotangents.basis, radial.basis_EB), aenvelope=filled(cotangents.envelope, radial.envelope_E),
        ad=filled(cotangents.direction, direction_E3),
    )  # fmt: skip
    pre = x.new_empty(len(radial.envelope_E), shape.hidden)
    alike = (x, radial.sender_NH, radial.receiver_NH, radial.basis_EB, radial.envelope_E, direction_E3, g)
    tx, ts, tr, tb, te, td, tg = (torch.empty_like(t) for t in alike)
    tw1, tw2 = given.weight_sums(weights)
    given.run(
        "second_by_receiver", pre=pre, out_node=tg, out_near=tr, out_basis=tb, out_envelope=te, out_d=td,
        out_W1=tw1, out_W2=tw2,
    )  # fmt: skip
    given.run("second_by_sender", pre=pre, out_node=tx, out_near=ts)
    return Seconds(tx, ts, tr, tb, te, td, tg, tw1, tw2)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, sender, receiver, basis, envelope, w1, w2, d, edges, shape, fixed):
        ctx.save_for_backward(x, sender, receiver, basis, envelope, w1, w2, d)
        ctx.edges, ctx.shape, ctx.fixed = edges, shape, fixed
        return convolved(x, Radial(sender, receiver, basis, envelope, w1, w2), d, edges, shape)

    @staticmethod
    def backward(ctx, g):
        wanted = ctx.needs_input_grad
        weights = (wanted[5] or wanted[6]) and not weights_are_fixed()
        nodes = any(wanted[:3]) and not (ctx.fixed and weights_are_fixed())
        edges = any(wanted[i] for i in (1, 2, 3, 4, 7)) or weights
        found = _Gradient.apply(*ctx.saved_tensors, g, ctx.edges, ctx.shape, (nodes, edges, weights))
        return *found, None, None, None


class _Gradient(torch.autograd.Function):
    """Derivatives of ``<g, out>`` with respect to the eight tensors."""

    @staticmethod
    def forward(ctx, x, sender, receiver, basis, envelope, w1, w2, d, g, edges, shape, wanted):
        g = g.contiguous()
        ctx.save_for_backward(x, sender, receiver, basis, envelope, w1, w2, d, g)
        ctx.edges, ctx.shape = edges, shape
        ctx.set_materialize_grads(False)
        nodes, on_edges, weights = wanted
        found = convolution_slopes(
            x, Radial(sender, receiver, basis, envelope, w1, w2), d, g, edges, shape,
            nodes=nodes, on_edges=on_edges, weights=weights,
        )  # fmt: skip
        return (
            found.x, found.sender, found.receiver, found.basis, found.envelope, _total(found.first_parts),
            _total(found.second_parts), found.direction,
        )  # fmt: skip

    @staticmethod
    @once_differentiable
    def backward(ctx, ax, asender, areceiver, abasis, aenvelope, aw1, aw2, ad):
        if aw1 is not None or aw2 is not None:
            raise NotImplementedError(
                "second derivatives through the derivative with respect to radial weights"
            )
        x, sender, receiver, basis, envelope, w1, w2, d, g = ctx.saved_tensors
        found = convolution_second(
            x, Radial(sender, receiver, basis, envelope, w1, w2), d, g,
            Slopes(ax, asender, areceiver, abasis, aenvelope, None, None, ad), ctx.edges, ctx.shape,
            weights=ctx.needs_input_grad[5] or ctx.needs_input_grad[6],
        )  # fmt: skip
        return (
            found.x, found.sender, found.receiver, found.basis, found.envelope, _total(found.first_parts),
            _total(found.second_parts), found.direction, found.g, None, None, None,
        )  # fmt: skip


def _total(parts: Tensor | None) -> Tensor | None:
    return None if parts is None else parts.sum(0)


class _Given:
    """The inputs of the kernels, and calls of them."""

    def __init__(
        self, edges: EdgeList, shape: Shape, x, sender, receiver, basis, envelope, w1, w2, d, *,
        g=None, ax=None, asender=None, areceiver=None, abasis=None, aenvelope=None, ad=None,
    ):  # fmt: skip
        self.edges, self.shape, self.x = edges, shape, x
        self.sides = {
            True: (receiver, sender, areceiver, asender),
            False: (sender, receiver, asender, areceiver),
        }
        self.tensors = {
            "x": x, "g": g, "basis": basis, "envelope": envelope, "d": d, "W1": w1, "W2": w2,
            "W2T": None if g is None else w2.T.contiguous(), "ax": ax, "abasis": abasis, "aenvelope": aenvelope, "ad": ad,
        }  # fmt: skip
        if g is not None:
            constant(self.tensors["W2T"])  # weights are
        kernels = _library(shape, _REAL[x.dtype])
        assert kernels is not None
        self.kernels = kernels

    def weight_sums(self, wanted: bool) -> tuple[Tensor | None, Tensor | None]:
        """One row for each chunk of nodes."""
        if not wanted:
            return None, None
        chunks, shape = self.edges.by_receiver.num_chunks, self.shape
        return (
            self.x.new_empty(chunks, shape.num_bases, shape.hidden),
            self.x.new_empty(chunks, shape.hidden, shape.num_weights),
        )

    def run(self, name: str, **outputs: Tensor | None) -> None:
        by_receiver = name == "forward" or name.endswith("receiver")
        order = self.edges.by_receiver if by_receiver else self.edges.by_sender
        known = self.tensors | outputs
        known["near"], known["far"], known["anear"], known["afar"] = self.sides[by_receiver]
        tensors = [known.get(n) for n in _ARGUMENTS]
        places = [None if t is None else t.data_ptr() for t in tensors]
        arguments = (order.num_chunks, *order.addresses, *places, torch.get_num_threads())
        # the kernel by sender reads what the one by receiver wrote
        pre = [] if by_receiver else [outputs.get("pre")]
        call(getattr(self.kernels, name), arguments, [*tensors[: len(TENSORS)], *pre], list(outputs.values()))
