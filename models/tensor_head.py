"""User properties beyond one number per graph: vectors and tensors of any irreps, spectra, classes, and values per atom.

Every component is read at the nodes: invariants (0e) from the scalars of the property head, all others linearly from the
features of their degree and parity with gates made of scalars, which keeps them exactly equivariant. Degrees above lmax (the
4e of an elastic tensor) come from products of two lower ones, up to 2 lmax. Node values are summed, averaged or kept.

All weights are stacked over properties, so that the graph of a step is the same whatever a record is labelled with.

Legend: ``N`` nodes, ``G`` graphs, ``M`` = (lmax+1)^2 components, ``C`` natural and ``U`` unnatural channels, ``H`` hidden, ``D``
components of a property, ``S`` invariant components of all properties.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomfield.data.basis import from_irreps
from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import parse_irreps

from .clebsch import clebsch_gordan, signed
from .config import NetworkConfig, PropertyConfig
from .embedding import NUM_SPECIES

Kind = tuple[int, bool]
"""Degree and whether the parity is natural, (-1)^l."""


def kinds_of(prop: PropertyConfig) -> list[Kind]:
    """One entry per irrep of a property, in order, multiplicities written out; classes are invariants."""
    if prop.kind == "multiclass":
        return [(0, True)] * len(prop.classes)
    return [(l, parity == (-1) ** l) for count, l, parity in parse_irreps(prop.irreps) for _ in range(count)]


class TensorHead(nn.Module):
    """The text above. ``scale [P]`` is the property head's; here are ``shift [S]`` and ``reference [S, 119]`` per atom and
    element."""

    shift: Tensor
    reference: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        self.properties = config.open_properties
        self.kinds = [kinds_of(p) for p in self.properties]
        flat = [kind for kinds in self.kinds for kind in kinds]
        hidden, num_scalars = 2 * config.head_hidden, flat.count((0, True))
        self.scalar = nn.Parameter(torch.zeros(num_scalars, hidden))
        self.raw = config.symmetry == "none"
        self.weight = nn.ParameterDict()
        self.gate = nn.ModuleDict()
        for kind in sorted(set(flat) - {(0, True)}):
            channels = config.channels if kind[1] or self.raw else config.channels_unnatural
            axes = (2 * kind[0] + 1,) if self.raw else ()
            self.weight[_key(kind)] = nn.Parameter(torch.zeros(flat.count(kind), *axes, channels))
            self.gate[_key(kind)] = nn.Linear(config.channels, channels)
            if kind[0] > config.lmax and not self.raw:
                table = signed(clebsch_gordan(config.lmax, kind[0] - config.lmax, kind[0]))
                self.register_buffer(f"product_{kind[0]}", table)
        self.register_buffer("shift", torch.zeros(num_scalars, dtype=torch.float64))
        self.register_buffer("reference", torch.zeros(num_scalars, NUM_SPECIES, dtype=torch.float64))

    def scalar_rows(self, name: str) -> slice:
        """The rows of one property in ``scalar``, ``shift`` and ``reference``."""
        start = 0
        for prop, kinds in zip(self.properties, self.kinds, strict=True):
            count = kinds.count((0, True))
            if prop.name == name:
                return slice(start, start + count)
            start += count
        raise AssertionError(name)

    def forward(
        self, x_NMK: Tensor, node_NH: Tensor, pooled_GH: Tensor, batch: GraphBatch, scale: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """``scale``: of each property. Returns Cartesian values ``[G, ...]`` or ``[N, ...]`` in the unit of the property,
        float64; of classes the logits ``[G, K]``."""
        equivariant = {key: self._equivariant(key, x_NMK) for key in self.weight}
        taken = dict.fromkeys(self.weight, 0)
        out, row = {}, 0
        for prop, kinds in zip(self.properties, self.kinds, strict=True):
            count = kinds.count((0, True))
            rows = slice(row, row + count)
            row += count
            invariant = self._invariant(prop, rows, node_NH, pooled_GH, batch) if count else None
            parts, number = [], 0
            for kind in kinds:
                if kind == (0, True):
                    assert invariant is not None
                    parts.append(invariant[:, number : number + 1])
                    number += 1
                    continue
                key = _key(kind)
                parts.append(self._pooled(equivariant[key][:, taken[key]], prop, batch))
                taken[key] += 1
            values = torch.cat([p.double() for p in parts], dim=1) * scale[prop.name]
            values = self._shifted(values, prop, rows, kinds, batch)
            if prop.nonnegative:
                values = scale[prop.name] * F.softplus(values / scale[prop.name])
            out[prop.name] = values if prop.kind == "multiclass" else from_irreps(values, prop.irreps)
        return out

    def _equivariant(self, key: str, x_NMK: Tensor) -> Tensor:
        """``[N, multiplicity, 2 l + 1]`` of one degree and parity, for all properties."""
        l, natural = _kind(key)
        c, lmax = self.config.channels, self.config.lmax
        gate = F.silu(self.gate[key](x_NMK[:, 0, :c]))
        weight = self.weight[key]
        if self.raw:
            return torch.einsum("nc,mdc->nmd", gate * x_NMK[:, 0, :c], weight)
        features = x_NMK[:, :, :c] if natural else x_NMK[:, :, c:]
        if l <= lmax:
            block = features[:, l * l : (l + 1) ** 2]
        else:
            low = l - lmax
            table = getattr(self, f"product_{l}").to(features)
            first, second = (
                features[:, lmax * lmax : (lmax + 1) ** 2],
                features[:, low * low : (low + 1) ** 2],
            )
            block = torch.einsum("nac,nbc,abd->ndc", first, second, table)
        return torch.einsum("ndc,nc,mc->nmd", block, gate, weight)

    def _invariant(
        self, prop: PropertyConfig, rows: slice, node_NH: Tensor, pooled_GH: Tensor, batch: GraphBatch
    ) -> Tensor:
        if prop.support == "graph" and prop.pooling == "mean":
            return pooled_GH @ self.scalar[rows].T
        return self._pooled(node_NH @ self.scalar[rows].T, prop, batch)

    def _pooled(self, values_N: Tensor, prop: PropertyConfig, batch: GraphBatch) -> Tensor:
        if prop.support == "node":
            return values_N
        shape = (batch.num_graphs, *values_N.shape[1:])
        total = torch.zeros(shape, dtype=values_N.dtype, device=values_N.device).index_add(
            0, batch.graph_index, values_N
        )
        return total if prop.pooling == "sum" else total / batch.nodes_per_graph()[:, None].to(total)

    def _shifted(
        self, values: Tensor, prop: PropertyConfig, rows: slice, kinds: list[Kind], batch: GraphBatch
    ) -> Tensor:
        """Constants of the invariant components: one each, and one per element, pooled as the property is."""
        if rows.stop == rows.start:
            return values
        constant = self._pooled(self.reference[rows].T[batch.species], prop, batch) + self.shift[rows]
        columns = iter(constant.split(1, dim=1))
        placed = [
            next(columns) if kind == (0, True) else constant.new_zeros(len(constant), 2 * kind[0] + 1)
            for kind in kinds
        ]
        return values + torch.cat(placed, dim=1)


def _key(kind: Kind) -> str:
    return f"{kind[0]}{'n' if kind[1] else 'u'}"


def _kind(key: str) -> Kind:
    return int(key[:-1]), key.endswith("n")
