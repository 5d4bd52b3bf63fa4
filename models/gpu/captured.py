"""The pass over atoms on a GPU as one CUDA graph: its launches are recorded once and made again in a single call.

A pass is hundreds of short kernels, and for small systems starting them takes far longer than running them. A graph is
recorded for fixed sizes, so batches are padded with one more graph of pairs of atoms that do not see each other: an edge at
twice the cutoff contributes exactly nothing. Where the number of edges outgrows what was recorded, it is recorded anew.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from atomfield.data.graph_batch import GraphBatch

from .cuda_graphs import CudaGraphs, reason

logger = logging.getLogger("atomfield")

if TYPE_CHECKING:
    from atomfield.models.heads import Answers
    from atomfield.models.network import AtomFieldNet

MOST_EDGES = 300_000
"""Beyond, kernels run longer than starting them takes, and a recorded pass would hold memory for nothing."""
_SPARE, _STEP = 1.1, 64
"""Room for edges over those of the batch that was recorded with, and what it is a multiple of."""
_PAIRS = 32
"""Of atoms that padding edges join."""


class CapturedPass:
    """The recorded pass of one network whose weights stay where they are. A size is recorded when it comes a second time in a
    row.

    (Weights may change in place; where they were replaced by other tensors, make a new pass.)
    """

    def __init__(self, net: AtomFieldNet):
        self.net = net
        self._before: tuple[Any, ...] | None = None
        self._recorded: _Recorded | None = None
        self._refused = False
        """Whether recording failed once: it is not tried again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return CapturedPass, (self.net,)

    def serves(self, batch: GraphBatch) -> bool:
        """Whether a pass over ``batch`` can be recorded: atoms on a GPU with nothing given but what the kinds of atoms are, and a
        network without terms of its own in positions."""
        config = self.net.config
        return (
            batch.positions.is_cuda
            and not self._refused
            and batch.world != "field"
            and not batch.quantities
            and config.long_range == "none"
            and not config.electrostatics
            and self.net.priors is None
            and not config.properties
            and 0 < batch.num_edges <= MOST_EDGES
            and not torch.is_grad_enabled()
            and not torch.is_autocast_enabled(batch.positions.device.type)
        )

    def __call__(
        self, batch: GraphBatch, level_G: Tensor, *, stress: bool, answers: Answers
    ) -> dict[str, Tensor]:
        """What ``AtomFieldNet.forward`` gives."""
        key = (
            batch.num_nodes,
            batch.num_graphs,
            tuple(batch.levels),
            tuple(batch.conditions),
            stress,
            answers,
        )
        known = self._recorded
        if known is not None and known.key == key and known.fits(batch.num_edges):
            return known(batch, level_G)
        again, self._before = self._before == key, key
        if not again:
            return self._once(batch, level_G, stress, answers)
        known = self._recorded = None  # its memory goes first
        try:
            self._recorded = _Recorded(self.net, key, batch, level_G, stress, answers)
        except RuntimeError as error:
            self._refused = True
            logger.warning(
                "a pass could not be recorded, which takes longer for small systems (%s)",
                reason(error),
            )
        if self._recorded is None:  # what was at work when it failed is given back by now
            return self.net.conservative(batch, level_G, stress=stress, answers=answers)
        return self._recorded(batch, level_G)

    def _once(self, batch: GraphBatch, level_G: Tensor, stress: bool, answers: Answers) -> dict[str, Tensor]:
        """Not recorded. A compiled pass is given the padded batch, so that recording it later compiles nothing again."""
        compiled = self.net.compiled
        if compiled is None or not compiled.serves(batch):
            return self.net.conservative(batch, level_G, stress=stress, answers=answers)
        capacity = room_for(batch.num_edges)
        filled, rows = padded(batch, level_G, capacity, self.net.config.cutoff)
        out = self.net.conservative(filled, rows, stress=stress, answers=answers)
        return without_padding(out, batch.num_nodes, batch.num_graphs)


