"""Frozen features with a boosted head: the closed form of ``frozen.py``, and trees for what it leaves.

Trees alone are poor with few records, and a linear fit cannot bend, so the trees start from the linear fit. They are grown on
what it says of a record *without* that record, since what it leaves of the records that it was fitted to is too small. An
extensive property gets trees for its value per atom, times the number of atoms: a structure that is repeated has a multiple of
the value. The tables of the trees lie in the checkpoint, and the network walks them in torch (``models/trees.py``).

Legend: ``R`` records, ``F`` features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.inference.predict import evaluating
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.trees import plant, tree_features

from .boosting import Boosted, Kind, Records, boost, forest_of
from .frozen import BATCH, Solved, solved

FEW_VALIDATION_RECORDS = 10


def boosted(
    net: AtomFieldNet,
    train: Sequence[Graph],
    valid: Sequence[Graph],
    names: Sequence[str],
    device: str,
    seed: int,
    linear: dict[str, Solved] | None = None,
) -> list[str]:
    """Set the property head of ``net`` for ``names`` from the labels of ``train``, the number and depth of trees by ``valid``.
    Returns what was found, in lines; ``linear`` receives the closed form of each property that the trees start from.

    Raises ``InputError`` where a property has no label among the validation records, or without scikit-learn.
    """
    linear = {} if linear is None else linear
    linear |= solved(net, train, names, device)
    properties = {p.name: (k, p) for k, p in enumerate(net.config.properties)}
    features, _ = said(net, train, names, device)
    held_features, held = said(net, valid, names, device)
    told, forests = [], {}
    for name in names:
        number, prop = properties[name]
        labels = np.array([float(g.quantities.get(name, torch.tensor(np.nan))) for g in valid])
        known = np.flatnonzero(np.isfinite(labels))
        if not len(known):
            raise InputError(
                f"target {name!r} has no label in the {len(valid)} validation records, which choose the number of trees; give "
                "--valid, or a larger valid_fraction"
            )
        grown = boost(
            _training(features, train, prop, linear[name]),
            _validation(held_features, held[name], labels, valid, known, prop, net, number),
            _kind(prop),
            seed,
        )
        if grown.trees:
            forests[name] = forest_of(grown)
        scale = float(net.property_head.scale[number])
        told += [linear[name].sentence, _sentence(prop, grown, scale, len(known))]
    if forests:
        plant(net, forests)
    return told


def _kind(prop: PropertyConfig) -> Kind:
    return "classification" if prop.kind == "classification" else "regression"


def said(
    net: AtomFieldNet, graphs: Sequence[Graph], names: Sequence[str], device: str
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``[R, F]`` features, and the ``[R]`` answers of the head as it is."""
    rows, answers = [], {name: [] for name in names}  # type: tuple[list[np.ndarray], dict[str, list[np.ndarray]]]
    with evaluating(net):
        for i in range(0, len(graphs), BATCH):
            batch = graphs_to_batch(net.config, list(graphs[i : i + BATCH])).to(device)
            x = net.node_features(batch)
            rows.append(tree_features(x[:, 0, : net.config.channels], batch).cpu().numpy())
            out = net.property_head(x, batch)
            for name in names:
                answers[name].append(out[name].cpu().numpy())
    return np.concatenate(rows), {name: np.concatenate(its) for name, its in answers.items()}


def _sizes(prop: PropertyConfig, graphs: Sequence[Graph]) -> np.ndarray:
    return np.array([float(g.num_nodes) if prop.pooling == "sum" else 1.0 for g in graphs])


def _training(features: np.ndarray, graphs: Sequence[Graph], prop: PropertyConfig, linear: Solved) -> Records:
    rows = linear.labelled
    return Records(features[rows], linear.fit.left_out, linear.known, _sizes(prop, graphs)[rows])


def _validation(
    features: np.ndarray,
    answers: np.ndarray,
    labels: np.ndarray,
    graphs: Sequence[Graph],
    known: np.ndarray,
    prop: PropertyConfig,
    net: AtomFieldNet,
    number: int,
) -> Records:
    sizes = _sizes(prop, graphs)[known]
    if prop.kind == "classification":
        return Records(features[known], answers[known], labels[known], sizes)
    scale = float(net.property_head.scale[number])
    return Records(features[known], answers[known] / scale, labels[known] / scale, sizes)


def _sentence(prop: PropertyConfig, grown: Boosted, scale: float, count: int) -> str:
    unit, times = (
        ("log loss", 1.0) if prop.kind == "classification" else (f"MAE, {prop.unit or 'own unit'}", scale)
    )
    few = (
        "; so few choose badly, give more with --valid or valid_fraction"
        if count < FEW_VALIDATION_RECORDS
        else ""
    )
    before, after, error = (times * value for value in (grown.before, grown.after, grown.error))
    if not grown.trees:
        return (
            f"{prop.name}: no trees, since none lowers the error of {count} validation records ({before:.4g}, {unit}) by more "
            f"than its standard error; the closed form alone{few}"
        )
    return (
        f"{prop.name}: {len(grown.trees)} trees of depth {grown.depth} at rate {grown.rate:g}; {count} validation records "
        f"({unit}): {before:.4g} without, {after:.4g} with them, +- {error:.2g}{few}"
    )
