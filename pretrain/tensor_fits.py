"""Scales and constants of properties that are more than one number per graph: tensors, spectra, values per atom, classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomfield.data.basis import to_irreps
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import Quantity
from atomfield.models.config import PropertyConfig
from atomfield.models.tensor_head import kinds_of

from .ridge import NUM_SPECIES, PropertyFit, ridge, ridge_error


def fit_tensor(
    definition: Quantity, labelled: Sequence[Graph], pooling: str, nonnegative: bool
) -> PropertyFit:
    """One isotropic scale for all components; constants only for invariant ones, since a mean of anything else would turn with
    nothing. Per element where that explains them (sums, and values per atom), else one mean each."""
    name, per_node = definition.name, definition.support == "node"
    values = [_components(g, definition) for g in labelled]
    rows = np.concatenate(values)
    counts = np.stack([np.bincount(g.species.numpy(), minlength=NUM_SPECIES) for g in labelled]).astype(float)
    draft = PropertyConfig(
        name=name,
        unit=definition.unit,
        irreps=definition.irreps,
        support=definition.support,
        nonnegative=nonnegative,
    )
    scalars = _invariant_columns(draft)
    if per_node:
        chosen, reason = "mean", "one value per atom"
        design = np.concatenate([np.eye(NUM_SPECIES)[g.species.numpy()] for g in labelled])
    else:
        chosen, reason = _pooling(name, rows, counts, scalars, pooling)
        design = counts if chosen == "sum" else counts / counts.sum(1, keepdims=True)
    known = np.isfinite(rows).all(1)
    design, rows = design[known], rows[known]
    shifts, references = np.zeros(len(scalars)), np.zeros((len(scalars), NUM_SPECIES))
    remainder = rows.copy()
    for number, column in enumerate(scalars):
        if (per_node or chosen == "sum") and not nonnegative:
            references[number] = ridge(design, rows[:, column])
            remainder[:, column] -= design @ references[number]
        else:
            shifts[number] = rows[:, column].mean()
            remainder[:, column] -= shifts[number]
    scale = float(np.sqrt(np.mean(remainder**2)))
    if float(np.ptp(rows, axis=0).max()) <= 1e-12 * float(np.abs(rows).max()):
        raise InputError(
            f"target {name!r} is the same in all {len(rows)} training values; there is nothing to learn"
        )
    if nonnegative:
        below = next((k for k, own in enumerate(values) if own.min() < 0), None)
        if below is not None:
            raise InputError(
                f"target {name!r} is said to be nonnegative, found {values[below].min():g}",
                labelled[below].provenance,
            )
        mean = np.maximum(shifts / scale, 1e-3)
        shifts = scale * (mean + np.log(-np.expm1(-mean)))  # the inverse of log(1 + e^x)
    config = draft.model_copy(update={"pooling": chosen})
    return PropertyFit(config, max(scale, 1e-12), 0.0, np.zeros(NUM_SPECIES), reason, shifts, references)


def fit_classes(definition: Quantity, labelled: Sequence[Graph], classes: tuple[str, ...]) -> PropertyFit:
    """The prior of each class, half a record added, as the logits to start from."""
    numbers = np.array([int(g.quantities[definition.name]) for g in labelled])
    counts = np.bincount(numbers, minlength=len(classes))
    if len(classes) < 2 or len(counts) > len(classes):
        raise InputError(
            f"target {definition.name!r} has {len(classes)} classes and labels up to {numbers.max()}, expected two or more "
            "classes and labels from 0 on"
        )
    if (counts > 0).sum() < 2:
        raise InputError(
            f"target {definition.name!r} is {classes[int(numbers[0])]!r} in all {len(numbers)} training records, expected two "
            "classes or more"
        )
    priors = np.log((counts + 0.5) / (counts.sum() + 0.5 * len(classes)))
    shown = ", ".join(f"{c} {n}" for c, n in zip(classes, counts, strict=True))
    config = PropertyConfig(name=definition.name, kind="multiclass", classes=classes, unit=definition.unit)
    zero = np.zeros(NUM_SPECIES)
    return PropertyFit(
        config, 1.0, 0.0, zero, f"classes: {shown}", priors, np.zeros((len(classes), NUM_SPECIES))
    )


def _components(graph: Graph, definition: Quantity) -> np.ndarray:
    """``[1 or N, D]`` components by irreps."""
    values = to_irreps(graph.quantities[definition.name].double(), definition.irreps).numpy()
    return values.reshape(-1, values.shape[-1])


def _invariant_columns(config: PropertyConfig) -> list[int]:
    columns, place = [], 0
    for kind in kinds_of(config):
        if kind == (0, True):
            columns.append(place)
        place += 2 * kind[0] + 1
    return columns


def _pooling(
    name: str, rows: np.ndarray, counts: np.ndarray, scalars: list[int], pooling: str
) -> tuple[str, str]:
    """Sum or mean: which linear fit of the mean invariant component, or of the size of the whole, is better."""
    if pooling != "auto":
        return pooling, f"pooling {pooling} as asked"
    size = rows[:, scalars].mean(1) if scalars else np.linalg.norm(rows, axis=1)
    by_sum = ridge_error(counts, size)
    by_mean = ridge_error(counts / counts.sum(1, keepdims=True), size)
    chosen = "sum" if by_sum < by_mean else "mean"
    what = "its invariants" if scalars else "its norm"
    return chosen, (
        f"a linear fit of {what} on element counts leaves {by_sum:.4g}, on element fractions {by_mean:.4g} "
        f"(cross-validated RMSE): pooling {chosen}"
    )
