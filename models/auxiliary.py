"""Parts that only some objectives of pretraining use; a network has those that ``NetworkConfig.auxiliary`` names.

All of them are one tensor for every level or element, so that ranks with different tasks build one graph.

Legend: ``N`` nodes, ``C`` natural channels, ``L`` levels, ``S`` field states.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atomfield.data.basis import from_irreps
from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import PER_FRAGMENT, VOCABULARY
from atomfield.data.references import NUM_SPECIES

from .config import NetworkConfig
from .control import MAX_COMPONENTS
from .states import read_state

HIDDEN = "hidden"
"""Name in ``batch.quantities`` of the mask ``[N]`` (1 where hidden): species of atoms, states of points."""
ATOM_INPUTS = frozenset({HIDDEN, "given_forces", *PER_FRAGMENT.values()})
"""Quantities of atoms that the network reads; all others are labels."""


def is_hidden(batch: GraphBatch) -> Tensor | None:
    """Bool ``[N]``, or None where nothing is hidden."""
    mask = batch.quantities.get(HIDDEN)
    return None if mask is None else mask > 0.5


class GivenForces(nn.Module):
    """Forces as an input of atoms: vectors at l = 1 and a function of their length at l = 0. NaN: not given, a state of its own.

    DeNS (Liao, Smidt, Shuaibi, Das, arXiv:2403.09549) encodes forces by their norm and harmonics likewise. Lengths pass through
    log(1 + |F| / scale): disturbed structures have forces over many orders of magnitude.
    """

    scale: Tensor
    """eV/angstrom: the RMS force of the training records."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        c = config.channels
        self.raw = config.symmetry == "none"
        self.direction = nn.Parameter(torch.randn(*((3,) if self.raw else ()), c))
        self.length = nn.Parameter(torch.randn(c) * 0.3)
        self.present = nn.Parameter(torch.randn(c) * 0.1)
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))

    def forward(self, forces_N3: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scalars ``[N, C]`` and vectors ``[N, 3, C]``; of the control only scalars."""
        known = torch.isfinite(forces_N3).all(1)
        forces = torch.where(known[:, None], forces_N3, 0.0) / self.scale
        length = forces.norm(dim=1, keepdim=True)
        bounded = torch.log1p(length)
        vector = (forces * (bounded / length.clamp_min(1e-12))).to(self.length.dtype)
        scalars = known[:, None].to(vector.dtype) * self.present + bounded.to(vector.dtype) * self.length
        if self.raw:
            return scalars + vector @ self.direction, None
        return scalars, vector.unsqueeze(2) * self.direction


class ElementHead(nn.Module):
    """Which element a node is: logits of all atomic numbers from its scalars."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.channels = config.channels
        self.trunk = nn.Linear(config.channels, config.head_hidden)
        self.logits = nn.Linear(config.head_hidden, NUM_SPECIES)

    def forward(self, x_NMK: Tensor) -> Tensor:
        """``[N, 119]``."""
        return self.logits(F.silu(self.trunk(x_NMK[:, 0, : self.channels])))


class StateHead(nn.Module):
    """The present state of every field quantity, in units of its RMS (of what is centred about its mean): what stands at points
    whose state was hidden."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        parts = 2 if config.symmetry == "O3" else MAX_COMPONENTS
        self.weight = nn.Parameter(
            torch.zeros(len(config.levels), len(config.field_states), parts, config.channels)
        )

    def forward(
        self,
        x_NMK: Tensor,
        batch: GraphBatch,
        level_G: Tensor,
        input_rms: Tensor,
        input_mean: Tensor | None,
    ) -> dict[str, Tensor]:
        """``input_rms``, ``input_mean [L, inputs]``, as the embedding has them, in the units of the quantities."""
        level_N, config = level_G[batch.graph_index], self.config
        out = {}
        for k, name in enumerate(config.field_states):
            if name not in batch.quantities:
                continue
            column, irreps = config.field_inputs.index(name), VOCABULARY[name].irreps
            rms = input_rms[level_N, column, None]
            components = read_state(config, x_NMK, self.weight[level_N, k], name).double() * rms
            out[name] = from_irreps(components, irreps)
            if input_mean is not None and irreps == "0e":
                out[name] = out[name] + input_mean[level_N, column]
        return out
