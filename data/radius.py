"""All pairs closer than a cutoff, for one structure or for many in one call, under any mix of periodic directions.

On the CPU vesin's cell lists search one structure after the other, except that molecules of a batch are searched together,
each with all of its pairs: for those a call costs more than the search. On a GPU nothing leaves it: large structures go through
:mod:`.cell_lists`, and small crystals are searched together too, each pair with every lattice shift that can bring it within the
cutoff c: along axis k these lie in [-c/h_k - df_k, c/h_k - df_k], where h_k is the height of the cell over the axis and df_k the
difference of the fractional coordinates. That holds for any cell, however small or skewed, and for atoms outside of it. What is
found for a structure does not depend on what it is batched with.

Shapes: ``N`` nodes, ``G`` graphs, ``E`` edges. Lattice vectors are rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .cell_lists import cell_list_pairs, lattice, squared

PAIRS_ON_CPU, CANDIDATES_ON_GPU = 10_000, 100_000
"""A structure with more pairs (on a GPU: pairs times lattice shifts) goes to cell lists, whose time is linear in its size."""
CHUNK = 2_000_000
"""So many candidates are held in memory at a time (about 200 bytes each)."""
_SLACK = 1e-9


def radius_pairs(
    positions: Tensor, sizes: Tensor, cell: Tensor, pbc: Tensor, cutoff: float
) -> tuple[Tensor, Tensor]:
    """``index [2, E]`` (senders, receivers; int64) and ``shift [E, 3]`` (int64) of all pairs closer than ``cutoff``.

    positions ``[N, 3]`` of all structures one after the other, sizes ``[G]`` int64, cell ``[G, 3, 3]``, pbc ``[G, 3]``;
    lengths in one unit. Nodes are numbered through the batch. Sorted by receiver, then sender, then shift. On the device of
    ``positions``.
    """
    positions = positions.detach().to(torch.float64)
    flags = pbc.cpu().numpy().astype(bool)
    box = full_rank_cells(cell.detach().cpu().numpy(), flags)
    inverse = np.linalg.inv(box)
    reach = np.where(flags, cutoff * np.linalg.norm(inverse, axis=1), 0.0)
    counts = sizes.cpu().numpy().astype(np.int64)
    candidates = counts**2 * np.prod(2 * reach + 1, axis=1)
    together = _together(candidates, flags, positions.is_cuda)
    starts = np.cumsum(counts) - counts
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for chosen in _chunks(np.flatnonzero(together), candidates):
        nodes = np.repeat(starts[chosen] - np.cumsum(counts[chosen]) + counts[chosen], counts[chosen])
        numbers = torch.from_numpy(nodes + np.arange(len(nodes))).to(positions.device)
        tables = [torch.from_numpy(x[chosen]).to(positions.device) for x in (counts, box, inverse, reach)]
        sender, receiver, shift = _all_pairs(positions[numbers], tables, cutoff)
        parts.append((numbers[sender], numbers[receiver], shift))
    if not together.all():
        rest = np.flatnonzero(~together)
        parts.append(_cell_lists(positions, starts[rest], counts[rest], box[rest], flags[rest], cutoff))
    if not parts:
        parts.append(_nothing(positions.device))
    sender, receiver, shift = (torch.cat(x) if len(parts) > 1 else x[0] for x in zip(*parts, strict=True))
    if len(parts) == 1 or together.all():  # found in order
        return torch.stack([sender, receiver]), shift
    return in_order(sender, receiver, shift, len(positions))


def _together(candidates: np.ndarray, flags: np.ndarray, on_gpu: bool) -> np.ndarray:
    """``[G]`` bool: which structures are searched pair by pair, in one go."""
    if on_gpu:
        return candidates <= CANDIDATES_ON_GPU
    return (candidates <= PAIRS_ON_CPU) & ~flags.any(axis=1)


def _chunks(numbers: np.ndarray, candidates: np.ndarray) -> list[np.ndarray]:
    """``numbers`` cut where the candidates of a piece pass a multiple of ``CHUNK``."""
    piece = np.cumsum(candidates[numbers]) // CHUNK
    return [x for x in np.split(numbers, np.flatnonzero(np.diff(piece)) + 1) if len(x)]


def full_rank_cells(cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """``cell [G, 3, 3]`` with the rows of directions that are not periodic replaced, see :func:`completed_box`."""
    box = np.array(cell, dtype=np.float64)
    box[~pbc.any(axis=1)] = np.eye(3)
    for number in np.flatnonzero(pbc.any(axis=1) & ~pbc.all(axis=1)):
        box[number] = completed_box(box[number], pbc[number])
    return box


def completed_box(box: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """A full-rank box: rows of directions that are not periodic become unit vectors orthogonal to the periodic ones."""
    box = box.copy()
    kept = [box[i] for i in range(3) if periodic[i]]
    for i in range(3):
        if periodic[i]:
            continue
        direction = np.linalg.svd(np.array(kept).reshape(-1, 3))[2][len(kept)]
        box[i] = direction
        kept.append(direction)
    return box


def _all_pairs(positions: Tensor, tables: list[Tensor], cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Sender, receiver and shift, every pair of every structure being tried; plain tensors, so on any device.

    tables: per structure the number of nodes ``[G]``, the cell and its inverse ``[G, 3, 3]`` and c/h ``[G, 3]``.

    A pair and its reverse are the same numbers with the other sign, so that both are found or neither.
    """
    counts, box, inverse, reach = tables
    graph = torch.repeat_interleave(counts)
    others = counts[graph]
    receiver = torch.repeat_interleave(others)
    first = (torch.cumsum(counts, 0) - counts)[graph] - (torch.cumsum(others, 0) - others)
    sender = torch.arange(len(receiver), device=positions.device) + first[receiver]
    difference = positions.index_select(0, sender) - positions.index_select(0, receiver)
    limit = cutoff * cutoff
    if not bool(reach.any()):
        keep = (squared(difference) < limit) & (sender != receiver)
        return sender[keep], receiver[keep], sender.new_zeros(int(keep.sum()), 3)
    of_pair = graph[receiver]
    fractional = torch.bmm(positions[:, None], inverse[graph])[:, 0]
    apart = fractional[sender] - fractional[receiver]
    span = reach[of_pair]
    low = torch.where(span > 0, torch.ceil(-span - apart - _SLACK), 0.0)
    high = torch.where(span > 0, torch.floor(span - apart + _SLACK), 0.0)
    number = (high - low + 1).clamp_min(0).long()
    images = number.prod(dim=1)
    pair = torch.repeat_interleave(images)
    place = torch.arange(len(pair), device=positions.device) - (torch.cumsum(images, 0) - images)[pair]
    nz, nyz = number[pair, 2], (number[:, 1] * number[:, 2])[pair]
    shift = torch.stack([place // nyz, place % nyz // nz, place % nz], dim=1) + low.long()[pair]
    steps, rows = shift.to(box.dtype), box[of_pair[pair]]
    keep = squared(difference[pair] + lattice(steps, rows)) < limit
    keep &= (sender != receiver)[pair] | (shift != 0).any(dim=1)
    chosen = pair[keep]
    return sender[chosen], receiver[chosen], shift[keep]


def _cell_lists(
    positions: Tensor,
    starts: np.ndarray,
    counts: np.ndarray,
    box: np.ndarray,
    flags: np.ndarray,
    cutoff: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sender, receiver and shift, in order: from vesin on the CPU, in plain tensors elsewhere."""
    parts = []
    for start, count, rows, periodic in zip(starts.tolist(), counts.tolist(), box, flags, strict=True):
        points = positions[start : start + count].contiguous()
        search = _by_vesin if _on_cpu(points) else _by_tensors
        index, shift = search(points, rows, periodic, cutoff)
        parts.append((index + start, shift))
    index, shift = torch.cat([i for i, _ in parts], dim=1), torch.cat([s for _, s in parts])
    return index[0], index[1], shift


def _on_cpu(points: Tensor) -> bool:
    return points.device.type == "cpu"


def _by_tensors(
    points: Tensor, rows: np.ndarray, periodic: np.ndarray, cutoff: float
) -> tuple[Tensor, Tensor]:
    x, y, z = (bool(p) for p in periodic)
    table = torch.from_numpy(np.ascontiguousarray(rows)).to(points)
    return in_order(*cell_list_pairs(points, table, (x, y, z), cutoff, CHUNK), len(points))


def _by_vesin(points: Tensor, rows: np.ndarray, periodic: np.ndarray, cutoff: float) -> tuple[Tensor, Tensor]:
    import vesin

    finder = vesin.NeighborList(cutoff=cutoff, full_list=True)
    pairs, shift = finder.compute(points.numpy(), rows, periodic, "PS", copy=False)
    index, steps = _sorted(pairs, shift, len(points))
    return torch.from_numpy(index), torch.from_numpy(steps)


def _sorted(pairs: np.ndarray, shift: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`in_order` gives, from vesin's own arrays (receiver and sender ``[E, 2]``) and with less ado."""
    if not len(pairs):
        return np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3), dtype=np.int64)
    pairs, x, y, z = pairs.view(np.int64), *(shift[:, k].astype(np.int64) for k in range(3))
    ny, nz = int(y.max() - y.min()) + 1, int(z.max() - z.min()) + 1
    cells = (int(x.max() - x.min()) + 1) * ny * nz
    key = (pairs[:, 0] * count + pairs[:, 1]) * cells + (x * ny + y) * nz + z
    order = np.argsort(key, kind="stable")  # merges the runs that vesin leaves
    index = np.empty((2, len(key)), dtype=np.int64)
    np.take(pairs[:, 1], order, out=index[0])
    np.take(pairs[:, 0], order, out=index[1])
    return index, shift[order].astype(np.int64)


def _nothing(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    none = torch.zeros(0, dtype=torch.int64, device=device)
    return none, none, none.new_zeros(0, 3)


def in_order(sender: Tensor, receiver: Tensor, shift: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """The edges sorted by receiver, then sender, then shift, as ``index [2, E]`` and ``shift [E, 3]``."""
    if not len(sender):
        return torch.stack([sender, receiver]), shift
    low = shift.amin(dim=0)
    span = shift.amax(dim=0) - low + 1
    steps = shift - low
    code = (steps[:, 0] * span[1] + steps[:, 1]) * span[2] + steps[:, 2]
    key = (receiver * num_nodes + sender) * span.prod() + code
    order = torch.from_numpy(np.argsort(key.numpy())) if not key.is_cuda else torch.argsort(key)
    return torch.stack([sender[order], receiver[order]]), shift[order]
