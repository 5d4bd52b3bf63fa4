"""Edges in the order of one of their ends, by counting."""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor

from .library import compiled

_SOURCE = """#include <stdint.h>
#include <string.h>

/* a stable counting sort of edges by one end, and chunks of nodes with about as many edges each; 1 where an edge names a node
   that is not there */
int grouped(int64_t edges, int64_t nodes, int64_t chunks, const int64_t *restrict near, const int64_t *restrict far,
            int64_t *restrict start, int64_t *restrict order, int64_t *restrict bounds) {
    memset(start, 0, (nodes + 1) * sizeof(int64_t));
    for (int64_t e = 0; e < edges; e++) {
        if (near[e] < 0 || near[e] >= nodes || far[e] < 0 || far[e] >= nodes) return 1;
        start[near[e] + 1]++;
    }
    for (int64_t n = 0; n < nodes; n++) start[n + 1] += start[n];
    for (int64_t e = 0; e < edges; e++) order[start[near[e]]++] = e;
    for (int64_t n = nodes; n > 0; n--) start[n] = start[n - 1];
    start[0] = 0;
    int64_t n = 0;
    for (int64_t k = 1; k < chunks; k++) {
        while (n < nodes && start[n + 1] <= k * (edges / chunks)) n++;
        bounds[k] = n;
    }
    bounds[0] = 0;
    bounds[chunks] = nodes;
    return 0;
}
"""


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    count, place = ctypes.c_int64, ctypes.c_void_p
    library = compiled(lambda: _SOURCE, {"grouped": (count, count, count, *[place] * 5)})
    if library is not None:
        library.grouped.restype = ctypes.c_int
    return library


def prepare_order() -> None:
    """Compile what :func:`grouped` uses, where it can be."""
    _library()


def grouped(near: Tensor, far: Tensor, num_nodes: int, chunks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Edges by their ``near`` end: ``order[start[n]:start[n + 1]]`` are those of node n, in their own order, and nodes
    ``bounds[k]`` to ``bounds[k + 1]`` are chunk k of ``chunks`` with about as many edges each; int64.

    Kernels trust these numbers, so ends are checked: raises ``IndexError`` where an edge names a node that is not there.
    """
    missing = IndexError(f"an edge names a node outside 0 to {num_nodes - 1}")
    library = _library() if near.device.type == "cpu" else None
    if library is not None:
        near, far = near.contiguous(), far.contiguous()
        start, order, bounds = (near.new_empty(size) for size in (num_nodes + 1, len(near), chunks + 1))
        places = [t.data_ptr() for t in (near, far, start, order, bounds)]
        if library.grouped(len(near), num_nodes, chunks, *places):
            raise missing
        return start, order, bounds
    if near.is_cuda:
        return _grouped_on_gpu(near, far, num_nodes, missing)
    ends = torch.stack([near, far])
    if near.numel() and (int(ends.min()) < 0 or int(ends.max()) >= num_nodes):
        raise missing
    start = torch.zeros(num_nodes + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(near, minlength=num_nodes), 0, out=start[1:])
    targets = torch.arange(1, chunks) * (near.numel() // chunks)
    inner = torch.searchsorted(start, targets, right=True) - 1
    bounds = torch.cat([inner.new_zeros(1), inner, inner.new_full((1,), num_nodes)])
    return start, torch.argsort(near, stable=True), bounds


def _grouped_on_gpu(
    near: Tensor, far: Tensor, num_nodes: int, missing: IndexError
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`grouped` in one chunk, without waiting for the GPU where its work is being recorded."""
    if near.numel() and not torch.cuda.is_current_stream_capturing():
        lowest, highest = torch.stack([near, far]).aminmax()
        if bool((lowest < 0) | (highest >= num_nodes)):
            raise missing
    ordered, order = torch.sort(near, stable=True)
    start = torch.searchsorted(ordered, torch.arange(num_nodes + 1, device=near.device))
    return start, order, torch.tensor([0, num_nodes])