class _Recorded:
    def __init__(
        self, net: AtomFieldNet, key: tuple[Any, ...], batch: GraphBatch, level_G: Tensor, stress: bool, answers: Answers
    ):  # fmt: skip
        self.key = key
        self.capacity = room_for(batch.num_edges)
        self._batch, self._level = padded(batch, level_G, self.capacity, net.config.cutoff)
        self._nodes, self._graphs = batch.num_nodes, batch.num_graphs
        self._idle = self._batch.edge_index.clone()
        """Where a padding edge goes, for each place."""
        pad = torch.arange(self.capacity, device=self._idle.device) % _PAIRS
        self._idle[0], self._idle[1] = self._nodes + 2 * pad, self._nodes + 2 * pad + 1

        self._out: dict[str, Tensor] = {}

        def run() -> None:
            given = replace(self._batch)  # nothing derived is taken over
            self._out = net.conservative(given, self._level, stress=stress, answers=answers)

        graphs = CudaGraphs(batch.positions.device)
        graphs.warm(run)
        self._replay = graphs.record(run)

    def fits(self, edges: int) -> bool:
        return fits(self.capacity, edges)

    def __call__(self, batch: GraphBatch, level_G: Tensor) -> dict[str, Tensor]:
        own, n, g, e = self._batch, self._nodes, self._graphs, batch.num_edges
        own.positions[:n].copy_(batch.positions)
        own.species[:n].copy_(batch.species)
        own.node_type[:n].copy_(batch.node_type)
        own.graph_index[:n].copy_(batch.graph_index)
        own.cell[:g].copy_(batch.cell)
        own.edge_index[:, :e].copy_(batch.edge_index)
        own.edge_index[:, e:].copy_(self._idle[:, e:])
        own.edge_shift[:e].copy_(batch.edge_shift)
        own.edge_shift[e:].zero_()
        for name, value in batch.conditions.items():
            own.conditions[name][:g].copy_(value)
        self._level[:g].copy_(level_G)
        self._replay()
        return {name: value.clone() for name, value in without_padding(self._out, n, g).items()}


def without_padding(out: dict[str, Tensor], nodes: int, graphs: int) -> dict[str, Tensor]:
    """The rows of the nodes and graphs that were asked for."""
    sizes = {nodes + 2 * _PAIRS: nodes, graphs + 1: graphs}
    return {name: value[: sizes[len(value)]] for name, value in out.items()}


def room_for(edges: int) -> int:
    """Edges that are recorded for a batch with ``edges``."""
    return -(-int(_SPARE * edges) // _STEP) * _STEP


def fits(capacity: int, edges: int) -> bool:
    """Whether a batch runs as recorded; one that has lost half of its edges is worth another recording, but for the rounding."""
    return capacity / 2 - _STEP < edges <= capacity


def padded(batch: GraphBatch, level_G: Tensor, capacity: int, cutoff: float) -> tuple[GraphBatch, Tensor]:
    """``batch`` with room for ``capacity`` edges and with a last graph of pairs of atoms at twice the cutoff; and the levels."""
    device, n, g = batch.positions.device, batch.num_nodes, batch.num_graphs
    more, spare = 2 * _PAIRS, capacity - batch.num_edges
    far = torch.zeros(more, 3, dtype=batch.positions.dtype, device=device)
    far[:, 0] = 2 * cutoff * torch.arange(more, device=device)
    pad = torch.arange(spare, device=device) % _PAIRS
    idle = torch.stack([n + 2 * pad, n + 2 * pad + 1])
    zeros = torch.zeros(more, dtype=torch.int64, device=device)

    def longer(x: Tensor, tail: Tensor) -> Tensor:
        return torch.cat([x, tail.to(x.dtype)])

    filled = replace(
        batch,
        positions=longer(batch.positions, far),
        species=longer(batch.species, zeros + 1),
        node_type=longer(batch.node_type, zeros),
        graph_index=longer(batch.graph_index, zeros + g),
        volume=longer(batch.volume, torch.ones(more, device=device)),
        cell=longer(batch.cell, torch.zeros(1, 3, 3, device=device)),
        pbc=longer(batch.pbc, torch.zeros(1, 3, device=device)),
        edge_index=torch.cat([batch.edge_index, idle], dim=1),
        edge_shift=longer(batch.edge_shift, torch.zeros(spare, 3, device=device)),
        edge_is_radius=torch.ones(capacity, dtype=torch.bool, device=device),
        conditions={
            name: longer(value, torch.full((1,), float("nan"), device=device))
            for name, value in batch.conditions.items()
        },
        levels=[*batch.levels, batch.levels[-1]],
        spacing=longer(batch.spacing, torch.ones(1, device=device)),
        provenance=(),
        bonds_known=longer(batch.bonds_known, torch.zeros(1, device=device)),
    )
    return filled, torch.cat([level_G, level_G[-1:]])
