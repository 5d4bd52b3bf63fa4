"""A layer by its compiled kernels, with the walk back for forces and the two walks that training on forces adds.

The energy's derivative with respect to the output of a layer goes back to its input and to the edges (:meth:`adjoint`): that is
what forces are made of. A loss of forces is differentiated by following that walk in the opposite order (:meth:`second`), which
gives derivatives with respect to weights and to everything that the way there had computed; with these added, an ordinary walk
back (:meth:`reverse`) collects the rest. The kernels are those of the recorded graph.

Legend: ``N`` nodes, ``E`` edges, ``M`` = (lmax+1)^2, ``C`` natural channels, ``K`` = C + U, ``B`` radial bases, ``H`` hidden,
``P`` radial weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .backbone import Layer
from .blocks import Blocks, blocks
from .convolution import EdgeGeometry
from .fused import (
    NodeBlock,
    Radial,
    convolution_second,
    convolution_slopes,
    convolved,
    multiplied,
    product_second,
    product_slope,
    product_slopes,
)
from .product import NodeProduct


@dataclass
class EdgeSlopes:
    """With respect to ``basis_EB``, ``envelope_E`` and ``direction_E3``: derivatives, or cotangents of these."""

    basis: Tensor
    envelope: Tensor
    direction: Tensor

    def __add__(self, other: EdgeSlopes) -> EdgeSlopes:
        return EdgeSlopes(
            self.basis + other.basis, self.envelope + other.envelope, self.direction + other.direction
        )


@dataclass
class _There:
    """What the way there computed."""

    x: Tensor
    y: Tensor
    sender: Tensor
    receiver: Tensor
    gathered: Tensor
    read: list[Tensor]
    """By the last block: features, products, condition."""
    factors: Tensor | None


@dataclass
class _Adjoint:
    """Cotangents that the walk for forces handed from kernel to kernel."""

    g: Tensor
    after: list[Tensor]
    stacked: Tensor | None
    gathered: Tensor
    before: list[Tensor]


@dataclass
class _Turned:
    """What the walk along the adjoint found with respect to what the way there had computed."""

    x: list[Tensor] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)
    """Of y, sender and receiver."""
    gathered: Tensor | None = None
    factors: Tensor | None = None
    read: list[Tensor] = field(default_factory=list)


class LayerPass:
    """The kernels of a layer, called with ``weights`` (in the order of :func:`layer_weights`)."""

    def __init__(self, layer: Layer, weights: Sequence[Tensor], scalars_only: bool):
        self.scalars_only = scalars_only
        self.known: Blocks = blocks(layer.config, scalars_only)
        self.blocks = (self.known.before, self.known.gather, self.known.after)
        self.shape = layer.convolution.shape(scalars_only)
        self.power_shape = layer.shape
        self.unnatural = layer.convolution.unnatural if scalars_only else 0
        given, self.weights = list(weights), {}
        for block in self.blocks:
            count = len(block.parameters)
            self.weights[id(block)], given = given[:count], given[count:]
        self.first, self.second_weights, *rest = given
        self.power_weights = rest[0] if rest else None
        self.there: _There | None = None
        self.adjoint_walk: _Adjoint | None = None
        self.turned = _Turned()

    # ------------------------------------------------------------------ there and back
    def forward(self, x: Tensor, geometry: EdgeGeometry, condition_NC: Tensor) -> Tensor:
        known, start = self.known, x
        y, sender, receiver = self._run(known.before, [x])
        if self.scalars_only:
            y = y.flatten(1)
        sender, receiver = sender.flatten(1), receiver.flatten(1)
        radial = self._radial(sender, receiver, geometry)
        gathered = convolved(y, radial, geometry.direction_E3, geometry.edges, self.shape)
        if self.unnatural:
            gathered = F.pad(gathered, (0, self.unnatural))
        x, *found = self._run(known.gather, [x, gathered])
        powers: list[Tensor] = []
        if self.power_weights is not None:
            powers = list(multiplied(found[0], self.power_weights, self.power_shape).unbind(0))
        read = [x, *powers, condition_NC]
        self.there = _There(start, y, sender, receiver, gathered, read, found[0] if found else None)
        (out,) = self._run(known.after, read)
        return out

    def adjoint(self, g: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, EdgeSlopes]:
        """From the energy's derivative with respect to the output to that with respect to the input (of the first layer, whose
        input is fixed: not all of it) and to the edges."""
        there, known, first = self._known(), self.known, self.scalars_only
        read = self._slopes(known.after, there.read, [g])[:-1]  # nobody asks for the condition's
        after, stacked = [read[0]], None
        if self.power_weights is not None:
            assert there.factors is not None
            stacked = torch.stack(read[1:])
            after.append(product_slope(there.factors, self.power_weights, stacked, self.power_shape))
        d_x, d_gathered = self._slopes(known.gather, [there.x, there.gathered], after)
        d_gathered = self._unpadded(d_gathered)
        radial = self._radial(there.sender, there.receiver, geometry)
        found = convolution_slopes(
            there.y, radial, geometry.direction_E3, d_gathered, geometry.edges, self.shape, nodes=not first
        )
        assert found.basis is not None and found.envelope is not None and found.direction is not None
        before: list[Tensor] = []
        if not first:
            assert found.x is not None and found.sender is not None and found.receiver is not None
            before = [found.x, found.sender, found.receiver]
            d_x = d_x + self._slopes(known.before, [there.x], before)[0]
        self.adjoint_walk = _Adjoint(g, after, stacked, d_gathered, before)
        return d_x, EdgeSlopes(found.basis, found.envelope, found.direction)

    # ------------------------------------------------------------------ derivatives of the walk back
    def second(self, a_x: Tensor | None, a_edges: EdgeSlopes, geometry: EdgeGeometry, sums: Sums) -> Tensor:
        """From cotangents of what :meth:`adjoint` gave (``a_x``: None in the first layer) to that of what it was given; keeps
        what falls on the way there for :meth:`reverse`, and adds to ``sums``."""
        there, walk, known, turned = self._known(), self.adjoint_walk, self.known, _Turned()
        assert walk is not None
        a_before: list[Tensor | None] = [None, None, None]
        if a_x is not None:
            found = self._second(known.before, [there.x], walk.before, [a_x], sums)
            turned.x.append(found[0])
            a_before = list(found[1:])
        a_y, a_sender, a_receiver = a_before
        conv = convolution_second(
            there.y, self._radial(there.sender, there.receiver, geometry), geometry.direction_E3, walk.gathered,
            geometry.edges, self.shape, ax=a_y, asender=a_sender, areceiver=a_receiver, abasis=a_edges.basis,
            aenvelope=a_edges.envelope, adirection=a_edges.direction, weights=sums.wanted,
        )  # fmt: skip
        sums.add(self, "radial", conv.first_parts, conv.second_parts)
        turned.before = [conv.x, conv.sender, conv.receiver]
        a_gathered = F.pad(conv.g, (0, self.unnatural)) if self.unnatural else conv.g
        rates = [torch.zeros_like(there.x) if a_x is None else a_x, a_gathered]
        t_x, turned.gathered, a_after, *a_factors = self._second(
            known.gather, [there.x, there.gathered], walk.after, rates, sums
        )
        turned.x.append(t_x)
        a_read = [a_after]
        if self.power_weights is not None:
            assert there.factors is not None and walk.stacked is not None
            turned.factors, a_stacked, parts = product_second(
                there.factors, self.power_weights, walk.stacked, a_factors[0].contiguous(), self.power_shape
            )
            sums.add(self, "powers", parts)
            a_read += list(a_stacked.unbind(0))
        a_read.append(torch.zeros_like(there.read[-1]))
        *turned.read, a_g = self._second(known.after, there.read, [walk.g], a_read, sums)
        self.turned = turned
        return a_g

    def reverse(self, g: Tensor, geometry: EdgeGeometry, sums: Sums) -> tuple[Tensor, Tensor]:
        """From the loss's derivative with respect to the output to those with respect to the input and the condition, with what
        :meth:`second` kept; adds to ``sums``."""
        there, known, turned = self._known(), self.known, self.turned
        read = self._slopes(known.after, there.read, [g], sums)
        read = [a + b for a, b in zip(read, turned.read, strict=True)] if turned.read else read
        *read, d_condition = read
        after = [read[0]]
        if self.power_weights is not None:
            assert there.factors is not None
            stacked = torch.stack(read[1:])
            d_factors, parts = product_slopes(there.factors, self.power_weights, stacked, self.power_shape)
            sums.add(self, "powers", parts)
            after.append(d_factors if turned.factors is None else d_factors + turned.factors)
        d_x, d_gathered = self._slopes(known.gather, [there.x, there.gathered], after, sums)
        if turned.gathered is not None:
            d_gathered = d_gathered + turned.gathered
        radial = self._radial(there.sender, there.receiver, geometry)
        found = convolution_slopes(
            there.y, radial, geometry.direction_E3, self._unpadded(d_gathered), geometry.edges, self.shape,
            nodes=True, weights=sums.wanted,
        )  # fmt: skip
        sums.add(self, "radial", found.first_parts, found.second_parts)
        before = [t for t in (found.x, found.sender, found.receiver) if t is not None]
        if turned.before:
            before = [a + b for a, b in zip(before, turned.before, strict=True)]
        d_x = d_x + self._slopes(known.before, [there.x], before, sums)[0]
        for t in turned.x:
            d_x = d_x + t
        return d_x, d_condition

    # ------------------------------------------------------------------ memory
    def held(self) -> list[Tensor]:
        """What the way there keeps for the way back."""
        there = self._known()
        held = [there.x, there.y, there.sender, there.receiver, there.gathered, *there.read]
        return held if there.factors is None else [*held, there.factors]

    def forget(self) -> None:
        """Let go of what :meth:`forward` and :meth:`adjoint` kept."""
        self.there = self.adjoint_walk = None

    # ------------------------------------------------------------------ kernels
    def _known(self) -> _There:
        assert self.there is not None, "forward comes first"
        return self.there

    def _radial(self, sender: Tensor, receiver: Tensor, geometry: EdgeGeometry) -> Radial:
        return Radial(
            sender, receiver, geometry.basis_EB, geometry.envelope_E, self.first, self.second_weights
        )

    def _unpadded(self, gathered: Tensor) -> Tensor:
        return gathered[..., : -self.unnatural].contiguous() if self.unnatural else gathered

    def _run(self, block: NodeBlock, given: list[Tensor]) -> list[Tensor]:
        return block.run(0, given, self.weights[id(block)], None)

    def _slopes(
        self, block: NodeBlock, given: list[Tensor], cotangents: list[Tensor], sums: Sums | None = None
    ) -> list[Tensor]:
        """With respect to each of ``given``."""
        which, total = (2, block.sums(given[0])) if sums is not None and sums.wanted else (1, None)
        written = block.run(which, [*given, *cotangents], self.weights[id(block)], total)
        if sums is not None:
            sums.add(self, id(block), total)
        return [
            torch.zeros_like(t) if found is None else found
            for found, t in zip(block.derivatives(which, written, given), given, strict=True)
        ]

    def _second(
        self, block: NodeBlock, given: list[Tensor], cotangents: list[Tensor], rates: list[Tensor], sums: Sums
    ) -> list[Tensor]:
        """With respect to each of ``given`` and of ``cotangents``; ``rates`` are cotangents of :meth:`_slopes`."""
        total = block.sums(given[0]) if block.functions[3].sums else None
        everything = [*given, *cotangents]
        rates = [r.contiguous() for r in rates]
        written = block.run(3, [*everything, *rates], self.weights[id(block)], total)
        sums.add(self, id(block), total)
        return [
            torch.zeros_like(t) if found is None else found
            for found, t in zip(block.derivatives(3, written, everything), everything, strict=True)
        ]


class Sums:
    """Derivatives with respect to weights, as kernels give them: rows whose sum they are."""

    def __init__(self, wanted: bool):
        self.wanted = wanted
        self._parts: dict[tuple[int, int | str, int], Tensor] = {}

    def add(self, layer: LayerPass, which: int | str, *parts: Tensor | None) -> None:
        for number, part in enumerate(parts):
            if part is not None and self.wanted:
                key, total = (id(layer), which, number), part.sum(0)
                self._parts[key] = self._parts[key] + total if key in self._parts else total

    def of(self, layer: LayerPass) -> list[Tensor | None]:
        """In the order of :func:`layer_weights`."""
        found: list[Tensor | None] = []
        for block in layer.blocks:
            total = self._parts[id(layer), id(block), 0]
            sizes = [w.numel() for w in layer.weights[id(block)]]
            found += [
                part.view_as(w) for part, w in zip(total.split(sizes), layer.weights[id(block)], strict=True)
            ]
        found += [self._parts[id(layer), "radial", 0], self._parts[id(layer), "radial", 1]]
        if layer.power_weights is not None:
            found.append(self._parts[id(layer), "powers", 0])
        return found


def layer_weights(layer: Layer, scalars_only: bool) -> list[Tensor]:
    """What the kernels of a layer read, contiguous, in the graph of autograd: the parameters of its three blocks, ``[B, H]`` and
    ``[H, P]`` of the radial network, and the weights of products where there are any."""
    named, known = layer.named_weights(), blocks(layer.config, scalars_only)
    weights = [named[p.name] for block in (known.before, known.gather, known.after) for p in block.parameters]
    weights += layer.convolution.radial_weights(scalars_only)
    products = [product for product in layer.products if isinstance(product, NodeProduct)]
    if products:
        weights.append(torch.cat([w for product in products for w in product.flat_weights()]))
    return [w.contiguous() for w in weights]
