"""Frozen features: the backbone stays as it is and the property head is solved for, not trained.

The head's own layers are set so that a linear fit goes through them exactly: silu(u) - silu(-u) = u. Its first layer takes the
principal directions u of the atoms' scalars, each with both signs, which gives u and an even function of it; the largest has unit
variance, and the others keep their size beside it, so that the penalty of the fit holds noise down. An extensive property is a
linear fit on sums of these over atoms. An intensive one is a linear fit on their means and on means that a softmax draws towards
large values; each fit is one direction of the head's mixing layer, again with both signs. The result is an ordinary property head
in an ordinary checkpoint.

Legend: ``N`` atoms, ``G`` graphs, ``C`` channels, ``H`` hidden units of the head, ``F`` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .closed_form import Solution, logistic, ridge

BATCH = 32


@dataclass(frozen=True)
class Solved:
    """The closed form of one property. labelled: numbers of the records that its fit was made of; known: what is left of their
    labels beside shift and references, ``[R]`` in units of the scale (a class as it is), which ``fit`` was fitted to."""

    labelled: np.ndarray
    known: np.ndarray
    fit: Solution
    sentence: str


def solve(net: AtomFieldNet, graphs: Sequence[Graph], names: Sequence[str], device: str) -> list[str]:
    """Set the property head of ``net`` for the properties ``names``, whose scales and references are fitted already, from the
    labels of ``graphs``. Returns what was found, one line per property.

    Raises ``InputError`` for more properties than the head has directions.
    """
    return [found.sentence for found in solved(net, graphs, names, device).values()]


@torch.no_grad()
def solved(
    net: AtomFieldNet, graphs: Sequence[Graph], names: Sequence[str], device: str
) -> dict[str, Solved]:
    """As :func:`solve`, with all that was found, property by property."""
    net.eval()
    head = net.property_head
    if 2 * len(names) > head.mix.out_features:
        raise InputError(
            f"{len(names)} properties at once, expected at most {head.mix.out_features // 2} with strategies frozen and boosted; "
            "take strategy heads"
        )
    for prop in net.config.properties:
        if prop.name in names and (prop.is_open or prop.irreps != "0e"):
            raise InputError(
                f"strategies frozen and boosted solve for one number or class per structure, found target {prop.name!r} "
                f"({prop.irreps}); take strategy heads or lora"
            )
    scalars = [_scalars(net, list(graphs[i : i + BATCH]), device) for i in range(0, len(graphs), BATCH)]
    _set_directions(net, torch.cat([x for x, _ in scalars]))
    total, pooled = _features(net, scalars)
    for layer in (head.mix.weight, head.mix.bias, head.sum_weight, head.mean_weight):
        layer.zero_()
    out = {}
    for row, name in enumerate(names):
        k = [p.name for p in net.config.properties].index(name)
        prop = net.config.properties[k]
        labelled, known, solution = _fit(net, k, prop, graphs, total if prop.pooling == "sum" else pooled)
        weight = torch.from_numpy(solution.weight).to(head.mix.weight)
        if prop.pooling == "sum":
            head.sum_weight[k] = weight
        else:
            head.mix.weight[2 * row], head.mix.weight[2 * row + 1] = weight, -weight
            head.mean_weight[k, 2 * row], head.mean_weight[k, 2 * row + 1] = 1.0, -1.0
        head.shift[k] += solution.intercept * float(head.scale[k])
        told = _sentence(prop, solution, float(head.scale[k]), len(weight))
        out[name] = Solved(labelled, known, solution, told)
    return out


def _fit(
    net: AtomFieldNet, k: int, prop: PropertyConfig, graphs: Sequence[Graph], features: np.ndarray
) -> tuple[np.ndarray, np.ndarray, Solution]:
    head = net.property_head
    labels = np.array([float(g.quantities.get(prop.name, torch.tensor(np.nan))) for g in graphs])
    labelled = np.flatnonzero(np.isfinite(labels))
    if prop.kind == "classification":
        head.shift[k] = 0.0
        return labelled, labels[labelled], logistic(features[labelled], labels[labelled])
    base = np.array([float(head.reference[k][g.species].sum() + head.shift[k]) for g in graphs])
    known = ((labels - base) / float(head.scale[k]))[labelled]
    return labelled, known, ridge(features[labelled], known, intercept=prop.pooling == "mean")


def _scalars(net: AtomFieldNet, graphs: list[Graph], device: str) -> tuple[Tensor, Tensor]:
    """``[N, C]`` natural scalars of each atom in float64, and the number of atoms of each graph."""
    batch = graphs_to_batch(net.config, graphs).to(device)
    x = net.node_features(batch)[:, 0, : net.config.channels]
    return x.double().cpu(), batch.nodes_per_graph().cpu()


def _set_directions(net: AtomFieldNet, scalars_NC: Tensor) -> None:
    """The first layer of the head and of its attention: principal directions with both signs, the first of unit variance."""
    node, attention = net.property_head.node, net.property_head.attention
    mean = scalars_NC.mean(0)
    variance, vectors = torch.linalg.eigh((scalars_NC - mean).T @ (scalars_NC - mean) / len(scalars_NC))
    kept = variance.argsort(descending=True)[: node.out_features // 2]
    directions = vectors[:, kept].T / variance.max().clamp_min(1e-30).sqrt()
    count = len(kept)
    for layer in (node, attention):
        layer.weight.zero_()
        layer.bias.zero_()
        layer.weight[:count], layer.weight[count : 2 * count] = directions, -directions
        layer.bias[:count], layer.bias[count : 2 * count] = -directions @ mean, directions @ mean


def _features(net: AtomFieldNet, scalars: list[tuple[Tensor, Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """``[G, H]`` sums and ``[G, 2H]`` plain and drawn means, as the head makes them (without dropout)."""
    head, totals, means = net.property_head, [], []
    for x, count in scalars:
        index = torch.repeat_interleave(torch.arange(len(count)), count).to(head.node.weight.device)
        x = x.to(head.node.weight)
        node = torch.nn.functional.silu(head.node(x))
        weight = torch.exp(3 * torch.tanh(head.attention(x)))
        sums = [torch.zeros(len(count), node.shape[1]).to(node).index_add(0, index, v)
                for v in (node, weight * node, weight)]  # fmt: skip
        totals.append(sums[0].double())
        means.append(torch.cat([sums[0] / count.to(node)[:, None], sums[1] / sums[2]], dim=1).double())
    return torch.cat(totals).cpu().numpy(), torch.cat(means).cpu().numpy()


def _sentence(prop: PropertyConfig, solution: Solution, scale: float, count: int) -> str:
    if prop.kind == "classification":
        found = f"log loss {solution.error:.3g} on held-out folds"
    else:
        found = f"leave-one-out RMSE {solution.error * scale:.4g} {prop.unit}".rstrip()
    return f"{prop.name}: closed form on {count} fixed features, penalty {solution.penalty:.0e}, {found} (training records)"
