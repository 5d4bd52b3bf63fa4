"""A layer by its compiled kernels, with the walk back for forces and the two walks that training on forces adds.

The energy's derivative with respect to the output of a layer goes back to its input and to the edges
(:meth:`LayerPass.adjoint`): that is what forces are made of. A loss of forces is differentiated by following that walk in the
opposite order (:meth:`LayerPass.second`), which gives derivatives with respect to weights and to everything that the way there
had computed; with these added, an ordinary walk back (:meth:`LayerPass.reverse`) collects the rest. The kernels are those of the
recorded graph.

Legend: ``N`` nodes, ``E`` edges, ``M`` = (lmax+1)^2, ``C`` natural and ``U`` unnatural channels, ``K`` = C + U, ``B`` radial
bases, ``H`` radial hidden units, ``P`` radial weights. Features, their derivatives and cotangents are ``[N, M, K]``, conditions
``[N, C]``, all of them in the precision of the weights. Of a quantity x, ``d_x`` is the derivative of the energy or of the loss
with respect to it, ``a_x`` the loss's derivative with respect to that derivative of the energy, and ``t_x`` what ``a_`` of others
adds to the loss's derivative with respect to x itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .backbone import Layer
from .blocks import blocks
from .convolution import EdgeGeometry
from .fused import (
    NodeBlock,
    Radial,
    Slopes,
    constant,
    convolution_second,
    convolution_slopes,
    convolved,
    made,
    multiplied,
    product_second,
    product_slope,
    product_slopes,
)
from .product import NodeProduct


class EdgeSlopes(NamedTuple):
    """With respect to ``basis [E, B]``, ``envelope [E]`` and ``direction [E, 3]``: derivatives, or cotangents of these."""

    basis: Tensor
    envelope: Tensor
    direction: Tensor

    def plus(self, other: EdgeSlopes) -> EdgeSlopes:
        return EdgeSlopes(*(made(torch.add, a, b) for a, b in zip(self, other, strict=True)))


class Computed(NamedTuple):
    """What the way there computed and the way back needs."""

    x: Tensor
    y: Tensor
    """``[N, M, K]``, in a first layer of scalars ``[N, C]``."""
    sender: Tensor
    """``[N, H]``, as ``receiver``."""
    receiver: Tensor
    gathered: Tensor
    read: tuple[Tensor, ...]
    """By the last block: features, products, condition."""
    factors: Tensor | None
    """Of the products, where there are any."""

    def flat(self) -> list[Tensor]:
        """For :meth:`of`."""
        return [*self[:5], *([] if self.factors is None else [self.factors]), *self.read]

    @staticmethod
    def of(tensors: Sequence[Tensor], *, products: bool) -> Computed:
        x, y, sender, receiver, gathered, *rest = tensors
        factors = rest.pop(0) if products else None
        return Computed(x, y, sender, receiver, gathered, tuple(rest), factors)


class Adjoint(NamedTuple):
    """Cotangents that the walk for forces handed from kernel to kernel."""

    g: Tensor
    after: tuple[Tensor, ...]
    """Of features and factors."""
    gathered: Tensor
    before: tuple[Tensor, ...]
    """Of y, sender and receiver; none in the first layer."""
    stacked: Tensor | None
    """Of the products, ``[powers, N, M, K]``."""

    def flat(self) -> list[Tensor]:
        """For :meth:`of`."""
        stacked = [] if self.stacked is None else [self.stacked]
        return [self.g, self.gathered, *stacked, *self.after, *self.before]

    @staticmethod
    def of(tensors: Sequence[Tensor], *, products: bool) -> Adjoint:
        g, gathered, *rest = tensors
        stacked = rest.pop(0) if products else None
        count = 1 + products
        return Adjoint(g, tuple(rest[:count]), gathered, tuple(rest[count:]), stacked)


class Turned(NamedTuple):
    """What the walk along the adjoint found with respect to what :class:`Computed` holds."""

    x: Tensor
    before: tuple[Tensor, ...]
    gathered: Tensor
    read: tuple[Tensor, ...]
    factors: Tensor | None


class LayerPass:
    """The kernels of a layer, called with ``weights`` (in the order of :func:`layer_weights`). It keeps nothing of a call."""

    def __init__(self, layer: Layer, weights: Sequence[Tensor], scalars_only: bool):
        self.scalars_only = scalars_only
        self.programs = blocks(layer.config, scalars_only)
        self.blocks = (self.programs.before, self.programs.gather, self.programs.after)
        self.shape = layer.convolution.shape(scalars_only)
        self.power_shape = layer.shape
        self.unnatural = layer.convolution.unnatural if scalars_only else 0
        given, self.weights = list(weights), {}
        for block in self.blocks:
            count = len(block.parameters)
            self.weights[id(block)], given = given[:count], given[count:]
        self.first, self.second_weights, *rest = given
        self.power_weights = rest[0] if rest else None

    def all_weights(self) -> list[Tensor]:
        """What kernels read of them."""
        given = [w for block in self.blocks for w in self.weights[id(block)]]
        given += [self.first, self.second_weights]
        return given if self.power_weights is None else [*given, self.power_weights]

    # ------------------------------------------------------------------ there and back
    def forward(self, x: Tensor, geometry: EdgeGeometry, condition_NC: Tensor) -> tuple[Tensor, Computed]:
        """The output of the layer."""
        y, sender, receiver = self._run(self.programs.before, [x])
        if self.scalars_only:
            y = y.flatten(1)
        sender, receiver = sender.flatten(1), receiver.flatten(1)
        radial = self._radial(sender, receiver, geometry)
        gathered = convolved(y, radial, geometry.direction_E3, geometry.edges, self.shape)
        if self.unnatural:
            gathered = self._padded(gathered)
        mixed, *found = self._run(self.programs.gather, [x, gathered])
        powers: list[Tensor] = []
        if self.power_weights is not None:
            powers = list(multiplied(found[0], self.power_weights, self.power_shape).unbind(0))
        read = (mixed, *powers, condition_NC)
        factors = found[0] if self.power_weights is not None else None
        (out,) = self._run(self.programs.after, read)
        return out, Computed(x, y, sender, receiver, gathered, read, factors)

    def adjoint(
        self, g: Tensor, computed: Computed, geometry: EdgeGeometry
    ) -> tuple[Tensor, EdgeSlopes, Adjoint]:
        """From the energy's derivative with respect to the output to that with respect to the input (of the first layer, whose
        input is fixed: not all of it) and to the edges."""
        # nobody asks for the derivative with respect to the condition
        features, *powers, _ = self._slopes(self.programs.after, computed.read, [g])
        after: tuple[Tensor, ...] = (features,)
        stacked = None
        if self.power_weights is not None:
            assert computed.factors is not None
            stacked = made(torch.stack, powers)
            after += (product_slope(computed.factors, self.power_weights, stacked, self.power_shape),)
        d_x, d_gathered = self._slopes(self.programs.gather, [computed.x, computed.gathered], after)
        d_gathered = self._unpadded(d_gathered)
        found = convolution_slopes(
            computed.y, self._radial(computed.sender, computed.receiver, geometry), geometry.direction_E3, d_gathered,
            geometry.edges, self.shape, nodes=not self.scalars_only,
        )  # fmt: skip
        assert found.basis is not None and found.envelope is not None and found.direction is not None
        before: tuple[Tensor, ...] = ()
        if not self.scalars_only:
            assert found.x is not None and found.sender is not None and found.receiver is not None
            before = (found.x, found.sender, found.receiver)
            d_x = made(torch.add, d_x, self._slopes(self.programs.before, [computed.x], before)[0])
        edges = EdgeSlopes(found.basis, found.envelope, found.direction)
        return d_x, edges, Adjoint(g, after, d_gathered, before, stacked)

    # ------------------------------------------------------------------ derivatives of the walk back
    def second(
        self, a_x: Tensor | None, a_edges: EdgeSlopes, computed: Computed, walk: Adjoint, geometry: EdgeGeometry, sums: Sums
    ) -> tuple[Tensor, Turned]:  # fmt: skip
        """From cotangents of what :meth:`adjoint` gave (``a_x``: None in the first layer) to that of what it was given, and to
        what falls on the way there; adds derivatives of weights to ``sums``."""
        t_x: Tensor | None = None
        a_y, a_sender, a_receiver = None, None, None
        if a_x is not None:
            t_x, a_y, a_sender, a_receiver = self._second(
                self.programs.before, [computed.x], walk.before, [a_x], sums
            )
        cotangents = Slopes(
            a_y, a_sender, a_receiver, a_edges.basis, a_edges.envelope, None, None, a_edges.direction
        )
        conv = convolution_second(
            computed.y, self._radial(computed.sender, computed.receiver, geometry), geometry.direction_E3, walk.gathered,
            cotangents, geometry.edges, self.shape, weights=sums.wanted,
        )  # fmt: skip
        sums.add(self, "radial", conv.first_parts, conv.second_parts)
        a_gathered = self._padded(conv.g) if self.unnatural else conv.g
        rates = [torch.zeros_like(computed.x) if a_x is None else a_x, a_gathered]
        own, t_gathered, a_after, *a_factors = self._second(
            self.programs.gather, [computed.x, computed.gathered], walk.after, rates, sums
        )
        t_x = own if t_x is None else t_x + own
        a_read, t_factors = [a_after], None
        if self.power_weights is not None:
            assert computed.factors is not None and walk.stacked is not None
            t_factors, a_stacked, parts = product_second(
                computed.factors,
                self.power_weights,
                walk.stacked,
                a_factors[0].contiguous(),
                self.power_shape,
            )
            sums.add(self, "powers", parts)
            a_read += list(a_stacked.unbind(0))
        a_read.append(torch.zeros_like(computed.read[-1]))
        *t_read, a_g = self._second(self.programs.after, computed.read, [walk.g], a_read, sums)
        before = (conv.x, conv.sender, conv.receiver)
        return a_g, Turned(t_x, before, t_gathered, tuple(t_read), t_factors)

    def reverse(
        self, g: Tensor, computed: Computed, turned: Turned | None, geometry: EdgeGeometry, sums: Sums
    ) -> tuple[Tensor, Tensor]:
        """From the loss's derivative with respect to the output to those with respect to the input and the condition, with what
        :meth:`second` found (None: the loss has no forces); adds derivatives of weights to ``sums``."""
        read = self._slopes(self.programs.after, computed.read, [g], sums)
        if turned is not None:
            read = [a + b for a, b in zip(read, turned.read, strict=True)]
        features, *powers, d_condition = read
        after = [features]
        if self.power_weights is not None:
            assert computed.factors is not None
            d_factors, parts = product_slopes(
                computed.factors, self.power_weights, torch.stack(powers), self.power_shape
            )
            sums.add(self, "powers", parts)
            after.append(
                d_factors if turned is None or turned.factors is None else d_factors + turned.factors
            )
        d_x, d_gathered = self._slopes(self.programs.gather, [computed.x, computed.gathered], after, sums)
        if turned is not None:
            d_x, d_gathered = d_x + turned.x, d_gathered + turned.gathered
        found = convolution_slopes(
            computed.y, self._radial(computed.sender, computed.receiver, geometry), geometry.direction_E3,
            self._unpadded(d_gathered), geometry.edges, self.shape, nodes=True, weights=sums.wanted,
        )  # fmt: skip
        sums.add(self, "radial", found.first_parts, found.second_parts)
        before = [t for t in (found.x, found.sender, found.receiver) if t is not None]
        if turned is not None:
            before = [a + b for a, b in zip(before, turned.before, strict=True)]
        return d_x + self._slopes(self.programs.before, [computed.x], before, sums)[0], d_condition

    # ------------------------------------------------------------------ kernels
    def _radial(self, sender: Tensor, receiver: Tensor, geometry: EdgeGeometry) -> Radial:
        return Radial(
            sender, receiver, geometry.basis_EB, geometry.envelope_E, self.first, self.second_weights
        )

    def _padded(self, gathered: Tensor) -> Tensor:
        zeros = gathered.new_zeros(*gathered.shape[:-1], self.unnatural)
        constant(zeros)
        return made(_joined, [gathered, zeros])

    def _unpadded(self, gathered: Tensor) -> Tensor:
        return made(_joined, [gathered[..., : -self.unnatural]]) if self.unnatural else gathered

    def _run(self, block: NodeBlock, given: Sequence[Tensor]) -> list[Tensor]:
        return block.run(0, given, self.weights[id(block)], None)

    def _slopes(
        self,
        block: NodeBlock,
        given: Sequence[Tensor],
        cotangents: Sequence[Tensor],
        sums: Sums | None = None,
    ) -> list[Tensor]:
        """With respect to each of ``given``."""
        weights = sums is not None and sums.wanted
        found, parts = block.slopes(given, cotangents, self.weights[id(block)], weights=weights)
        if sums is not None:
            sums.add(self, id(block), parts)
        return _filled(found, given)

    def _second(
        self, block: NodeBlock, given: Sequence[Tensor], cotangents: Sequence[Tensor], rates: Sequence[Tensor], sums: Sums
    ) -> list[Tensor]:  # fmt: skip
        """With respect to each of ``given`` and of ``cotangents``; ``rates`` are cotangents of :meth:`_slopes`."""
        found, parts = block.second(
            given, cotangents, [r.contiguous() for r in rates], self.weights[id(block)]
        )
        sums.add(self, id(block), parts)
        return _filled(found, [*given, *cotangents])


_joined = partial(torch.cat, dim=-1)
"""Of one tensor: a contiguous copy."""


def _filled(found: Sequence[Tensor | None], like: Sequence[Tensor]) -> list[Tensor]:
    return [_zeros(t) if f is None else f for f, t in zip(found, like, strict=True)]


def _zeros(like: Tensor) -> Tensor:
    zeros = torch.zeros_like(like)
    constant(zeros)
    return zeros


class Sums:
    """Derivatives with respect to weights, from the rows that kernels give."""

    def __init__(self, wanted: bool):
        self.wanted = wanted
        self._totals: dict[tuple[int, int | str, int], Tensor] = {}

    def add(self, layer: LayerPass, which: int | str, *parts: Tensor | None) -> None:
        for number, part in enumerate(parts):
            if part is not None and self.wanted:
                key, total = (id(layer), which, number), part.sum(0)
                self._totals[key] = self._totals[key] + total if key in self._totals else total

    def of(self, layer: LayerPass) -> list[Tensor]:
        """In the order of :func:`layer_weights`."""
        found: list[Tensor] = []
        for block in layer.blocks:
            found += block.split(self._totals[id(layer), id(block), 0], layer.weights[id(block)])
        found += [self._totals[id(layer), "radial", number] for number in (0, 1)]
        if layer.power_weights is not None:
            found.append(self._totals[id(layer), "powers", 0])
        return found


def layer_weights(layer: Layer, scalars_only: bool) -> list[Tensor]:
    """What the kernels of a layer read, contiguous, in the graph of autograd: the parameters of its three blocks, ``[B, H]`` and
    ``[H, P]`` of the radial network, and the weights of products where there are any."""
    named, programs = layer.named_weights(), blocks(layer.config, scalars_only)
    all_blocks = (programs.before, programs.gather, programs.after)
    weights = [named[p.name] for block in all_blocks for p in block.parameters]
    weights += layer.convolution.radial_weights(scalars_only)
    products = [product for product in layer.products if isinstance(product, NodeProduct)]
    if products:
        weights.append(torch.cat([w for product in products for w in product.flat_weights()]))
    return [w.contiguous() for w in weights]
