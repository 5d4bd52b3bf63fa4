"""Rows of nodes at the ends of edges, and sums of edges over nodes, each the derivative of the other, on a GPU.

A sum walks over the edges of each node in one order, so that results have the same bits in every run; atomic additions, which
torch's own operations use here, would not.

Legend: ``N`` nodes, ``E`` edges.
"""

from __future__ import annotations

from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from atomfield.models.fused.edges import EdgeList

from .text import HEADER, kernel, module_of, on_device_of, runs_on

_TILE = 128
_MOST_LANES = 64


def rows_of(x: Tensor, index_E: Tensor, edges: EdgeList, *, senders: bool) -> Tensor:
    """``x[index]`` for ``x [N, ...]``; ``index``: the senders of ``edges``, or the receivers."""
    if not (runs_on(x) and x.dtype in (torch.float32, torch.float64)):
        return x[index_E]
    order = edges.by_sender if senders else edges.by_receiver
    return _take(x.flatten(1).contiguous(), index_E, order.start, order.order).view(-1, *x.shape[1:])


_ARGUMENTS = [
    "start",
    "order",
    "y",
    "out",
    "COLUMNS: tl.constexpr",
    "LANES: tl.constexpr",
    "BLOCK: tl.constexpr",
]
_BODY = [
    "n = tl.program_id(0).to(tl.int64)",
    "begin = tl.load(start + n)",
    "end = tl.load(start + n + 1)",
    "c = tl.program_id(1) * LANES + tl.arange(0, LANES)[None, :]",
    "total = tl.zeros([BLOCK, LANES], dtype=y.dtype.element_ty)",
    "for first in range(begin, end, BLOCK):",
    "    row = first + tl.arange(0, BLOCK)[:, None]",
    "    e = tl.load(order + row, mask=row < end, other=0)",
    "    total += tl.load(y + e * COLUMNS + c, mask=(row < end) & (c < COLUMNS), other=0.0)",
    "tl.store(out + n * COLUMNS + c, tl.sum(total, axis=0)[None, :], mask=c < COLUMNS)",
]


@lru_cache(maxsize=1)
def _module() -> ModuleType:
    return module_of(HEADER + kernel("sum_rows", _ARGUMENTS, _BODY))


@torch.library.custom_op("atomfield::take_rows", mutates_args=())
def _take(x: Tensor, index: Tensor, start: Tensor, order: Tensor) -> Tensor:
    return x.index_select(0, index)


@_take.register_fake
def _(x, index, start, order):
    return x.new_empty(index.shape[0], x.shape[1])


@torch.library.custom_op("atomfield::sum_rows", mutates_args=())
def _sum(y: Tensor, index: Tensor, start: Tensor, order: Tensor) -> Tensor:
    count, columns = start.shape[0] - 1, y.shape[1]
    out = y.new_empty(count, columns)
    lanes = min(_MOST_LANES, 1 << (columns - 1).bit_length())
    if count:
        grid = (count, -(-columns // lanes))
        with on_device_of(y):
            _module().sum_rows[grid](
                start, order, y, out, COLUMNS=columns, LANES=lanes, BLOCK=_TILE // lanes, num_warps=4
            )
    return out


@_sum.register_fake
def _(y, index, start, order):
    return y.new_empty(start.shape[0] - 1, y.shape[1])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[1:])


_take.register_autograd(
    lambda ctx, g: (_sum(g.contiguous(), *ctx.saved_tensors), None, None, None), setup_context=_keep
)
_sum.register_autograd(
    lambda ctx, g: (_take(g.contiguous(), *ctx.saved_tensors), None, None, None), setup_context=_keep
)
