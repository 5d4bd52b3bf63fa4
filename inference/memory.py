"""Memory of one pass: an error that says what would fit, in place of an allocator's or of the end of the process."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import GraphBatch
from atomfield.models.force_pass import ForcePass, serves

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

PROBE = 64
"""Nodes of the piece whose memory is measured."""
LARGE = 300_000
"""Edges beyond which a pass is weighed before it runs: the operating system may end the process without an error."""
PEAK = 1.7
"""The peak of a pass over what it keeps for its derivatives (measured: 1.6 to 1.7 with kernels, 1.3 to 1.7 without)."""


@contextmanager
def explained(
    net: AtomFieldNet, batch: GraphBatch, stress: bool, where: Provenance | None = None, *, held: int = 0
) -> Iterator[None]:
    """Runs a pass of ``net`` over ``batch``; raises ``InputError`` with the size that would fit where memory does not suffice.

    held: pairs of a pass that memory has held before; one with hardly more (a step of dynamics) is not weighed again."""
    if batch.num_edges > max(LARGE, 1.1 * held):
        kept = kept_bytes(net, batch, stress)
        if kept > (
            free := available_bytes(batch.positions.device)
        ):  # less than the pass needs, whatever else it takes
            raise _error(batch, kept * PEAK, free, where)
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # what the pass held until then is free again
        free = available_bytes(batch.positions.device)
        raise _error(batch, kept_bytes(net, batch, stress) * PEAK, free, where) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or Python could not allocate."""
    text = str(error)
    return (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "not enough memory" in text
        or "out of memory" in text  # CUDA's own calls
        or "ALLOC_FAILED" in text  # of its libraries
        or "allocate memory" in text
        or "bad_alloc" in text  # of the standard library, within one of torch's operations
    )


def kept_bytes(net: AtomFieldNet, batch: GraphBatch, stress: bool) -> float:
    """What a pass keeps until its derivatives are taken: measured on a piece of the batch and scaled with it.

    The piece has the first nodes with all the edges that end there; senders are renumbered into it, which changes every value
    and the size of none."""
    count = min(PROBE, batch.num_nodes)
    chosen = batch.edge_index[1] < count
    piece = replace(
        batch,
        positions=batch.positions[:count],
        species=batch.species[:count],
        node_type=batch.node_type[:count],
        graph_index=torch.zeros_like(batch.graph_index[:count]),
        volume=batch.volume[:count],
        cell=batch.cell[:1],
        pbc=batch.pbc[:1],
        edge_index=torch.stack([batch.edge_index[0, chosen] % count, batch.edge_index[1, chosen]]),
        edge_shift=batch.edge_shift[chosen]
        + 1.0,  # no edge of length zero where a node became its own neighbour
        edge_is_radius=batch.edge_is_radius[chosen],
        quantities={n: v[:count] for n, v in batch.quantities.items() if len(v) == batch.num_nodes},
        conditions={n: v[:1] for n, v in batch.conditions.items()},
        levels=batch.levels[:1],
        spacing=batch.spacing[:1],
    )
    with torch.no_grad():
        if serves(net, piece):
            return ForcePass(net).held_bytes(piece) * batch.num_nodes / count
    sizes: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return value

    weights = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    compiled, net.compiled = net.compiled, None  # a compiled pass keeps as much and shows nothing
    try:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value), torch.no_grad():
            net(piece, stress=stress)
    finally:
        net.compiled = compiled
    own = sum(size for pointer, size in sizes.items() if pointer not in weights)
    return own * batch.num_nodes / count


def available_bytes(device: torch.device) -> float:
    """Free memory where tensors of ``device`` live."""
    if device.type == "cuda":
        left, _ = torch.cuda.mem_get_info(device)
        return left + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free = float("inf")
    rows: dict[str, Any] = {}
    if (info := Path("/proc/meminfo")).is_file():
        rows = dict(row.split(":", 1) for row in info.read_text().splitlines())
        free = 1024.0 * int(rows["MemAvailable"].split()[0])
    if (status := Path("/proc/self/status")).is_file():
        import resource  # not on every system, but where there is /proc

        own = dict(row.split(":", 1) for row in status.read_text().splitlines())
        for limit, used in ((resource.RLIMIT_AS, "VmSize"), (resource.RLIMIT_DATA, "VmData")):
            bound = resource.getrlimit(limit)[0]
            if bound != resource.RLIM_INFINITY:
                free = min(free, bound - 1024.0 * int(own[used].split()[0]))
    return max(free, 0.0)


def _error(batch: GraphBatch, needed: float, free: float, where: Provenance | None) -> InputError:
    fits = int(batch.num_nodes * free / max(needed, 1.0))
    pairs = int(batch.num_edges * free / max(needed, 1.0))
    many = batch.num_graphs > 1
    cure = f"max_edges={pairs}" if many else "a smaller structure, float32 or more memory"
    return InputError(
        f"out of memory: {batch.num_nodes} atoms with {batch.num_edges} pairs need about {needed / 2**30:.2g} GiB on "
        f"{batch.positions.device.type}, {free / 2**30:.2g} GiB are free; "
        f"about {fits} atoms like these ({pairs} pairs) would fit; take {cure}",
        where,
    )
