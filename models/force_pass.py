"""Energy, forces and stress of atoms in one walk over the compiled kernels and back, instead of a graph of many small operations.

The time of a small structure goes into what autograd records and looks up, not into arithmetic. The order of the kernels is known
beforehand, so each block's derivative is called in turn (``layer_pass.py``). Where no gradients are recorded (:class:`ForcePass`)
autograd has no part in it; in training (:func:`recorded_pass`) features, forces and virial are one operation for it, which
knows its own derivatives with respect to weights. Numbers are those of the recorded graph, from the same kernels.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs, ``M`` = (lmax+1)^2, ``C`` natural channels, ``K`` = C + U, ``H`` hidden units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from atomfield.data.graph import GraphBatch
from atomfield.physics_priors.mechanics import per_volume

from .backbone import Layer
from .convolution import EdgeGeometry
from .fused import (
    EdgeList,
    Vectors,
    across_vectors,
    along_vectors,
    forces_of,
    geometry_available,
    powers_available,
    vectors,
)
from .layer_pass import EdgeSlopes, LayerPass, Sums, layer_weights

if TYPE_CHECKING:
    from .heads import AtomHead
    from .network import AtomFieldNet


def serves(net: AtomFieldNet, batch: GraphBatch) -> bool:
    """Whether all that the energy rests on has kernels: a local network on the CPU without terms of its own in positions."""
    config, backbone = net.config, net.backbone
    if (
        batch.world == "field"
        or config.symmetry == "none"
        or config.long_range != "none"
        or config.electrostatics
        or net.priors is not None
        or not backbone.embedding.only_scalars(batch)
        or (
            torch.is_grad_enabled()
            and (backbone.recompute or batch.positions.requires_grad or batch.cell.requires_grad)
        )
    ):
        return False
    features = backbone.embedding.species
    for number, layer in enumerate(layers_of(net)):
        if not layer.compiled(features, scalars_only=number == 0):
            return False
        if layer.products and not (layer.fused and powers_available(features, layer.shape)):
            return False
    return geometry_available(features) and batch.num_edges > 0


def layers_of(net: AtomFieldNet) -> list[Layer]:
    return [layer for layer in net.backbone.layers if isinstance(layer, Layer)]


class ForcePass:
    """The pass of one network, whose weights must not change while it is in use; nothing is recorded.

    keep: remember what depends on species and conditions alone as long as these are the same tensors, as in dynamics.
    """

    def __init__(self, net: AtomFieldNet, *, keep: bool = False):
        self.net = net
        with torch.no_grad():
            self.layers = [
                LayerPass(layer, [w.detach() for w in layer_weights(layer, number == 0)], number == 0)
                for number, layer in enumerate(layers_of(net))
            ]
        self._keep = keep
        self._known: tuple[tuple[Any, ...], tuple[Tensor, Tensor, Tensor]] | None = None

    @torch.no_grad()
    def __call__(self, batch: GraphBatch, *, stress: bool, **options: bool) -> dict[str, Tensor]:
        """What ``AtomFieldNet.forward`` gives for atoms; ``options``: those of ``AtomFieldNet.answers``."""
        net, channels = self.net, self.net.config.channels
        way, level_G, x = self._there(batch)
        out = net.atom_head(x, batch, level_G, options.get("features", False), slope=True)
        g = torch.zeros_like(x)
        g[:, 0, :channels] = out.pop("slope")
        along = way.back(self.layers, g, forget=True)
        out["forces"] = forces_of(along, way.geometry.edges)
        if stress:
            out["stress"] = per_volume(way.virial(along), batch.cell)
        return net.answers(out, x, batch, batch.positions, **options)

    def _there(self, batch: GraphBatch) -> tuple[_Way, Tensor, Tensor]:
        """The edges, ``level_G`` and the last features."""
        way = _Way.of(self.net, batch)
        level_G, condition_NC, x = self._embedded(batch)
        for layer in self.layers:
            x = layer.forward(x, way.geometry, condition_NC)
        return way, level_G, x

    @torch.no_grad()
    def held_bytes(self, batch: GraphBatch) -> int:
        """What is kept where the walk turns back, in bytes."""
        way, _, x = self._there(batch)
        held = [x, *vars(way.vectors).values(), *(t for layer in self.layers for t in layer.held())]
        for order in (way.geometry.edges.by_receiver, way.geometry.edges.by_sender):
            held += [order.start, order.order]
        for layer in self.layers:
            layer.forget()
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in held}
        return sum(storages.values())

    def _embedded(self, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor]:
        """``level_G``, ``condition_NC`` and the first features."""
        read = (
            tuple(batch.levels), batch.species, batch.node_type, batch.graph_index,
            *batch.conditions.values(), *batch.quantities.values(),
        )  # fmt: skip
        if self._known is not None and _same(self._known[0], read):
            return self._known[1]
        found = first_features(self.net, batch)
        self._known = (read, found) if self._keep else None
        return found


def first_features(net: AtomFieldNet, batch: GraphBatch) -> tuple[Tensor, Tensor, Tensor]:
    """``level_G``, ``condition_NC`` and ``[N, M, K]``, contiguous."""
    level_G = net.level_index(batch)
    condition_NC = net.backbone.conditions(batch, level_G).contiguous()
    return level_G, condition_NC, net.backbone.embedding(batch, level_G, condition_NC).contiguous()


def _same(before: tuple[Any, ...], now: tuple[Any, ...]) -> bool:
    alike = len(before) == len(now) and before[0] == now[0]
    return alike and all(a is b for a, b in zip(before[1:], now[1:], strict=True))


@dataclass(frozen=True)
class _Way:
    """A batch's edges, for the walk back to them."""

    batch: GraphBatch
    vectors: Vectors
    geometry: EdgeGeometry
    cutoff: float

    @staticmethod
    def of(net: AtomFieldNet, batch: GraphBatch) -> _Way:
        cutoff = net.config.cutoff
        known = vectors(
            batch.positions, batch.cell, batch.graph_index, batch.edge_index, batch.edge_shift,
            cutoff=cutoff, bases=net.config.num_radial, dtype=net.dtype,
        )  # fmt: skip
        geometry = EdgeGeometry(
            EdgeList(batch.edge_index[0], batch.edge_index[1], batch.num_nodes),
            known.basis_EB, known.envelope_E, known.direction_E3, net.backbone.rotation,
        )  # fmt: skip
        return _Way(batch, known, geometry, cutoff)

    def back(self, layers: Sequence[LayerPass], g: Tensor, *, forget: bool = False) -> Tensor:
        """``[E, 3]``: the energy's derivative with respect to each edge's vector, from that with respect to the last features.
        ``forget``: nobody will ask the layers again."""
        slopes: EdgeSlopes | None = None
        for layer in reversed(layers):
            g, own = layer.adjoint(g, self.geometry)
            if forget:
                layer.forget()
            slopes = own if slopes is None else slopes + own
        assert slopes is not None
        return along_vectors(self.vectors, slopes.basis, slopes.envelope, slopes.direction, self.cutoff)

    def virial(self, along_E3: Tensor) -> Tensor:
        """``[G, 3, 3]``: dE/d(strain), symmetric."""
        vector = self.vectors.vector_E3
        if self.batch.num_graphs == 1:
            summed = (vector.T @ along_E3).unsqueeze(0)
        else:
            each = vector.unsqueeze(2) * along_E3.unsqueeze(1)
            summed = torch.zeros_like(self.batch.cell).index_add_(0, self._graph_of_edges, each)
        return (summed + summed.transpose(1, 2)) / 2

    @property
    def _graph_of_edges(self) -> Tensor:
        return self.batch.graph_index[self.batch.edge_index[1]]

    def cotangents(self, a_forces: Tensor | None, a_virial: Tensor | None) -> EdgeSlopes:
        """What cotangents of forces ``[N, 3]`` and of the virial ``[G, 3, 3]`` are for the slopes of edges."""
        sender, receiver = self.batch.edge_index
        a_along = torch.zeros_like(self.vectors.vector_E3)
        if a_forces is not None:
            a_along = a_forces.index_select(0, receiver) - a_forces.index_select(0, sender)
        if a_virial is not None:
            symmetric = (a_virial + a_virial.transpose(1, 2)) / 2
            vector = self.vectors.vector_E3.unsqueeze(1)
            a_along = a_along + torch.bmm(vector, symmetric[self._graph_of_edges]).squeeze(1)
        return EdgeSlopes(*across_vectors(self.vectors, a_along, self.cutoff))


