"""Heads as stacked tensors ``[levels, ...]`` or ``[properties, ...]``: the same graph on every rank whatever the task.

Legend: ``N`` nodes, ``G`` graphs, ``M`` components, ``C`` natural and ``U`` unnatural channels, ``H`` hidden, ``L`` levels,
``S`` field states, ``P`` user properties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomfield.data.basis import from_irreps
from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import VOCABULARY

from .config import NetworkConfig
from .control import MAX_COMPONENTS
from .embedding import NUM_SPECIES
from .states import read_state
from .tensor_head import TensorHead
from .trees import Trees


def sum_by_graph(values: Tensor, batch: GraphBatch) -> Tensor:
    """Sum node values ``[N, ...]`` to ``[G, ...]``."""
    zeros = torch.zeros(batch.num_graphs, *values.shape[1:], dtype=values.dtype, device=values.device)
    return zeros.index_add(0, batch.graph_index, values)


@dataclass(frozen=True)
class Answers:
    """What is wanted of a pass beside energies, forces and stress. ``denoise``: the vectors that remove noise. ``properties``:
    the user's. ``features``: what the last layers read (``uncertainty.py``)."""

    denoise: bool = False
    properties: bool = True
    features: bool = False


class Readout(NamedTuple):
    """What the energy of an atom is made with: hidden units, ``weight [H, C]`` and ``bias [H]``, and for each node, or as one row
    for all, their ``factor``, ``shift`` and ``energy`` ``[N, H]``, and a linear part ``[N, C]`` where there is one."""

    weight: Tensor
    bias: Tensor
    factor: Tensor
    shift: Tensor
    energy: Tensor
    linear: Tensor | None

    def inner(self, scalars: Tensor) -> Tensor:
        """``[N, H]``: what the silu is taken of."""
        return F.linear(scalars, self.weight, self.bias) * self.factor + self.shift

    def flat(self) -> list[Tensor]:
        """For :meth:`of`."""
        return [t for t in self if t is not None]

    @staticmethod
    def of(tensors: Sequence[Tensor]) -> Readout:
        weight, bias, factor, shift, energy, *linear = tensors
        return Readout(weight, bias, factor, shift, energy, linear[0] if linear else None)


