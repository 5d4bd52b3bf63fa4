"""Energy, forces and stress of atoms in one walk over the compiled kernels and back, instead of a graph of many small operations.

The time of a small structure goes into what autograd records and looks up, not into arithmetic. The order of the kernels is known
beforehand, so each block's derivative is called in turn (``layer_pass.py``). Where no gradients are recorded (:class:`ForcePass`)
autograd has no part in it; in training (:func:`recorded_pass`) features, forces and virial are one operation for it, which
knows its own derivatives with respect to weights. Numbers are those of the recorded graph, from the same kernels.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs, ``M`` = (lmax+1)^2, ``C`` natural channels, ``K`` = C + U, ``H`` hidden units.
Positions, cells, edge vectors, forces and virials are float64 in angstrom and eV, features in the precision of the weights.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.mechanics import per_volume

from .backbone import Layer
from .fused import forces_of, geometry_available, powers_available, readout_available
from .gpu import CapturedPass
from .heads import Answers, AtomHead, Readout, level_rows
from .layer_pass import Adjoint, Computed, LayerPass, Sums, Turned, layer_weights
from .walk import Edges, Walk

if TYPE_CHECKING:
    from .network import AtomFieldNet


MOST_RECORDED = 30_000
"""Edges up to which a walk is recorded: beyond, preparing the calls takes less time than they do."""


def serves(net: AtomFieldNet, batch: GraphBatch) -> bool:
    """Whether all that the energy rests on has kernels: a local network and a batch of atoms on the CPU, without terms of its own
    in positions, and no derivatives asked for but those with respect to weights."""
    config, backbone, positions, cell = net.config, net.backbone, batch.positions, batch.cell
    if (
        batch.world == "field"
        or config.symmetry == "none"
        or config.long_range != "none"
        or config.electrostatics
        or net.priors is not None
        or not backbone.embedding.only_scalars(batch)
        or not (positions.dtype == cell.dtype == torch.float64)
        or positions.device.type != "cpu"
        or (torch.is_grad_enabled() and (backbone.recompute or positions.requires_grad or cell.requires_grad))
    ):
        return False
    features = backbone.embedding.species
    for number, layer in enumerate(_layers(net)):
        if not layer.compiled(features, scalars_only=number == 0):
            return False
        if layer.products and not (layer.fused and powers_available(features, layer.shape)):
            return False
    if not readout_available(features, config.channels, config.head_hidden):
        return False
    return geometry_available(features) and batch.num_edges > 0


def kept_pass(
    net: AtomFieldNet, batch: GraphBatch, before: ForcePass | CapturedPass | None
) -> ForcePass | CapturedPass | None:
    """``before``, or where there is none yet a pass of ``net`` to be kept between calls; None where none serves ``batch``."""
    if batch.positions.is_cuda:
        return CapturedPass(net) if before is None else before
    return ForcePass(net, keep=True) if before is None and serves(net, batch) else before


class ForcePass:
    """The pass of one network; nothing is recorded.

    keep: remember the weights as kernels read them as long as they do not change, and what depends on species and conditions
    alone as long as these are the same tensors, as in dynamics; where edges are the same too, all calls of kernels (``walk.py``).
    (Weights that were replaced by other objects, as ``load_state_dict(assign=True)`` does, go unnoticed.) Copies and pickles
    of a pass are made anew from the network.
    """

    def __init__(self, net: AtomFieldNet, keep: bool = False):
        self.net = net
        self._keep = keep
        self._first: tuple[dict[str, Any], tuple[Tensor, Tensor]] | None = None
        self._before: dict[str, Any] | None = None
        self._recorded: tuple[dict[str, Any], Walk] | None = None
        self._read_weights()

    def __reduce__(self) -> tuple[Any, ...]:
        return ForcePass, (self.net, self._keep)

    @torch.no_grad()
    def _read_weights(self) -> None:
        self._first = self._before = self._recorded = None
        self._weights = _read_by_walks(self.net) if self._keep else []
        self._states = _states(self._weights)
        self.layers = [
            LayerPass(layer, [w.detach() for w in layer_weights(layer, number == 0)], number == 0)
            for number, layer in enumerate(_layers(self.net))
        ]

    @torch.no_grad()
    def __call__(
        self, batch: GraphBatch, level_G: Tensor, *, stress: bool, answers: Answers
    ) -> dict[str, Tensor]:
        """What ``AtomFieldNet.forward`` gives for atoms; ``level_G``: the row of each graph's level."""
        walk = self._walk(batch, level_G)
        out = walk.answers(stress=stress, features=answers.features)
        if answers.denoise and walk.dipole is not None:
            out["displacement_noise"] = self.net.atom_head.noise_of(walk.x)
        return self.net.answers(out, walk.x, batch, batch.positions, answers)

    def follows(self, batch: GraphBatch) -> bool:
        """Whether a recorded walk is there for all of ``batch`` but its positions and cells."""
        return self._recorded is not None and _same(self._recorded[0], _read(batch))

    def _walk(self, batch: GraphBatch, level_G: Tensor) -> Walk:
        """Over ``batch``. A walk is recorded at the second batch in a row that differs in positions and cells alone."""
        if self._keep and _states(self._weights) != self._states:
            self._read_weights()
        read = _read(batch)
        if self._recorded is not None and _same(self._recorded[0], read):
            self._recorded[1].again(batch.positions, batch.cell)
            return self._recorded[1]
        record = self._before is not None and _same(self._before, read) and batch.num_edges <= MOST_RECORDED
        first = self._embedded(batch, level_G, read)
        with torch.inference_mode(False), torch.no_grad():  # what is kept must stay writable elsewhere
            walk = Walk(self.net, self.layers, batch, level_G, first, record=record)
        self._before = read if self._keep else None
        self._recorded = (read, walk) if record else None
        return walk

    @torch.no_grad()
    def held_bytes(self, batch: GraphBatch) -> int:
        """What is kept where the walk turns back, in bytes."""
        level_G = self.net.level_index(batch)
        edges = Edges.of(self.net, batch)
        condition_NC, x = self._embedded(batch, level_G, _read(batch))
        held: list[Tensor] = [*vars(edges.vectors).values()]
        for layer in self.layers:
            x, own = layer.forward(x, edges.geometry, condition_NC)
            held += own.flat()
        for order in (edges.geometry.edges.by_receiver, edges.geometry.edges.by_sender):
            held += [order.start, order.order]
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in [x, *held]}
        return sum(storages.values())

    def _embedded(self, batch: GraphBatch, level_G: Tensor, read: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """``condition_NC`` and the first features."""
        read = {name: value for name, value in read.items() if name not in EDGES}
        if self._first is not None and _same(self._first[0], read):
            return self._first[1]
        found = _first_features(self.net, batch, level_G)
        self._first = (read, found) if self._keep else None
        return found


EDGES = ("edge_index", "edge_shift")


def _read(batch: GraphBatch) -> dict[str, Any]:
    """What a pass reads of a batch beside positions and cells."""
    return {
        "edge_index": batch.edge_index, "edge_shift": batch.edge_shift, "levels": tuple(batch.levels),
        "species": batch.species, "node_type": batch.node_type, "graph_index": batch.graph_index,
        **batch.conditions, **batch.quantities,
    }  # fmt: skip


def _layers(net: AtomFieldNet) -> list[Layer]:
    return [layer for layer in net.backbone.layers if isinstance(layer, Layer)]


def _read_by_walks(net: AtomFieldNet) -> list[Tensor]:
    head = net.atom_head
    named = [*net.backbone.named_parameters(), *head.named_parameters()]
    return [w for name, w in named if ".fourier." not in name] + [head.energy_scale, head.reference]


def _states(weights: Sequence[Tensor]) -> list[int]:
    """Changes when a tensor is changed in place or given other data."""
    return [*map(Tensor.data_ptr, weights), *map(_version, weights)]


_version = operator.attrgetter("_version")


def _first_features(net: AtomFieldNet, batch: GraphBatch, level_G: Tensor) -> tuple[Tensor, Tensor]:
    """``condition_NC`` and ``[N, M, K]``, contiguous."""
    condition_NC = net.backbone.conditions(batch, level_G).contiguous()
    return condition_NC, net.backbone.embedding(batch, level_G, condition_NC).contiguous()


def _same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """The same tensors under the same names, and equal levels."""
    if before.keys() != now.keys() or before["levels"] != now["levels"]:
        return False
    return all(before[name] is value for name, value in now.items() if name != "levels")


# ---------------------------------------------------------------------- in training
def recorded_pass(
    net: AtomFieldNet, batch: GraphBatch, level_G: Tensor, *, stress: bool, answers: Answers
) -> dict[str, Tensor]:
    """As :class:`ForcePass`, with derivatives of everything with respect to weights."""
    condition_NC, x = _first_features(net, batch, level_G)
    layers = _layers(net)
    weights = [layer_weights(layer, number == 0) for number, layer in enumerate(layers)]
    readout = net.atom_head.readout(level_rows(level_G, batch)).flat()
    call = _Call(Edges.of(net, batch), layers, [len(w) for w in weights], len(readout), net.atom_head, stress)
    x, forces, virial = _Recorded.apply(call, x, condition_NC, *readout, *[t for w in weights for t in w])
    out = net.atom_head(x, batch, level_G, answers)
    out["forces"] = forces
    if stress:
        out["stress"] = per_volume(virial, batch.cell)
    return net.answers(out, x, batch, batch.positions, answers)


@dataclass(frozen=True)
class _Call:
    """What is no tensor of the graph."""

    edges: Edges
    layers: list[Layer]
    counts: list[int]
    """Weights of each layer."""
    readout: int
    """Tensors of the head."""
    head: AtomHead
    stress: bool

    def split(self, tensors: Sequence[Tensor]) -> tuple[Readout, list[LayerPass]]:
        """The readout, and the passes of all layers with their weights."""
        rest, passes = list(tensors[self.readout :]), []
        for number, (layer, count) in enumerate(zip(self.layers, self.counts, strict=True)):
            passes.append(LayerPass(layer, rest[:count], number == 0))
            rest = rest[count:]
        return Readout.of(tensors[: self.readout]), passes


class _Recorded(torch.autograd.Function):
    """First features, condition, readout and weights -> last features ``[N, M, K]``, forces ``[N, 3]``, virial ``[G, 3, 3]``."""

    @staticmethod
    def forward(ctx, call, x, condition_NC, *tensors):
        edges, channels = call.edges, call.head.channels
        readout, passes = call.split(tensors)
        computed: list[Computed] = []
        walks: list[Adjoint] = []
        for layer in passes:
            x, own = layer.forward(x, edges.geometry, condition_NC)
            computed.append(own)
        g = torch.zeros_like(x)
        g[:, 0, :channels] = call.head.slope(x[:, 0, :channels], readout)
        slopes = None
        for layer, own in zip(reversed(passes), reversed(computed), strict=True):
            g, found, walk = layer.adjoint(g, own, edges.geometry)
            slopes = found if slopes is None else slopes.plus(found)
            walks.insert(0, walk)
        along = edges.along(slopes)
        records = [record.flat() for pair in zip(computed, walks, strict=True) for record in pair]
        ctx.call, ctx.sizes = call, [len(record) for record in records]
        ctx.save_for_backward(x, *tensors, *[t for record in records for t in record])
        ctx.set_materialize_grads(False)
        virial = edges.virial(along) if call.stress else None
        return x, forces_of(along, edges.geometry.edges, x.dtype), virial

    @staticmethod
    @once_differentiable
    def backward(ctx, g, a_forces, a_virial):
        call, channels, wanted = ctx.call, ctx.call.head.channels, ctx.needs_input_grad
        edges, geometry = call.edges, call.edges.geometry
        count = call.readout + sum(call.counts)
        x, *tensors = ctx.saved_tensors
        readout, passes = call.split(tensors[:count])
        computed, walks = _records(tensors[count:], ctx.sizes, passes)
        d_readout: list[Tensor | None] = [None] * call.readout
        sums = Sums(any(wanted[3 + call.readout :]))
        turned: list[Turned | None] = [None] * len(passes)
        total = None if g is None else g.contiguous()
        if a_forces is not None or a_virial is not None:
            a_edges, a_x = edges.cotangents(a_forces, a_virial), None
            for number, layer in enumerate(passes):
                own, walk = computed[number], walks[number]
                a_x, turned[number] = layer.second(a_x, a_edges, own, walk, geometry, sums)
            assert a_x is not None
            d_scalars, d_readout = call.head.slope_turned(x[:, 0, :channels], readout, a_x[:, 0, :channels])
            total = torch.zeros_like(x) if total is None else total.clone()
            total[:, 0, :channels] += d_scalars
        d_condition = None
        weights: list[Tensor | None] = [None] * sum(call.counts)
        if total is not None and (any(wanted[1:3]) or sums.wanted):
            for layer in reversed(passes):
                total, own = layer.reverse(total, computed.pop(), turned.pop(), geometry, sums)
                d_condition = own if d_condition is None else d_condition + own
            if sums.wanted:
                weights = [t for layer in passes for t in sums.of(layer)]
        else:
            total = None
        return None, total, d_condition, *d_readout, *weights


def _records(
    tensors: Sequence[Tensor], sizes: Sequence[int], passes: Sequence[LayerPass]
) -> tuple[list[Computed], list[Adjoint]]:
    """What :class:`_Recorded` saved, by layer."""
    pieces, rest = [], list(tensors)
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    products = [layer.power_weights is not None for layer in passes]
    computed = [Computed.of(t, products=p) for t, p in zip(pieces[::2], products, strict=True)]
    return computed, [Adjoint.of(t, products=p) for t, p in zip(pieces[1::2], products, strict=True)]
