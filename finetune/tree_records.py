"""Records to grow trees on from a constant, in place of what a network or a linear fit says.

Legend: ``R`` records, ``F`` features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from atomfield.data.graph import Graph
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet

from .boosting import Records
from .outliers import outlying


def labels_of(graphs: Sequence[Graph], prop: PropertyConfig, *, usual: bool = False) -> np.ndarray:
    """``[R]``, NaN where there is none; ``usual``: and where it lies far outside of all others."""
    found = np.array([float(g.quantities.get(prop.name, torch.tensor(np.nan))) for g in graphs])
    known = np.flatnonzero(np.isfinite(found))
    if usual and prop.kind != "classification" and len(known):
        found[known[outlying(found[known])]] = np.nan
    return found


def constant_start(
    net: AtomFieldNet, number: int, prop: PropertyConfig, train: Sequence[Graph], whole: bool
) -> float:
    """What trees begin from, in the property's unit (a class: logit); beside the references of elements unless ``whole``."""
    labels = labels_of(train, prop, usual=True)
    mean = float(np.nanmean(labels))
    if prop.kind == "classification":
        share = float(np.clip(mean, 1e-3, 1 - 1e-3))
        return float(np.log(share / (1 - share)))
    return mean if whole else float(net.property_head.shift[number])


def records_of(
    net: AtomFieldNet, number: int, prop: PropertyConfig, graphs: Sequence[Graph], features: np.ndarray, start: float,
    whole: bool, *, usual: bool = False,
) -> Records:  # fmt: skip
    """Those with a label, in units of the scale."""
    labels = labels_of(graphs, prop, usual=usual)
    known = np.flatnonzero(np.isfinite(labels)).tolist()
    scale = 1.0 if prop.kind == "classification" else float(net.property_head.scale[number])
    base = np.full(len(known), start)
    size = np.ones(len(known))
    if not whole and prop.kind != "classification":
        reference = net.property_head.reference[number].cpu()
        base += np.array([float(reference[graphs[i].species].sum()) for i in known])
        size = np.array([float(graphs[i].num_nodes) for i in known])
    return Records(features[known], base / scale, labels[known] / scale, size)