class AtomHead(nn.Module):
    """Energy per atom, partial charge, atomic dipole and denoising vector, one row of weights per level of theory."""

    energy_scale: Tensor
    """eV, shared by all levels."""
    reference: Tensor
    """``[levels, 119]`` eV per atom by atomic number."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        num_levels, hidden, c = len(config.levels), config.head_hidden, config.channels
        self.channels = c
        self.trunk = nn.Linear(c, hidden)
        self.level_scale = nn.Parameter(torch.zeros(num_levels, hidden))
        self.level_shift = nn.Parameter(torch.zeros(num_levels, hidden))
        self.energy = nn.Parameter(torch.zeros(num_levels, hidden))
        self.charge = nn.Parameter(torch.zeros(num_levels, hidden))
        # [L, C], in units of energy_scale per feature: hidden units can be driven to where silu has no gradient, this part cannot
        self.linear = nn.Parameter(torch.zeros(num_levels, c)) if config.linear_readout else None
        if config.electrostatics:
            self.softness = nn.Parameter(torch.zeros(num_levels, hidden))
            # the Coulomb energy is quadratic in the charges: from zero they would never leave, and tenths of e are volts of noise
            nn.init.normal_(self.charge, std=0.1 * hidden**-0.5)
        self.electrostatics = config.electrostatics
        self.raw = config.symmetry == "none"
        self.has_direct = "direct" in config.auxiliary
        axes = (3,) if self.raw else ()
        self.dipole = nn.Parameter(torch.zeros(num_levels, *axes, c))
        self.noise = nn.Parameter(torch.zeros(*axes, c))
        if "direct" in config.auxiliary:
            self.direct = nn.Parameter(torch.zeros(num_levels, *axes, c))
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("reference", torch.zeros(num_levels, NUM_SPECIES, dtype=torch.float64))

    def forward(
        self, x_NMK: Tensor, batch: GraphBatch, level_G: Tensor, wanted: Answers
    ) -> dict[str, Tensor]:
        """Energies of graphs, and of atoms what else is read from their last features."""
        level_N = level_rows(level_G, batch)
        scalars = x_NMK[:, 0, : self.channels]
        readout = self.readout(level_N)
        hidden = F.silu(readout.inner(scalars))
        energy_N = (hidden * readout.energy).sum(1)
        if readout.linear is not None:
            energy_N = energy_N + (scalars * readout.linear).sum(1)
        energy_N = energy_N.double() * self.energy_scale
        energy_N = energy_N + self.reference[level_N, batch.species]
        charge_N = (hidden * self.charge[level_N]).sum(1)
        out = {"energy": sum_by_graph(energy_N, batch), "charges": charge_N}
        if wanted.features:
            out["features/atoms"] = hidden
        if self.electrostatics:
            out["softness"] = (hidden * self.softness[level_N]).sum(1)
        if self.raw:
            out["atomic_dipole"] = (x_NMK * self.dipole[level_N]).sum(2)
            if self.has_direct:
                out["direct_forces"] = (x_NMK * self.direct[level_N]).sum(2) * self.energy_scale
        elif x_NMK.shape[1] > 1:
            vectors = x_NMK[:, 1:4, : self.channels]
            out["atomic_dipole"] = (vectors * self.dipole[level_N].unsqueeze(1)).sum(2)
            if self.has_direct:
                direct = (vectors * self.direct[level_N].unsqueeze(1)).sum(2)
                out["direct_forces"] = direct * self.energy_scale
        if wanted.denoise and "atomic_dipole" in out:
            out["displacement_noise"] = self.noise_of(x_NMK)
        return out

    def noise_of(self, x_NMK: Tensor) -> Tensor:
        """``[N, 3]``: the vectors that remove noise."""
        return x_NMK[:, 0] @ self.noise.T if self.raw else x_NMK[:, 1:4, : self.channels] @ self.noise

    def readout(self, level_N: Tensor) -> Readout:
        """What energies of atoms are made with; ``level_N``: of :func:`level_rows`."""
        return Readout(
            self.trunk.weight, self.trunk.bias, 1 + self.level_scale[level_N], self.level_shift[level_N],
            self.energy[level_N], None if self.linear is None else self.linear[level_N],
        )  # fmt: skip

    def slope(self, scalars: Tensor, readout: Readout) -> Tensor:
        """``[N, C]`` eV: the derivative of the energy with respect to natural scalars ``[N, C]``."""
        found = (_silu_slope(readout.inner(scalars)) * readout.factor * readout.energy) @ readout.weight
        found = found if readout.linear is None else found + readout.linear
        return found * self.energy_scale.to(found.dtype)

    def slope_turned(self, scalars: Tensor, readout: Readout, a_NC: Tensor) -> tuple[Tensor, list[Tensor]]:
        """From a cotangent of :meth:`slope` to that of ``scalars`` and to those of ``readout.flat()``."""
        a = a_NC * self.energy_scale.to(a_NC.dtype)
        factor, energy = readout.factor, readout.energy
        units = F.linear(scalars, readout.weight, readout.bias)
        inner = units * factor + readout.shift
        gate = torch.sigmoid(inner)
        rise, bend = _silu_slope(inner), gate * (1 - gate) * (2 + inner * (1 - 2 * gate))
        moved = a @ readout.weight.T
        d_inner = moved * bend * factor * energy
        d_units = d_inner * factor
        d_weight = (rise * factor * energy).T @ a + d_units.T @ scalars
        rows = [moved * rise * energy + d_inner * units, d_inner, moved * rise * factor, a]
        own = [d.sum_to_size(t.shape) for d, t in zip(rows, readout.flat()[2:], strict=False)]
        return d_units @ readout.weight, [d_weight, d_units.sum(0), *own]


def level_rows(level_G: Tensor, batch: GraphBatch) -> Tensor:
    """The level of each node ``[N]``, or ``[1]`` where all graphs have the same."""
    return level_G[:1] if len(set(batch.levels)) == 1 else level_G[batch.graph_index]


def _silu_slope(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


class FieldHead(nn.Module):
    """The next state of every field quantity: the present one plus an increment in units of its RMS; of a steady one the whole
    value."""

    increment_rms: Tensor
    """``[levels, states]`` RMS norm of the change over one step, or of the value of a steady quantity (about its mean)."""
    steady_mean: Tensor | None
    """``[levels, states]`` what is added to a steady number, in its unit; only where the configuration has ``centred``."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        num_levels, num_states = len(config.levels), len(config.field_states)
        parts = 2 if config.symmetry == "O3" else MAX_COMPONENTS
        self.weight = nn.Parameter(torch.zeros(num_levels, num_states, parts, config.channels))
        self.register_buffer("increment_rms", torch.ones(num_levels, num_states, dtype=torch.float64))
        self.register_buffer("steady_mean", torch.zeros_like(self.increment_rms) if config.centred else None)

    def forward(self, x_NMK: Tensor, batch: GraphBatch, level_G: Tensor) -> dict[str, Tensor]:
        level_N = level_G[batch.graph_index]
        out = {}
        for k, name in enumerate(self.config.field_states):
            steady = name in self.config.steady
            if name not in batch.quantities and not steady:
                continue
            components = read_state(self.config, x_NMK, self.weight[level_N, k], name)
            increment = components.double() * self.increment_rms[level_N, k, None]
            value = from_irreps(increment, VOCABULARY[name].irreps)
            if steady and self.steady_mean is not None and VOCABULARY[name].irreps == "0e":
                value = value + self.steady_mean[level_N, k]
            out[name] = value if steady else batch.quantities[name].double() + value
        return out


