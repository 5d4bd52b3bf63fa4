"""What is being learned: the kind of each target, and for a user's scalar whether it is a class, a sum or a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_INPUTS, FIELD_STATES, PER_FRAGMENT
from atomfield.data.steady import is_steady
from atomfield.models.config import PropertyConfig
from atomfield.pretrain.losses import ATOM_TERMS, Targets

from .ridge import NUM_SPECIES, PropertyFit, ridge, ridge_error
from .tensor_fits import fit_classes, fit_tensor

__all__ = ["PropertyFit", "Task", "fit_property", "task_of"]


@dataclass(frozen=True)
class Task:
    """The targets of a run, sorted."""

    names: tuple[str, ...]
    world: Literal["atoms", "field"]
    properties: tuple[str, ...]
    steady: bool = False
    """Fields that follow from other fields at once, without time."""

    @property
    def targets(self) -> Targets:
        step = self.world == "field" and not self.steady
        return Targets("next_step" if step else "supervised", self.names)


def task_of(target: tuple[str, ...], graphs: Sequence[Graph]) -> Task:
    """Check that the records can train ``target``; raises InputError naming what they have instead."""
    is_field = graphs[0].world == "field"
    available = sorted({name for g in graphs for name in g.quantities})
    for name in target:
        if name not in available:
            raise InputError(
                f"target {name!r} is in none of the {len(graphs)} records, found {', '.join(available) or 'no quantity'}; "
                "name the file's own key with --map",
                graphs[0].provenance.file,
            )
        if is_field and name not in FIELD_STATES:
            raise InputError(
                f"target {name!r} is not a field state, expected one of {', '.join(FIELD_STATES)}"
            )
        if not is_field and name in (*FIELD_INPUTS, *PER_FRAGMENT.values(), "displacement_noise"):
            raise InputError(
                f"target {name!r} is nothing that atoms are trained on, expected one of {', '.join(ATOM_TERMS)}, another "
                "quantity of atoms or a property under a name of its own"
            )
    steady = is_field and is_steady(target, graphs)
    if is_field and not steady and all(g.num_times < 2 for g in graphs):
        raise InputError(
            "field records have one time each, expected trajectories of at least two, or another field that the target "
            "follows from",
            graphs[0].provenance.file,
        )
    properties = tuple(n for n in target if not is_field and n not in ATOM_TERMS)
    return Task(tuple(target), "field" if is_field else "atoms", properties, steady)


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
    ``nonnegative``: of spectra and the like. ``classes``: the names of more than two classes, whose labels are 0 to K-1.
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
        raise InputError(
            f"classification needs labels 0 and 1, found {sorted(set(values.tolist()))[:5]} in {name!r}; of more classes say "
            f"their names: --set classes.{name}=[a,b,c]"
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
    reason = (
        f"a linear fit on element counts leaves {errors['sum']:.4g}, on element fractions {errors['mean']:.4g} "
        f"(cross-validated RMSE): pooling {chosen}" + ("" if pooling == "auto" else " as asked")
    )
    config = PropertyConfig(name=name, kind="regression", pooling=chosen, unit=unit)
    if chosen == "sum":
        reference = ridge(counts, values)
        scale = float(np.std(values - counts @ reference))
        return PropertyFit(config, max(scale, 1e-12), 0.0, reference, reason)
    return PropertyFit(config, max(float(values.std()), 1e-12), float(values.mean()), zero, reason)
