"""Grow a network: rows for new levels in every stacked tensor, parts for new objectives.

Old rows keep their values and places: old levels answer to the bit as before until training moves what is shared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .config import NetworkConfig
from .network import AtomFieldNet
from .trees import rows_of

PER_LEVEL = (
    "backbone.conditions.level",
    "backbone.embedding.input_rms",
    "backbone.embedding.input_mean",
    "atom_head.level_scale",
    "atom_head.level_shift",
    "atom_head.energy",
    "atom_head.linear",
    "atom_head.charge",
    "atom_head.softness",
    "atom_head.dipole",
    "atom_head.direct",
    "atom_head.reference",
    "field_head.weight",
    "field_head.increment_rms",
    "field_head.steady_mean",
    "state_head.weight",
)
"""Tensors with one row per level."""
CONDITIONS_IN = "backbone.conditions.up.weight"
"""Two columns for each condition: its value, and whether it is known."""
HEADS = ("atom_head.", "field_head.", "element_head.", "state_head.")
PER_PROPERTY = ("sum_weight", "mean_weight", "scale", "shift", "reference")
"""Last parts of the names of tensors of the property head with one row per property."""


def grown(
    net: AtomFieldNet, config: NetworkConfig, *, copy_from: str | None = None, fresh_heads: bool = False
) -> AtomFieldNet:
    """A network of ``config`` with the weights of ``net``.

    config: that of ``net`` with more levels after its own, with other properties, with more or fewer auxiliary parts, with more
    conditions after its own. A new level starts as a copy of the row ``copy_from``, or with fresh weights. New parts are fresh,
    and so are the rows of new properties, which read what the old ones shared. New conditions begin by changing nothing.
    fresh_heads: weights of all heads start again; scales and references (buffers) carry over all the same.
    """
    old = net.config.levels
    assert config.levels[: len(old)] == old, "the levels of the network come first and in their order"
    known = net.config.conditions
    assert config.conditions[: len(known)] == known, "its conditions come first and in their order"
    new = AtomFieldNet(config)
    state, parameters = new.state_dict(), dict(net.named_parameters())
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name not in state:  # an auxiliary part that is not wanted any more
                continue
            if name.startswith("property_head.") and config.properties != net.config.properties:
                _copy_properties(name, value, state[name], net.config, config)
                continue
            if fresh_heads and name.startswith(HEADS) and name in parameters:
                continue
            if name == CONDITIONS_IN:
                state[name].zero_()
                state[name][:, : value.shape[1]] = value
            elif name in PER_LEVEL:
                state[name][: len(old)] = value
                if copy_from is not None:
                    state[name][len(old) :] = value[old.index(copy_from)]
            else:
                state[name].copy_(value)
    return new


def _copy_properties(
    name: str, value: Tensor, target: Tensor, old: NetworkConfig, config: NetworkConfig
) -> None:
    """Part ``name`` of the property head, in place: rows of what both networks have under the same definition, and all that
    properties share."""
    kept = [p for p in config.properties if p in old.properties]
    part = name.removeprefix("property_head.")
    if part.startswith("trees."):
        mine, theirs = rows_of(old.properties), rows_of(config.properties)
        nodes = min(value.shape[1], target.shape[1])
        for prop in kept:
            if prop.name in mine:
                target[theirs[prop.name], :nodes] = value[mine[prop.name], :nodes]
    elif part.startswith("tensors."):
        if config.open_properties == old.open_properties:
            target.copy_(value)
    elif part.rsplit(".", 1)[-1] in PER_PROPERTY:
        for prop in kept:
            target[config.properties.index(prop)] = value[old.properties.index(prop)]
    else:
        target.copy_(value)