class PropertyHead(nn.Module):
    """User properties: sums of atomic contributions (extensive) or an MLP of mean and attention pooling (intensive); what is
    more than one number per graph is read in ``tensor_head.py``, and ``trees.py`` adds what decision trees say."""

    scale: Tensor
    shift: Tensor
    reference: Tensor

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c, hidden, count = config.channels, 2 * config.head_hidden, len(config.properties)
        self.node = nn.Linear(c, hidden)
        self.attention = nn.Linear(c, hidden)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.dropout = nn.Dropout(0.1)
        self.sum_weight = nn.Parameter(torch.zeros(count, hidden))
        self.mean_weight = nn.Parameter(torch.zeros(count, hidden))
        odd = config.symmetry == "O3" and any(p.irreps == "0o" and not p.is_open for p in config.properties)
        self.pseudoscalar = PseudoscalarPooling(config) if odd else None
        self.tensors = TensorHead(config) if config.open_properties else None
        self.trees = Trees(config.properties) if any(p.trees for p in config.properties) else None
        self.register_buffer("scale", torch.ones(count, dtype=torch.float64))
        self.register_buffer("shift", torch.zeros(count, dtype=torch.float64))
        self.register_buffer("reference", torch.zeros(count, NUM_SPECIES, dtype=torch.float64))

    def forward(self, x_NMK: Tensor, batch: GraphBatch, features: bool = False) -> dict[str, Tensor]:
        """``features``: with what the last layers read, ``features/property_atoms [N, 2 H]`` and
        ``features/property_mean [G, 2 H]``."""
        if not self.config.properties:
            return {}
        scalars = x_NMK[:, 0, : self.config.channels]
        node = self.dropout(F.silu(self.node(scalars)))
        counts = batch.nodes_per_graph().to(node.dtype).unsqueeze(1)
        mean = sum_by_graph(node, batch) / counts
        weight = torch.exp(3 * torch.tanh(self.attention(scalars)))
        attended = sum_by_graph(weight * node, batch) / sum_by_graph(weight, batch)
        pooled = self.dropout(F.silu(self.mix(torch.cat([mean, attended], dim=1))))
        total = sum_by_graph(node, batch)
        odd = None if self.pseudoscalar is None else self.pseudoscalar(x_NMK, batch)
        trees = {} if self.trees is None else self.trees(scalars, batch)
        out = {"features/property_atoms": node, "features/property_mean": pooled} if features else {}
        if self.tensors is not None:
            scale = {p.name: self.scale[k] for k, p in enumerate(self.config.properties)}
            out |= self.tensors(x_NMK, node, pooled, batch, scale)
        for k, prop in enumerate(self.config.properties):
            if prop.is_open:
                continue
            if prop.irreps == "0o" and odd is not None:
                out[prop.name] = odd[:, k].double() * self.scale[k]
                continue
            raw = total @ self.sum_weight[k] if prop.pooling == "sum" else pooled @ self.mean_weight[k]
            raw = raw.double() + trees[prop.name] if prop.name in trees else raw.double()
            value = raw * self.scale[k] + self.shift[k]
            out[prop.name] = value + sum_by_graph(self.reference[k][batch.species], batch)
        return out


class PseudoscalarPooling(nn.Module):
    """User properties that change sign in a mirror: linear in the pseudoscalar channels (0o), with gates made of scalars, so
    that the result is exactly odd and zero for what equals its mirror image."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        c, u, count = config.channels, config.channels_unnatural, len(config.properties)
        self.gate = nn.Linear(c, u)
        self.attention = nn.Linear(c, u)
        self.sum_weight = nn.Parameter(torch.zeros(count, u))
        self.mean_weight = nn.Parameter(torch.zeros(count, 2 * u))

    def forward(self, x_NMK: Tensor, batch: GraphBatch) -> Tensor:
        """``[G, P]`` in units of each property's scale; columns of even properties mean nothing."""
        scalars, odd = x_NMK[:, 0].tensor_split([self.config.channels], dim=1)
        node = odd * F.silu(self.gate(scalars))
        total = sum_by_graph(node, batch)
        weight = torch.exp(3 * torch.tanh(self.attention(scalars)))
        attended = sum_by_graph(weight * node, batch) / sum_by_graph(weight, batch)
        mean = total / batch.nodes_per_graph().to(node.dtype).unsqueeze(1)
        pooled = torch.cat([mean, attended], dim=1)
        # one product for each property: in a matrix product the last bits of one depend on how many others there are
        columns = [
            total @ self.sum_weight[k] if p.pooling == "sum" else pooled @ self.mean_weight[k]
            for k, p in enumerate(self.config.properties)
        ]
        return torch.stack(columns, dim=1)
