"""Frozen features with a boosted head: the closed form of ``frozen.py``, and trees for what it leaves.

Trees alone are poor with few records, and a linear fit cannot bend, so the trees start from the linear fit. They are grown on
what it says of a record *without* that record, since what it leaves of the records that it was fitted to is too small.

Where all records say their bonds, trees see descriptors of the chemical graph beside the features (``data/descriptors.py``), and
are also grown from a constant in place of the linear fit: what descriptors tell is no correction to what the features do. And
where nobody said whether a quantity is extensive, also as one number for the whole structure. Validation records choose. An
extensive property gets trees for its value per atom, times the number of atoms: a structure that is repeated has a multiple of
the value. The tables of the trees lie in the checkpoint, and the network walks them in torch (``models/trees.py``).

Legend: ``R`` records, ``F`` features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
from .tree_records import constant_start, labels_of, records_of

FEW_VALIDATION_RECORDS = 10


def boosted(
    net: AtomFieldNet,
    train: Sequence[Graph],
    valid: Sequence[Graph],
    names: Sequence[str],
    device: str,
    seed: int,
    linear: dict[str, Solved] | None = None,
    free_pooling: bool = False,
) -> list[str]:
    """Set the property head of ``net`` for ``names`` from the labels of ``train``, the number and depth of trees by ``valid``.
    Returns what was found, in lines; ``linear`` receives the closed form of each property that the trees start from.
    free_pooling: nobody said which properties are extensive.

    Raises ``InputError`` where a property has no label among the validation records, or without scikit-learn.
    """
    linear = {} if linear is None else linear
    linear |= solved(net, train, names, device)
    properties = {p.name: (k, p) for k, p in enumerate(net.config.properties)}
    described = len(train) > 0 and all(g.world != "field" and g.bonds is not None for g in (*train, *valid))
    features, _ = said(net, train, names, device, described)
    held_features, held = said(net, valid, names, device, described)
    told, forests = [], {}
    for name in names:
        number, prop = properties[name]
        labels = labels_of(valid, prop)
        known = np.flatnonzero(np.isfinite(labels))
        if not len(known):
            raise InputError(
                f"target {name!r} has no label in the {len(valid)} validation records, which choose the number of trees; give "
                "--valid, or a larger valid_fraction"
            )
        kind, own = _kind(prop), linear[name]
        training = _training(features, train, prop, own)
        validation = _validation(held_features, held[name], labels, valid, known, prop, net, number)
        grown, start = boost(training, validation, kind, seed), ""
        if described:
            given = (train, features), (valid, held_features)
            for other in _starts(net, number, prop, own, *given, free_pooling):
                found = boost(other.train, other.valid, kind, seed)
                if found.trees and found.after < grown.after:
                    grown, start, chosen = found, other.told, other
            if start:
                chosen.adopt(net, number)
        if grown.trees:
            forests[name] = forest_of(grown, descriptors=described)
        scale = float(net.property_head.scale[number])
        told += [own.sentence, _sentence(prop, grown, scale, len(known), described, start)]
    if forests:
        plant(net, forests)
    return told


@dataclass(frozen=True)
class _Start:
    """Where trees begin in place of the linear fit: the records with what ``shift`` (in the property's unit; a class: logit) says
    of them."""

    train: Records
    valid: Records
    shift: float
    told: str
    whole: bool
    """One number for the structure, without references of elements."""

    @torch.no_grad()
    def adopt(self, net: AtomFieldNet, number: int) -> None:
        """Take the linear fit of property ``number`` away."""
        head = net.property_head
        head.sum_weight[number] = 0.0
        head.mean_weight[number] = 0.0
        head.shift[number] = self.shift
        if self.whole:
            head.reference[number] = 0.0
            properties = list(net.config.properties)
            properties[number] = properties[number].model_copy(update={"pooling": "mean"})
            net.config = net.config.model_copy(update={"properties": tuple(properties)})
            head.config = net.config


def _starts(
    net: AtomFieldNet, number: int, prop: PropertyConfig, linear: Solved, train: tuple[Sequence[Graph], np.ndarray],
    valid: tuple[Sequence[Graph], np.ndarray], free_pooling: bool,
) -> list[_Start]:  # fmt: skip
    """From a constant, and of an extensive property from a constant for the whole structure; ``train``, ``valid``: records and
    their features."""
    found = []
    head, scale = net.property_head, float(net.property_head.scale[number])
    extensive = prop.pooling == "sum" and prop.kind != "classification"
    for whole in (False, True) if extensive and free_pooling else (not extensive,):
        start = constant_start(net, number, prop, train[0], whole)
        if not whole:  # the shift of the head has the intercept of the linear fit in it
            start = float(head.shift[number]) - linear.fit.intercept * scale
        own, its = (records_of(net, number, prop, *given, start, whole) for given in (train, valid))
        told = " for the whole structure" if whole and extensive else ""
        found.append(_Start(own, its, start, f"{told}, in place of the closed form", whole))
    return found


def _kind(prop: PropertyConfig) -> Kind:
    return "classification" if prop.kind == "classification" else "regression"


def said(
    net: AtomFieldNet, graphs: Sequence[Graph], names: Sequence[str], device: str, described: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """``[R, F]`` features (``described``: with those of the chemical graph), and the ``[R]`` answers of the head as it is."""
    rows, answers = [], {name: [] for name in names}  # type: tuple[list[np.ndarray], dict[str, list[np.ndarray]]]
    with evaluating(net):
        for i in range(0, len(graphs), BATCH):
            batch = graphs_to_batch(net.config, list(graphs[i : i + BATCH])).to(device)
            x = net.node_features(batch)
            scalars = x[:, 0, : net.config.channels]
            rows.append(tree_features(scalars, batch, described=described).cpu().numpy())
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


def _sentence(
    prop: PropertyConfig, grown: Boosted, scale: float, count: int, described: bool, start: str
) -> str:
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
    seen = " on features and descriptors of the chemical graph" if described else ""
    return (
        f"{prop.name}: {len(grown.trees)} trees of depth {grown.depth} at rate {grown.rate:g}{seen}{start}; {count} validation "
        f"records ({unit}): {before:.4g} without, {after:.4g} with them, +- {error:.2g}{few}"
    )
