"""A trained property beside what descriptors of the chemical graph tell: decision trees on these, added to the network in the
share that the validation records ask for.

A network of a thousand molecules and trees on descriptors are wrong about different things, so their weighted mean is often
better than either (stacking: Wolpert, Neural Networks 5, 241 (1992)). The property stays one head of one checkpoint:
``a`` times what the network says plus ``1 - a`` times what the trees say. A quantity of which nobody said that it is extensive
gets trees for the structure as a whole.

Legend: ``R`` records, ``D`` descriptors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from atomfield.data.descriptors import descriptors
from atomfield.data.graph import Graph, collate
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.trees import Forest, plant

from .boosted import said
from .boosting import Boosted, Kind, Records, boost, forest_of
from .tree_records import constant_start, labels_of, records_of

SHARES = (0.75, 0.5, 0.25)
"""Of the network, that are tried beside 1."""


def blended(
    net: AtomFieldNet,
    train: Sequence[Graph],
    valid: Sequence[Graph],
    names: Sequence[str],
    device: str,
    seed: int,
    free_pooling: bool,
) -> list[str]:
    """Add trees on descriptors to the properties ``names`` of the trained ``net``, in place, where the validation loss falls by
    more than its standard error. Returns what was found, in lines; nothing where a record does not say its bonds.

    free_pooling: nobody said which properties are extensive.
    """
    if not train or any(g.world == "field" or g.bonds is None for g in (*train, *valid)):
        return []
    features, held = _described(train), _described(valid)
    answers = said(net, valid, names, device)[1]
    told, forests = [], {}
    for name in names:
        number, prop = next((k, p) for k, p in enumerate(net.config.properties) if p.name == name)
        whole = free_pooling or prop.pooling != "sum"
        start = constant_start(net, number, prop, train, whole)
        own = records_of(net, number, prop, train, features, start, whole, usual=True)
        its = records_of(net, number, prop, valid, held, start, whole)
        if not len(own.labels) or not len(its.labels):
            continue
        kind: Kind = "classification" if prop.kind == "classification" else "regression"
        grown = boost(own, its, kind, seed)
        if not grown.trees:
            continue
        share, before, after, error = _best_share(net, number, prop, valid, answers[name], its, grown, kind)
        scale = 1.0 if kind == "classification" else float(net.property_head.scale[number])
        unit = "log loss" if kind == "classification" else f"MAE, {prop.unit or 'own unit'}"
        line = f"{name}: {len(grown.trees)} trees on descriptors of the chemical graph; "
        line += f"{len(its.labels)} validation records ({unit}): "
        if share == 1.0:
            told.append(line + f"{scale * before:.4g} without, no lower with them: left out")
            continue
        forests[name] = _scaled(forest_of(grown, descriptors=True), net, 1 - share, whole)
        _mix(net, number, share, start, whole)
        told.append(
            line
            + f"{scale * before:.4g} without, {scale * after:.4g} with {1 - share:.0%} of what they say, +- {scale * error:.2g}"
        )
    if forests:
        plant(net, forests)
    return told


def _described(graphs: Sequence[Graph]) -> np.ndarray:
    """``[R, D]``."""
    return np.concatenate([descriptors(collate([g])).numpy() for g in graphs])


def _best_share(
    net: AtomFieldNet, number: int, prop: PropertyConfig, graphs: Sequence[Graph], answers: np.ndarray, its: Records,
    grown: Boosted, kind: Kind,
) -> tuple[float, float, float, float]:  # fmt: skip
    """The share of the network, the validation loss without and with trees, and the standard error of their difference."""
    known = np.flatnonzero(np.isfinite(labels_of(graphs, prop)))
    scale = 1.0 if kind == "classification" else float(net.property_head.scale[number])
    network, trees = answers[known] / scale, its.start + its.size * grown.added(its.features)
    nothing = np.zeros(len(known))
    alone = replace(its, start=network).loss(kind, nothing)
    best = (1.0, float(alone.mean()), float(alone.mean()), 0.0)
    for share in SHARES:
        loss = replace(its, start=share * network + (1 - share) * trees).loss(kind, nothing)
        error = float((alone - loss).std(ddof=1) / np.sqrt(len(loss))) if len(loss) > 1 else float("inf")
        if loss.mean() < best[2] and alone.mean() - loss.mean() > error:
            best = (share, float(alone.mean()), float(loss.mean()), error)
    return best


def _scaled(forest: Forest, net: AtomFieldNet, factor: float, whole: bool) -> Forest:
    """The trees with ``factor`` times their answer, whose features stand behind those of the network."""
    return replace(
        forest, feature=forest.feature + 4 * net.config.channels, value=factor * forest.value, whole=whole
    )


@torch.no_grad()
def _mix(net: AtomFieldNet, number: int, share: float, start: float, whole: bool) -> None:
    """``share`` of what the head says, and the rest of where the trees begin."""
    head, prop = net.property_head, net.config.properties[number]
    head.sum_weight[number] *= share
    head.mean_weight[number] *= share
    head.shift[number] = share * head.shift[number] + (1 - share) * start
    if whole or prop.kind == "classification":
        head.reference[number] *= share
