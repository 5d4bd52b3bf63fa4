"""Sums of decision trees over pooled invariants of a structure: what ``finetune/boosted.py`` grows, as plain tensors.

A tree asks "is feature f at most t?" from its root down and answers with the value of the leaf that it ends in (Breiman,
Friedman, Olshen, Stone, Classification and Regression Trees (1984)). All trees of a network lie in four tables and are walked
at once. What they say is constant between thresholds, so it has no derivative to give, and asking for one is an error instead
of a zero.

The features are means, standard deviations, least and largest values over the atoms of the scalars that all heads read. They do
not change when a structure turns, is reflected, when its atoms are numbered otherwise or when it is repeated. Behind them
stand, where trees were grown on them, the descriptors of the chemical graph (``data/descriptors.py``).

Legend: ``N`` nodes, ``G`` graphs, ``C`` channels, ``D`` descriptors, ``F`` = 4 C or 4 C + D features, ``T`` trees, ``M`` nodes
of a tree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from atomfield.data.descriptors import descriptors
from atomfield.data.errors import InputError
from atomfield.data.graph import GraphBatch

from .config import PropertyConfig, TreesConfig

if TYPE_CHECKING:
    from .network import AtomFieldNet

PARTS = ("feature", "threshold", "branches", "value")
"""The tables of :class:`Trees`, all ``[T, M, ...]``."""


@dataclass(frozen=True)
class Forest:
    """Trees of one property, padded to the same number of nodes; node 0 is the root, and a leaf leads to itself.

    feature ``[T, M]`` int64; threshold ``[T, M]`` float64; branches ``[T, M, 2]`` int64, the first where feature <= threshold;
    value ``[T, M]`` float64 in units of the property's scale; depth: of the deepest tree.
    """

    feature: Tensor
    threshold: Tensor
    branches: Tensor
    value: Tensor
    depth: int
    descriptors: bool = False
    """Whether the features go on with those of the chemical graph."""
    whole: bool = False
    """Whether the answer is that of the structure as a whole."""

    @property
    def config(self) -> TreesConfig:
        count, nodes = self.feature.shape
        return TreesConfig(
            count=count, nodes=nodes, depth=self.depth, descriptors=self.descriptors, whole=self.whole
        )


class Trees(nn.Module):
    """The tables of every property that has trees, one after another in the order of the properties."""

    feature: Tensor
    threshold: Tensor
    branches: Tensor
    value: Tensor

    def __init__(self, properties: tuple[PropertyConfig, ...]):
        super().__init__()
        self.properties = properties
        sizes = [p.trees for p in properties if p.trees is not None]
        count, nodes = sum(s.count for s in sizes), max(s.nodes for s in sizes)
        self.depth = max(s.depth for s in sizes)
        self.descriptors = any(s.descriptors for s in sizes)
        self.register_buffer("feature", torch.zeros(count, nodes, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(count, nodes, dtype=torch.float64))
        self.register_buffer("branches", torch.zeros(count, nodes, 2, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(count, nodes, dtype=torch.float64))

    def forward(self, scalars_NC: Tensor, batch: GraphBatch) -> dict[str, Tensor]:
        """Property -> ``[G]`` float64 in units of its scale: the sum of its trees, times the number of atoms of an extensive
        one. NaN where trees ask for descriptors of a graph whose bonds are not known."""
        features = tree_features(scalars_NC.detach(), batch, described=self.descriptors)
        leaves = self.leaves(features)
        out = {}
        configs = {p.name: p.trees for p in self.properties if p.trees is not None}
        for name, rows in rows_of(self.properties).items():
            total = leaves[:, rows].sum(1)
            if configs[name].descriptors:
                total = torch.where(batch.bonds_known, total, float("nan"))
            pooling = next(p for p in self.properties if p.name == name).pooling
            if pooling == "sum" and not configs[name].whole:
                total = total * batch.nodes_per_graph()
            out[name] = _Constant.apply(scalars_NC, total, name) if scalars_NC.requires_grad else total
        return out

    def leaves(self, features_GF: Tensor) -> Tensor:
        """``[G, T]`` value of the leaf that each structure ends in, in each tree."""
        tree = torch.arange(len(self.feature), device=features_GF.device).expand(len(features_GF), -1)
        node = torch.zeros_like(tree)
        for _ in range(self.depth):
            right = features_GF.gather(1, self.feature[tree, node]) > self.threshold[tree, node]
            node = self.branches[tree, node, right.long()]
        return self.value[tree, node]


def tree_features(scalars_NC: Tensor, batch: GraphBatch, *, described: bool = False) -> Tensor:
    """``[G, 4 C]`` (``described``: ``[G, 4 C + D]``) float64 with the digits of float32, which is what scikit-learn compares with
    thresholds."""
    owner, count = batch.graph_index, batch.nodes_per_graph().double()[:, None]
    x = scalars_NC.double()
    zeros = torch.zeros(batch.num_graphs, x.shape[1], dtype=x.dtype, device=x.device)
    mean = zeros.index_add(0, owner, x) / count
    spread = (zeros.index_add(0, owner, (x - mean[owner]).square()) / count).sqrt()
    index = owner[:, None].expand_as(x)
    least, most = (zeros.scatter_reduce(0, index, x, how, include_self=False) for how in ("amin", "amax"))
    found = torch.cat([mean, spread, least, most], dim=1).float().double()
    return torch.cat([found, descriptors(batch)], dim=1) if described else found


def rows_of(properties: tuple[PropertyConfig, ...]) -> dict[str, slice]:
    """Property -> its rows of the tables."""
    found, at = {}, 0
    for prop in properties:
        if prop.trees is not None:
            found[prop.name] = slice(at, at + prop.trees.count)
            at += prop.trees.count
    return found


def plant(net: AtomFieldNet, forests: dict[str, Forest]) -> None:
    """Give properties of ``net`` these trees, in place of those that they had; other properties keep theirs."""
    old, head = net.property_head.trees, net.property_head
    before = rows_of(net.config.properties)
    properties = tuple(
        p.model_copy(update={"trees": forests[p.name].config}) if p.name in forests else p
        for p in net.config.properties
    )
    trees = Trees(properties).to(net.device)
    for name, rows in rows_of(properties).items():
        for part in PARTS:
            table = getattr(trees, part)
            source, kept = (forests[name], slice(None)) if name in forests else (old, before[name])
            value = getattr(source, part)[kept, : table.shape[1]]
            table[rows, : value.shape[1]] = value.to(table)
    net.config = net.config.model_copy(update={"properties": properties})
    head.config, head.trees = net.config, trees


class _Constant(torch.autograd.Function):
    """Hands the answer of trees on, and refuses to be differentiated."""

    @staticmethod
    def forward(ctx: Any, scalars_NC: Tensor, total_G: Tensor, name: str) -> Tensor:
        ctx.name = name
        return total_G.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise InputError(
            f"property {ctx.name!r} is read by decision trees, which are constant between thresholds and have no derivative; "
            "finetune it with strategy heads, lora or full"
        )
