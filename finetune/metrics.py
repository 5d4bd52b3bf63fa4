"""How far predictions are from labels: flat numbers whose keys name quantity, statistic and unit.

Missing labels are masked. Each number comes with a bootstrap interval (95 %, seeded) over records, or over
groups (molecules, compositions) when there are at least ten of them; frames of one simulation are
correlated, so its interval is too narrow.

Predictions are one dictionary per graph, name -> array in the shapes and units of
``atomfield.data.quantities``; a classification is a logit. Of a field trajectory, ``name`` holds the
rollout ``[S+1, N, ...]`` (state 0 is the given one), ``name + "_step"`` the forecasts ``[K, N, ...]`` one
step after the true states with indices ``step_index [K]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_STATES, VOCABULARY

from .bootstrap import Measure, measure, resampling_units
from .conservation import balance_of_charges, balance_of_forces
from .field_errors import field_measures
from .scores import average_precision, roc_auc

GPA = 160.21766208
"""GPa in one eV/angstrom^3 (CODATA 2014, as in ASE)."""
Prediction = dict[str, np.ndarray]
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


def kind_of(name: str, kinds: Mapping[str, str]) -> str:
    """``energy``, ``forces``, ``stress``, ``field``, ``regression`` or ``classification``: how a target is
    measured."""
    if name in kinds:
        return kinds[name]
    if name in ("energy", "forces", "stress"):
        return name
    return "field" if name in FIELD_STATES else "regression"


def probability(logit: np.ndarray) -> np.ndarray:
    """Of class 1."""
    return 1 / (1 + np.exp(-np.clip(logit, -50, 50)))


def unit_key(unit: str) -> str:
    """A unit as part of a key: ``eV/angstrom^3`` -> ``eV_per_A3``; empty for dimensionless and declared
    field units."""
    if unit in ("", "1", "field"):
        return ""
    text = unit.replace("angstrom", "A").replace("Å", "A").replace("%", "percent").replace("^", "")
    return re.sub(r"[^A-Za-z0-9]+", "_", text.replace("/", "_per_")).strip("_")


def unit_of(graphs: Sequence[Graph], name: str) -> str:
    """The unit of a target by the vocabulary or by the first record that defines it; empty if nothing
    says."""
    if name in VOCABULARY:
        return VOCABULARY[name].unit
    return next((g.properties[name].unit for g in graphs if name in g.properties), "")


# ---------------------------------------------------------------- errors of atoms and scalars
def paired(
    graphs: Sequence[Graph], predictions: Sequence[Prediction], name: str
) -> tuple[list[int], list[np.ndarray], list[np.ndarray]]:
    """Indices of the graphs that have both label and prediction of ``name``, with ``(truth, predicted)`` in
    float64.

    Symmetric tensors come as their six independent components.
    """
    kept, truth, predicted = [], [], []
    for i, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        if name not in graph.quantities or name not in prediction:
            continue
        t = np.asarray(graph.quantities[name], dtype=np.float64)
        p = np.asarray(prediction[name], dtype=np.float64).reshape(t.shape)
        if t.shape[-2:] == (3, 3) and name in VOCABULARY and VOCABULARY[name].shape == (3, 3):
            t, p = t[..., _VOIGT[0], _VOIGT[1]], p[..., _VOIGT[0], _VOIGT[1]]
        kept.append(i)
        truth.append(t)
        predicted.append(p)
    return kept, truth, predicted


def _mae_rmse(
    name: str, label: str, unit: str, suffix: str, errors: list[np.ndarray], units: np.ndarray
) -> list[Measure]:
    """MAE and RMSE over all components of all records, pooled."""
    count = np.array([e.size for e in errors], dtype=float)
    absolute = np.array([np.abs(e).sum() for e in errors])
    square = np.array([np.square(e).sum() for e in errors])
    tail = f"_{suffix}" if suffix else ""
    mae = measure(f"{name}_mae{tail}", f"{label} MAE", unit, lambda w: (w @ absolute) / (w @ count), units)
    rmse = measure(
        f"{name}_rmse{tail}",
        f"{label} RMSE",
        unit,
        lambda w: float(np.sqrt((w @ square) / (w @ count))),
        units,
    )
    return [mae, rmse]


def _energy(graphs: list[Graph], errors: list[np.ndarray], units: np.ndarray) -> list[Measure]:
    per_atom = [1e3 * e / g.num_nodes for e, g in zip(errors, graphs, strict=True)]
    whole = [1e3 * e for e in errors]
    return [
        *_mae_rmse("energy", "energy", "meV/atom", "meV_per_atom", per_atom, units),
        *_mae_rmse("energy", "energy", "meV/molecule", "meV_per_molecule", whole, units),
    ]


def _cosine(truth: list[np.ndarray], predicted: list[np.ndarray], units: np.ndarray) -> Measure:
    """Mean cosine between true and predicted forces over atoms whose true force is above 1e-3 eV/angstrom."""
    total, count = [], []
    for t, p in zip(truth, predicted, strict=True):
        length = np.linalg.norm(t, axis=-1)
        keep = length > 1e-3
        norm = np.maximum(length * np.linalg.norm(p, axis=-1), 1e-300)
        total.append(((t * p).sum(-1) / norm)[keep].sum())
        count.append(float(keep.sum()))
    sums, counts = np.array(total), np.array(count)

    def mean(w: np.ndarray) -> float:
        return float((w @ sums) / (w @ counts)) if w @ counts > 0 else float("nan")

    return measure("forces_cosine", "forces cosine", "", mean, units, larger=True)


def _r2(name: str, truth: list[np.ndarray], errors: list[np.ndarray], units: np.ndarray) -> Measure:
    """Coefficient of determination of a scalar, ``1 - SSE / SST``; NaN when all labels are equal."""
    y = np.array([float(t) for t in truth])
    y = y - y.mean()
    square = np.array([float(e) ** 2 for e in errors])

    def statistic(w: np.ndarray) -> float:
        spread = w @ (y * y) - (w @ y) ** 2 / w.sum()
        return float(1 - (w @ square) / spread) if spread > 1e-24 else float("nan")

    return measure(f"{name}_r2", f"{name} R2", "", statistic, units, larger=True)


def _classification(
    name: str, truth: list[np.ndarray], logits: list[np.ndarray], units: np.ndarray
) -> list[Measure]:
    label = np.array([float(t) > 0.5 for t in truth])
    score = np.array([float(p) for p in logits])
    right = ((score > 0) == label).astype(float)
    return [
        measure(
            f"{name}_roc_auc", f"{name} ROC-AUC", "", lambda w: roc_auc(label, score, w), units, larger=True
        ),
        measure(
            f"{name}_pr_auc",
            f"{name} PR-AUC",
            "",
            lambda w: average_precision(label, score, w),
            units,
            larger=True,
        ),
        measure(
            f"{name}_accuracy",
            f"{name} accuracy",
            "",
            lambda w: float((w @ right) / w.sum()),
            units,
            larger=True,
        ),
    ]


# ---------------------------------------------------------------- all of them
def measures_of(
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    targets: Sequence[str],
    kinds: Mapping[str, str],
) -> list[Measure]:
    """Every measure of every target that has at least one label, in the order of ``targets``."""
    all_units = resampling_units(graphs)
    measures: list[Measure] = []
    for name in targets:
        kind = kind_of(name, kinds)
        if kind == "field":
            measures += field_measures(name, graphs, predictions, all_units)
            continue
        kept, truth, predicted = paired(graphs, predictions, name)
        if not kept:
            continue
        units = np.unique(all_units[kept], return_inverse=True)[1]
        errors = [p - t for p, t in zip(predicted, truth, strict=True)]
        match kind:
            case "energy":
                measures += _energy([graphs[i] for i in kept], errors, units)
            case "forces":
                measures += _mae_rmse("forces", "forces", "eV/Å", "eV_per_A", errors, units)
                measures.append(_cosine(truth, predicted, units))
                measures += balance_of_forces([graphs[i] for i in kept], predicted, units)
            case "stress":
                measures += _mae_rmse("stress", "stress", "GPa", "GPa", [GPA * e for e in errors], units)
            case "classification":
                measures += _classification(name, truth, predicted, units)
            case _:
                unit = unit_of(graphs, name)
                shown = unit.replace("angstrom", "Å").replace("*", "·")
                measures += _mae_rmse(name, name, shown, unit_key(unit), errors, units)
                if name == "charges":
                    measures += balance_of_charges([graphs[i] for i in kept], predicted, units)
                if all(t.size == 1 for t in truth):
                    measures.append(_r2(name, truth, errors, units))
    areas = [m.value for m in measures if m.key.endswith("_roc_auc")]
    if len(areas) > 1:
        measures.append(
            Measure("mean_roc_auc", "mean ROC-AUC", "", float(np.nanmean(areas)), larger_is_better=True)
        )
    return measures


def flatten(measures: Sequence[Measure], prefix: str = "", *, intervals: bool = True) -> dict[str, float]:
    """``{key: value, key_ci_low: .., key_ci_high: ..}``; intervals only where they were computed."""
    flat: dict[str, float] = {}
    for m in measures:
        flat[prefix + m.key] = m.value
        if intervals and np.isfinite(m.low):
            flat[f"{prefix}{m.key}_ci_low"] = m.low
            flat[f"{prefix}{m.key}_ci_high"] = m.high
    return flat


def metrics_of(
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    targets: Sequence[str],
    kinds: Mapping[str, str],
) -> dict[str, float]:
    """Flat metrics of ``predictions`` against the labels of ``graphs``.

    ``kinds`` says of user properties whether each is ``"regression"`` or ``"classification"``; names of the
    vocabulary need no entry. Keys look like ``energy_rmse_meV_per_molecule`` (per structure),
    ``forces_mae_eV_per_A`` (over components), ``bulk_modulus_mae_GPa``, ``active_roc_auc``,
    ``velocity_rollout_vrmse``.
    """
    return flatten(measures_of(graphs, predictions, targets, kinds))
