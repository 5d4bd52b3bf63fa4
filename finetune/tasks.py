"""What is being learned: the kind of each target, and for a user's scalar whether it is a class, a sum or a mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_STATES, VOCABULARY
from atomfield.models.config import PropertyConfig
from atomfield.pretrain.losses import ATOM_TERMS, Targets

NUM_SPECIES = 119


@dataclass(frozen=True)
class PropertyFit:
    """Scale, shift and per-element reference of one property, fitted on the training records."""

    config: PropertyConfig
    scale: float
    shift: float
    reference: np.ndarray
    reason: str
    """How task and pooling were chosen, for the person."""


@dataclass(frozen=True)
class Task:
    """The targets of a run, sorted."""

    names: tuple[str, ...]
    world: Literal["atoms", "field"]
    properties: tuple[str, ...]

    @property
    def targets(self) -> Targets:
        return Targets("next_step" if self.world == "field" else "supervised", self.names)


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
        if not is_field and name in VOCABULARY and name not in ATOM_TERMS:
            raise InputError(
                f"target {name!r} cannot be trained on atoms yet, expected one of {', '.join(ATOM_TERMS)} or a scalar "
                "property under a name of its own"
            )
    if is_field and all(g.num_times < 2 for g in graphs):
        raise InputError(
            "field records have one time each, expected trajectories of at least two",
            graphs[0].provenance.file,
        )
    properties = tuple(n for n in target if not is_field and n not in VOCABULARY)
    return Task(tuple(target), "field" if is_field else "atoms", properties)


def fit_property(
    name: str, graphs: Sequence[Graph], task: str, pooling: str, parity: Literal["even", "odd"] = "even"
) -> PropertyFit:
    """Decide regression or classification, sum or mean, and fit the scales on training records.

    ``parity`` odd: the value changes sign in a mirror, so neither a mean nor a sum over elements may be added to it.
    """
    labelled = [g for g in graphs if name in g.quantities]
    if not labelled:
        raise InputError(f"target {name!r} has no value in the training records")
    values = np.array([float(g.quantities[name]) for g in labelled])
    unit = labelled[0].definition(name).unit
    binary = set(np.unique(values)) <= {0.0, 1.0}
    if task == "classification" and not binary:
        raise InputError(
            f"classification needs labels 0 and 1, found {sorted(set(values.tolist()))[:5]} in {name!r}"
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
    errors = {
        "sum": _ridge_error(counts, values),
        "mean": _ridge_error(counts / counts.sum(1, keepdims=True), values),
    }
    chosen = pooling if pooling != "auto" else min(errors, key=lambda k: errors[k])
    reason = (
        f"a linear fit on element counts leaves {errors['sum']:.4g}, on element fractions {errors['mean']:.4g} "
        f"(cross-validated RMSE): pooling {chosen}" + ("" if pooling == "auto" else " as asked")
    )
    config = PropertyConfig(name=name, kind="regression", pooling=chosen, unit=unit)
    if chosen == "sum":
        reference = _ridge(counts, values)
        scale = float(np.std(values - counts @ reference))
        return PropertyFit(config, max(scale, 1e-12), 0.0, reference, reason)
    return PropertyFit(config, max(float(values.std()), 1e-12), float(values.mean()), zero, reason)


def _ridge(design: np.ndarray, values: np.ndarray, strength: float = 1e-3) -> np.ndarray:
    gram = design.T @ design
    return np.linalg.solve(
        gram + strength * (np.trace(gram) / len(gram) + 1e-12) * np.eye(len(gram)), design.T @ values
    )


def _ridge_error(design: np.ndarray, values: np.ndarray, folds: int = 5) -> float:
    """Cross-validated RMSE of a ridge fit; folds by a fixed permutation."""
    fold = np.random.default_rng(0).permutation(len(values)) % folds
    squares = 0.0
    for k in range(folds):
        held, kept = fold == k, fold != k
        if held.any() and kept.any():
            squares += float(((design[held] @ _ridge(design[kept], values[kept]) - values[held]) ** 2).sum())
    return float(np.sqrt(squares / len(values)))
