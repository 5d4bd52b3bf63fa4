"""Floating-point operations of a forward pass, by formula: what the network asks for, however it is computed.

Two for each product of a matrix with a vector or of a feature with a radial weight, three for each nonzero Clebsch-Gordan entry
and channel of a product at nodes. Norms, gates, sums and what is done once per graph are left out (a few percent). With ``C``
natural and ``U`` unnatural channels, ``K`` = C + U, ``L`` the largest degree, ``M`` = (L+1)^2, ``H`` hidden radial units, ``P``
radial weights of an edge and q the correlation, a layer takes

    node   2 [(3 + q) M (C^2 + U^2) + C K + 2 C H + 6 C^2 + 2 C (K L + U)] + products
    edge   2 [H (B + P) + K (2 D + S_0 + 2 S) + 4 U S],  D = sum_l (2l+1)^2, S_0 = (L+1)^2, S = sum_(m>0) (L+1-m)^2
    wave   as an edge, with the bases of |k|; and 2.5 n log2 n for each of the two transforms of M K numbers on n padded points

The first layer of atoms reads scalars alone: 2 [H (B + (L+1) C) + C (M + L + 1)] per edge. The radial network of an edge maps
``B`` functions of the distance to H units and these to P weights; 2 D are the rotations into the frame of the edge and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from atomfield.data.graph_batch import GraphBatch

from .config import NetworkConfig
from .fourier import NUM_BASES, padded_size
from .fused.powers import PowerShape, paths
from .fused.programs import Shape


def edge_operations(shape: Shape) -> float:
    """Of the convolution, for one edge."""
    l, c, u = shape.lmax, shape.channels, shape.unnatural
    radial = shape.hidden * (shape.num_bases + shape.num_weights)
    if shape.scalars_only:
        return 2.0 * (radial + c * (shape.components + l + 1))
    first, others = (l + 1) ** 2, sum(n * n for n in shape.sizes[1:])
    rotation = sum((2 * k + 1) ** 2 for k in range(l + 1))
    return 2.0 * (radial + (c + u) * (2 * rotation + first + 2 * others) + 4 * u * others)


def product_operations(shape: PowerShape) -> float:
    """Of one layer's products at nodes, for one node."""
    terms = sum(
        sum(len(p.terms) for p in paths(shape.lmax, both)) * (stop - start)
        for both, start, stop in shape.groups
    )
    return 3.0 * (shape.correlation - 1) * terms


def power_shape(config: NetworkConfig) -> PowerShape:
    return PowerShape(config.lmax, config.channels, config.channels_unnatural, config.correlation)


def dense_operations(config: NetworkConfig) -> float:
    """Of one layer's products with weights at nodes, for one node."""
    c, u, k, l = config.channels, config.channels_unnatural, config.width, config.lmax
    mixing = (3 + config.correlation) * (l + 1) ** 2 * (c * c + u * u)
    return 2.0 * (mixing + c * k + 2 * c * config.radial_hidden + 6 * c * c + 2 * c * (k * l + u))


def head_operations(config: NetworkConfig) -> float:
    """Of the dense products in the heads of atoms, for one atom: energy and, where there are any, properties."""
    pooled = 4 * config.head_hidden if config.properties else 0
    return 2.0 * config.channels * (config.head_hidden + pooled)


@dataclass(frozen=True)
class Operations:
    """Of one forward pass."""

    layers: int
    node: float
    """One node in one layer."""
    edge: float
    """One edge in one layer."""
    first_edge: float
    """One edge in the first layer of atoms."""
    wave: float
    """One real or imaginary part of a wave vector in one layer; 0 without messages through Fourier space."""
    numbers: int
    """Of a point's features, which are transformed."""
    head: float
    """One atom."""

    @staticmethod
    def of(config: NetworkConfig) -> Operations:
        def edge(bases: int, scalars_only: bool) -> float:
            sizes = (config.lmax, config.channels, config.channels_unnatural)
            return edge_operations(Shape(*sizes, scalars_only, bases, config.radial_hidden))

        return Operations(
            layers=config.layers,
            node=dense_operations(config) + product_operations(power_shape(config)),
            edge=edge(config.num_edge_features, False),
            first_edge=edge(config.num_edge_features, True),
            wave=edge(NUM_BASES, False) if config.fourier else 0.0,
            numbers=(config.lmax + 1) ** 2 * config.width,
            head=head_operations(config),
        )

    def forward(self, batch: GraphBatch) -> float:
        """One pass over ``batch``."""
        nodes, edges = batch.num_nodes, batch.num_edges
        if batch.world != "field":
            later = (self.layers - 1) * self.edge
            return nodes * (self.layers * self.node + self.head) + edges * (self.first_edge + later)
        waves = self._on_grids(batch) if self.wave else 0.0
        return self.layers * (nodes * self.node + edges * self.edge + waves)

    def _on_grids(self, batch: GraphBatch) -> float:
        """Messages through Fourier space in one layer; a half spectrum has as many numbers as its grid points."""
        total = 0.0
        for shape, periodic in zip(batch.grid_shapes, batch.pbc.tolist(), strict=False):
            if shape is not None:
                points = math.prod(padded_size(n, p) for n, p in zip(shape, periodic, strict=False))
                total += points * (self.wave + 5.0 * math.log2(points) * self.numbers)
        return total
