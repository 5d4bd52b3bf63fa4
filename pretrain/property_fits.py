"""What a property is before any training: a class, a sum or a mean, with its scales and constants fitted on training records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_INPUTS, PER_FRAGMENT
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet

from .losses import ATOM_TERMS
from .ridge import NUM_SPECIES, PropertyFit, ridge, ridge_error
from .tensor_fits import fit_classes, fit_tensor

MOST_CLASSES = 10
"""Different whole numbers as labels up to which they may be classes that nobody declared."""
NOT_LEARNT = frozenset({*FIELD_INPUTS, *PER_FRAGMENT.values(), "displacement_noise", "given_forces"})
"""Quantities of records that atoms are never trained on as labels."""


def properties_in(graph: Graph) -> list[str]:
    """Labels of a molecule or crystal that the property head learns."""
    known = {*ATOM_TERMS, *NOT_LEARNT}
    return [] if graph.world == "field" else [n for n in graph.quantities if n not in known]


def apply_property_scales(net: AtomFieldNet, fits: Sequence[PropertyFit]) -> None:
    """Scale, shift and constants of each property into its rows of the head."""
    names = [p.name for p in net.config.properties]
    for fit in fits:
        k = names.index(fit.config.name)
        net.property_head.scale[k] = fit.scale
        net.property_head.shift[k] = fit.shift
        net.property_head.reference[k] = torch.from_numpy(fit.reference)
        if fit.shifts is not None and fit.references is not None:
            assert net.property_head.tensors is not None
            rows = net.property_head.tensors.scalar_rows(fit.config.name)
            net.property_head.tensors.shift[rows] = torch.from_numpy(fit.shifts)
            net.property_head.tensors.reference[rows] = torch.from_numpy(fit.references)


def fit_property(
    name: str,
    graphs: Sequence[Graph],
    task: str,
    pooling: str,
    parity: Literal["even", "odd"] = "even",
    *,
    nonnegative: bool = False,
    classes: tuple[str, ...] = (),
) -> PropertyFit:
    """Decide regression or classification, sum or mean, and fit the scales on training records.

    ``parity`` odd: the value changes sign in a mirror, so neither a mean nor a sum over elements may be added to it.
    ``nonnegative``: of spectra and the like. ``classes``: the names of two or more classes, whose labels are 0 to K-1.
    """
    labelled = [g for g in graphs if name in g.quantities]
    if not labelled:
        raise InputError(f"target {name!r} has no value in the training records")
    definition = labelled[0].definition(name)
    if definition.irreps == "0o":
        parity = "odd"
    if definition.shape or definition.support == "node" or nonnegative:
        return fit_tensor(definition, labelled, pooling, nonnegative)
    if classes:
        return fit_classes(definition, labelled, classes)
    values = np.array([float(g.quantities[name]) for g in labelled])
    unit = labelled[0].definition(name).unit
    binary = set(np.unique(values)) <= {0.0, 1.0}
    if task == "classification" and not binary:
        found = [f"{v:g}" for v in np.unique(values)]
        named = ",".join(found) if len(found) <= MOST_CLASSES else "a,b,c"
        raise InputError(
            f"classification needs labels 0 and 1, found {', '.join(found[:5])}{'' if len(found) <= 5 else ', ...'} in {name!r}; "
            f"of other classes say their names: --set classes.{name}=[{named}]"
        )
    classify = task == "classification" or (task == "auto" and binary)
    zero = np.zeros(NUM_SPECIES)
    if parity == "odd":
        config = PropertyConfig(
            name=name,
            kind="classification" if classify else "regression",
            pooling="mean" if pooling == "auto" else pooling,
            unit=unit,
            irreps="0o",
        )
        scale = 1.0 if classify else max(float(np.sqrt(np.mean(values**2))), 1e-12)
        return PropertyFit(config, scale, 0.0, zero, "changes sign in a mirror: no mean is subtracted")
    counts = np.array(
        [np.bincount(g.species.numpy(), minlength=NUM_SPECIES) for g in labelled], dtype=np.float64
    )
    if classify:
        if np.ptp(values) == 0:
            raise InputError(
                f"target {name!r} is {values[0]:g} in all {len(values)} training records, expected both classes 0 and 1"
            )
        share = float(np.clip(values.mean(), 1e-3, 1 - 1e-3))
        kind = PropertyConfig(
            name=name, kind="classification", pooling="mean" if pooling == "auto" else pooling, unit=unit
        )
        return PropertyFit(
            kind,
            1.0,
            float(np.log(share / (1 - share))),
            zero,
            f"labels are 0 and 1 ({share:.0%} ones): classification",
        )
    if np.ptp(values) == 0:
        raise InputError(
            f"target {name!r} is {values[0]:g} in all {len(values)} training records; there is nothing to learn"
        )
    errors = {
        "sum": ridge_error(counts, values),
        "mean": ridge_error(counts / counts.sum(1, keepdims=True), values),
    }
    chosen = pooling if pooling != "auto" else min(errors, key=lambda k: errors[k])
    sizes = counts.sum(1)
    alike = pooling == "auto" and len(sizes) > 1 and np.ptp(sizes) == 0
    if alike:  # both fits are one then, and rounding would choose; sums have constants of elements
        chosen = "sum"
    reason = (
        f"all records have {sizes[0]:.0f} atoms, so they cannot tell a sum over atoms from a mean: pooling sum; for structures "
        "of other sizes say --pooling mean if the value does not grow with the size"
        if alike
        else f"a linear fit on element counts leaves {errors['sum']:.4g}, on element fractions {errors['mean']:.4g} "
        f"(cross-validated RMSE): pooling {chosen}" + ("" if pooling == "auto" else " as asked")
    )
    if len(few := np.unique(values)) <= MOST_CLASSES and not np.any(few % 1) and len(values) >= 5 * len(few):
        shown = ",".join(f"{v:g}" for v in few)
        reason += f"; its labels are {shown} alone: if these are classes, --set classes.{name}=[{shown}]"
    config = PropertyConfig(name=name, kind="regression", pooling=chosen, unit=unit)
    if chosen == "sum":
        reference = ridge(counts, values)
        scale = float(np.std(values - counts @ reference))
        return PropertyFit(config, max(scale, 1e-12), 0.0, reference, reason)
    return PropertyFit(config, max(float(values.std()), 1e-12), float(values.mean()), zero, reason)