# ---------------------------------------------------------------------- in training
def recorded_pass(
    net: AtomFieldNet, batch: GraphBatch, *, stress: bool, **options: bool
) -> dict[str, Tensor]:
    """As :class:`ForcePass`, with derivatives of everything with respect to weights."""
    level_G, condition_NC, x = first_features(net, batch)
    way, layers = _Way.of(net, batch), layers_of(net)
    weights = [layer_weights(layer, number == 0) for number, layer in enumerate(layers)]
    head = net.atom_head.readout(level_G, batch)
    call = _Call(way, layers, [len(w) for w in weights], net.atom_head, stress)
    x, forces, virial = _Recorded.apply(call, x, condition_NC, *head, *[t for w in weights for t in w])
    out = net.atom_head(x, batch, level_G, options.get("features", False))
    out["forces"] = forces
    if stress:
        out["stress"] = per_volume(virial, batch.cell)
    return net.answers(out, x, batch, batch.positions, **options)


@dataclass(frozen=True)
class _Call:
    """What is no tensor of the graph."""

    way: _Way
    layers: list[Layer]
    counts: list[int]
    head: AtomHead
    stress: bool


class _Recorded(torch.autograd.Function):
    """First features, condition, readout and weights -> last features ``[N, M, K]``, forces ``[N, 3]``, virial ``[G, 3, 3]``."""

    @staticmethod
    def forward(ctx, call, x, condition_NC, *tensors):
        size = len(tensors) - sum(call.counts)
        readout, rest = tensors[:size], list(tensors[size:])
        layers = []
        for number, (layer, count) in enumerate(zip(call.layers, call.counts, strict=True)):
            layers.append(LayerPass(layer, rest[:count], number == 0))
            rest = rest[count:]
        for layer in layers:
            x = layer.forward(x, call.way.geometry, condition_NC)
        g = torch.zeros_like(x)
        scalars = x[:, 0, : call.head.channels]
        g[:, 0, : call.head.channels] = call.head.slope(scalars, *readout)
        along = call.way.back(layers, g)
        ctx.call, ctx.layers, ctx.size = call, layers, size
        ctx.save_for_backward(scalars, *tensors)  # weights too: changed in between, they are refused
        ctx.set_materialize_grads(False)
        return x, forces_of(along, call.way.geometry.edges), call.way.virial(along) if call.stress else None

    @staticmethod
    @once_differentiable
    def backward(ctx, g, a_forces, a_virial):
        call, layers, geometry = ctx.call, ctx.layers, ctx.call.way.geometry
        scalars, *tensors = ctx.saved_tensors
        readout, wanted = tensors[: ctx.size], ctx.needs_input_grad
        sums = Sums(any(wanted[3 + ctx.size :]))
        d_readout: list[Tensor | None] = [None] * ctx.size
        total = None if g is None else g.contiguous()
        if a_forces is not None or a_virial is not None:
            a_edges, a_x = call.way.cotangents(a_forces, a_virial), None
            for layer in layers:
                a_x = layer.second(a_x, a_edges, geometry, sums)
            assert a_x is not None
            turned, *found = call.head.slope_turned(scalars, *readout, a_x[:, 0, : call.head.channels])
            d_readout = list(found)
            total = torch.zeros_like(a_x) if total is None else total.clone()
            total[:, 0, : call.head.channels] += turned
        if total is None:
            return None, *[None] * (len(tensors) + 2)
        d_condition = None
        if any(wanted[1:3]) or sums.wanted:
            for layer in reversed(layers):
                total, own = layer.reverse(total, geometry, sums)
                d_condition = own if d_condition is None else d_condition + own
        else:
            total = None
        weights = [
            t
            for layer, n in zip(layers, call.counts, strict=True)
            for t in (sums.of(layer) if sums.wanted else [None] * n)
        ]
        return None, total, d_condition, *d_readout, *weights
