"""The backbone: node embedding, then layers of edge convolution, node product and gated update.

Legend: ``N`` nodes, ``E`` edges, ``G`` graphs, ``M`` = (lmax+1)^2, ``C`` natural channels, ``K`` = C + unnatural channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from atomfield.data.graph import GraphBatch

from .blocks import blocks
from .coarse import CoarseLevels
from .config import NetworkConfig
from .control import directed_basis
from .convolution import EdgeConvolution, EdgeGeometry
from .embedding import ConditionEmbedding, NodeEmbedding
from .fourier import FourierConvolution, WaveGeometry, Waves
from .fused import (
    EdgeList,
    NodeBlock,
    PowerShape,
    geometry_available,
    powers,
    powers_available,
    prepare_order,
)
from .gpu import convolution_available, powers_on_gpu, products_available
from .layers import BOUND_EPS, EquivariantLinear, EquivariantNorm, GatedUpdate
from .long_range import LongRange, Space
from .product import NodeProduct
from .radial import bessel_basis, polynomial_envelope
from .rotation import FrameRotation


class Layer(nn.Module):
    """``x + mix(A) + mix(A*A) + mix(A*A*A)``, then the gated update, with A the mixed neighbours and the node itself."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.norm = EquivariantNorm(config)
        self.before = EquivariantLinear(config)
        self.convolution = EdgeConvolution(config)
        self.fourier = FourierConvolution(config) if config.fourier else None
        self.neighbors = EquivariantLinear(config)
        self.itself = EquivariantLinear(config, gain=0.5)
        self.element = nn.Linear(config.channels, config.width)
        nn.init.zeros_(self.element.weight)
        nn.init.ones_(self.element.bias)
        self.bound = EquivariantNorm(config, BOUND_EPS)
        self.products = nn.ModuleList(NodeProduct(config) for _ in range(config.correlation - 1))
        self.mixes = nn.ModuleList(EquivariantLinear(config, gain=0.5) for _ in range(config.correlation))
        self.update = GatedUpdate(config)
        self.shape = PowerShape(config.lmax, config.channels, config.channels_unnatural, config.correlation)
        self.fused = True
        """Use compiled kernels where there are any; False is the reference."""

    def forward(
        self,
        x_NMK: Tensor,
        geometry: EdgeGeometry,
        condition_NC: Tensor,
        waves: Sequence[Waves] | None = None,
        *,
        scalars_only: bool,
    ) -> Tensor:
        """``scalars_only``: the input is zero beyond natural l = 0. ``waves``: None leaves the Fourier part out."""
        if self.compiled(x_NMK, scalars_only=scalars_only):
            return self._fused(x_NMK, geometry, condition_NC, waves, scalars_only)
        h = self.norm(x_NMK)
        y = self.before(h)
        gathered = self.convolution(y, geometry, scalars_only=scalars_only)
        if self.fourier is not None and waves is not None:
            gathered = gathered + self.fourier(y, waves, condition_NC)
        a = self.neighbors(gathered) + self.itself(h)
        a = a * self.element(h[:, 0, : condition_NC.shape[1]]).unsqueeze(1)
        x = x_NMK + self.mixes[0](a)
        # dense crystals gather several times more than molecules: bounded factors keep cubes of sums in range
        a = self.bound(a)
        for power, mix in zip(self.powers(a), list(self.mixes)[1:], strict=True):
            x = x + mix(power)
        return self.update(x, condition_NC)

    def compiled(self, x_NMK: Tensor, *, scalars_only: bool) -> bool:
        """Whether this layer runs on kernels for these features."""
        if not (self.fused and self.convolution.fused):
            return False
        known = blocks(self.config, scalars_only)
        return (
            self.convolution.compiled(x_NMK, scalars_only)
            and known.before.available(x_NMK)
            and known.gather.available(x_NMK)
            and known.after.available(x_NMK)
        )

    def _fused(
        self,
        x_NMK: Tensor,
        geometry: EdgeGeometry,
        condition_NC: Tensor,
        waves: Sequence[Waves] | None,
        scalars_only: bool,
    ) -> Tensor:
        known, named = blocks(self.config, scalars_only), self.named_weights()
        y, sender, receiver = self._block(known.before, named, x_NMK)
        gathered = self.convolution.convolve(y, sender, receiver, geometry, scalars_only=scalars_only)
        if self.fourier is not None and waves is not None:
            gathered = gathered + self.fourier(y, waves, condition_NC)
        x, *factors = self._block(known.gather, named, x_NMK, gathered)
        powers = self.powers(factors[0]) if factors else []
        (out,) = self._block(known.after, named, x, *powers, condition_NC)
        return out

    def _block(self, block: NodeBlock, named: dict[str, Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
        return block(inputs, [named[p.name] for p in block.parameters])

    def named_weights(self) -> dict[str, Tensor]:
        """Parameters by their names in ``blocks.py``."""
        convolution, update = self.convolution, self.update
        named: dict[str, Tensor] = {
            "norm": self.norm.scale, "bound": self.bound.scale, "to_sender": convolution.sender.weight,
            "to_receiver": convolution.receiver.weight, "basis_bias": convolution.basis.bias,
            "element": self.element.weight, "element_bias": self.element.bias, "up": update.up.weight,
            "up_bias": update.up.bias, "condition_up": update.condition.weight,
            "down": update.down.weight, "down_bias": update.down.bias,
        }  # fmt: skip
        if update.gates is not None:
            named["gates"], named["gates_bias"] = update.gates.weight, update.gates.bias
        mixes = {f"mix{number}": mix for number, mix in enumerate(self.mixes)}
        linears = {"before": self.before, "neighbors": self.neighbors, "itself": self.itself} | mixes
        for name, linear in linears.items():
            assert isinstance(linear, EquivariantLinear)
            named[f"{name}_n"], named[f"{name}_u"] = linear.natural, linear.unnatural
        return named

    def powers(self, a_NMK: Tensor) -> list[Tensor]:
        """The products of two and three factors, as far as the correlation goes."""
        if not self.products:
            return []
        if self.fused and powers_available(a_NMK, self.shape):
            products = [product for product in self.products if isinstance(product, NodeProduct)]
            weights = [w for product in products for w in product.flat_weights()]
            return list(powers(a_NMK, torch.cat(weights), self.shape).unbind(0))
        c, u = self.shape.channels, self.shape.unnatural
        natural = PowerShape(self.shape.lmax, c - u, 0, self.shape.correlation)
        if self.fused and c > u and products_available(a_NMK, natural):
            return self._powers_on_gpu(a_NMK, natural)
        found = [a_NMK]
        for product in self.products:
            found.append(product(found[-1], a_NMK))
        return found[1:]

    def _powers_on_gpu(self, a_NMK: Tensor, natural: PowerShape) -> list[Tensor]:
        """The channels of one class by kernels, those of both by matrix products, whose kernels would take minutes to compile."""
        c, u = self.shape.channels, self.shape.unnatural
        products = [product for product in self.products if isinstance(product, NodeProduct)]
        weights = torch.cat([product.flat_weights()[-1] for product in products])
        inner = powers_on_gpu(a_NMK[..., u:c], weights, natural).unbind(0)
        if not u:
            return list(inner)
        factors = torch.cat([a_NMK[..., :u], a_NMK[..., c:]], dim=2)
        found, last = [], factors
        for product, own in zip(products, inner, strict=True):
            last = product.doubled_of(last, factors)
            found.append(torch.cat([last[..., :u], own, last[..., u:]], dim=2))
        return found


class Backbone(nn.Module):
    """Batch and edge vectors to node features ``[N, M, K]``."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.conditions = ConditionEmbedding(config)
        self.embedding = NodeEmbedding(config)
        self.rotation = FrameRotation(config.lmax)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.waves = WaveGeometry(config, self.rotation) if config.fourier else None
        if config.long_range in ("filter", "both"):
            self.long_range = LongRange(config)
        if config.long_range in ("coarse", "both"):
            self.coarse = CoarseLevels(config)
        self.far_after = max(1, config.layers - 1)
        """Layers before what acts beyond the cutoff: one is left to work on its result, where there are two."""
        self.recompute = False
        """Activation checkpointing: keep only the features between layers and compute the rest again in backward passes."""
        self.in_step = False
        """Use the same weights in the same order whatever a batch holds: fields without waves pass through the Fourier part too.
        For ZeRO 3, where every rank has pieces of the weights, and one a grid while another has scattered points."""

    def prepare(self) -> None:
        """Compile what is not in the cache yet, so that no training step waits for it: up to a minute, once per machine."""
        features = self.embedding.species.detach()
        geometry_available(features)
        prepare_order()
        for layer in self.layers:
            assert isinstance(layer, Layer)
            for scalars_only in (True, False):
                layer.compiled(features, scalars_only=scalars_only)
            if layer.products:
                powers_available(features, layer.shape)
            if layer.fourier is not None:
                layer.fourier.convolution.compiled(features, False)

    def geometry(self, batch: GraphBatch, vector_E3: Tensor) -> EdgeGeometry:
        """Bases and frames; ``vector_E3`` in model length units (angstrom, or scaled field units)."""
        config = self.config
        # differences of positions are taken in float64; what follows needs no more than the precision of the weights
        vector_E3 = vector_E3.to(self.embedding.species.dtype)
        distance = vector_E3.square().sum(1).sqrt()
        direction = vector_E3 / distance.unsqueeze(1)
        if batch.world == "field":
            # edges of a mesh or grid are given, not found by a radius: no envelope, and long ones saturate smoothly
            squashed = config.cutoff * torch.tanh(distance / config.cutoff)
            envelope = torch.where(batch.edge_is_radius, polynomial_envelope(distance, config.cutoff), 1.0)
        else:
            squashed = distance
            envelope = polynomial_envelope(distance, config.cutoff)
        basis = bessel_basis(squashed, config.cutoff, config.num_radial)
        if config.symmetry == "none":
            basis = directed_basis(basis, direction)
        return EdgeGeometry(
            edges=EdgeList.of(batch),
            basis_EB=basis,
            envelope_E=envelope,
            direction_E3=direction,
            rotation=self.rotation,
        )

    def forward(
        self, batch: GraphBatch, vector_E3: Tensor, level_G: Tensor, space: Space | None = None
    ) -> Tensor:
        geometry = self.geometry(batch, vector_E3)
        waves = None if self.waves is None else self.waves(batch, geometry.basis_EB.dtype)
        if not waves and not (self.in_step and batch.world == "field"):
            waves = None
        condition_NC = self.conditions(batch, level_G)
        x = self.embedding(batch, level_G, condition_NC)
        recompute = self.recompute and torch.is_grad_enabled()
        layers = [layer for layer in self.layers if isinstance(layer, Layer)]
        if recompute and not (
            convolution_available(x) or all(layer.compiled(x, scalars_only=False) for layer in layers)
        ):
            _ = (
                geometry.frame_EMM
            )  # shared by the layers of eager mode, so made outside of what is computed again
        for number, layer in enumerate(layers):
            scalars_only = number == 0 and self.embedding.only_scalars(batch)
            if recompute:
                # not reentrant: forces are a gradient inside this forward pass, and are differentiated again
                x = checkpoint(
                    layer, x, geometry, condition_NC, waves, scalars_only=scalars_only, use_reentrant=False
                )
            else:
                x = layer(x, geometry, condition_NC, waves, scalars_only=scalars_only)
            if space is not None and number + 1 == self.far_after:
                x = self._far(x, batch, space, condition_NC)
        return x

    def _far(self, x_NMK: Tensor, batch: GraphBatch, space: Space, condition_NC: Tensor) -> Tensor:
        switch = self.config.long_range
        if switch in ("filter", "both"):
            x_NMK = self.long_range(x_NMK, batch, space)
        if switch in ("coarse", "both"):
            x_NMK = self.coarse(x_NMK, batch, space, condition_NC)
        return x_NMK
