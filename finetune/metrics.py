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
from .class_metrics import binary_measures, macro_measures, multiclass_measures
from .conservation import balance_of_charges, balance_of_forces
from .field_errors import field_measures, steady_measures
from .tensor_metrics import tensor_measures

GPA = 160.21766208
"""GPa in one eV/angstrom^3 (CODATA 2014, as in ASE)."""
Prediction = dict[str, np.ndarray]
SYMMETRIC = ("0e+2e", "2x0e+2x2e+4e")
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))


def kind_of(name: str, kinds: Mapping[str, str]) -> str:
    """``energy``, ``forces``, ``stress``, ``field``, ``steady``, ``regression``, ``classification`` or ``multiclass``: how a
    target is measured.
    """
    if name in kinds:
        return kinds[name]
    if name in ("energy", "forces", "stress"):
        return name
    return "field" if name in FIELD_STATES else "regression"


def is_class(name: str, kinds: Mapping[str, str]) -> bool:
    """Whether a target is a class, of two or of many."""
    return kind_of(name, kinds) in ("classification", "multiclass")


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

    Symmetric tensors come as their six (elastic ones 21) independent components, values per atom without the atoms that have no
    label, predictions of many classes as logits.
    """
    kept, truth, predicted = [], [], []
    for i, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        if name not in graph.quantities or name not in prediction:
            continue
        t = np.asarray(graph.quantities[name], dtype=np.float64)
        p = np.asarray(prediction[name], dtype=np.float64)
        irreps = graph.definition(name).irreps
        if irreps in SYMMETRIC:
            rows, columns = _VOIGT if irreps == "0e+2e" else np.triu_indices(6)
            t, p = t[..., rows, columns], p[..., rows, columns]
        if graph.definition(name).support == "node":  # some atoms may be without a label
            known = np.isfinite(t.reshape(len(t), -1)).all(1)
            t, p = t[known], p[known]
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


def _values(
    graphs: Sequence[Graph], predictions: Sequence[Prediction], name: str, kept: list[int]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Labels and predictions of the records ``kept`` as ``[values, ...]`` in Cartesian form, atoms without a label left out."""
    shape = graphs[kept[0]].definition(name).shape
    truth, predicted = [], []
    for i in kept:
        t = np.asarray(graphs[i].quantities[name], dtype=np.float64).reshape(-1, *shape)
        p = np.asarray(predictions[i][name], dtype=np.float64).reshape(-1, *shape)
        known = np.isfinite(t.reshape(len(t), -1)).all(1)
        truth.append(t[known])
        predicted.append(p[known])
    return truth, predicted


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
    least = len(y) * (1e-12 * max(abs(float(t)) for t in truth)) ** 2  # rounding
    square = np.array([float(e) ** 2 for e in errors])

    def statistic(w: np.ndarray) -> float:
        spread = w @ (y * y) - (w @ y) ** 2 / w.sum()
        return float(1 - (w @ square) / spread) if spread > least else float("nan")

    return measure(f"{name}_r2", f"{name} R2", "", statistic, units, larger=True)


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
        errors = [] if kind == "multiclass" else [p - t for p, t in zip(predicted, truth, strict=True)]
        match kind:
            case "steady":
                measures += steady_measures(name, graphs, predictions, all_units)
            case "energy":
                measures += _energy([graphs[i] for i in kept], errors, units)
            case "forces":
                measures += _mae_rmse("forces", "forces", "eV/Å", "eV_per_A", errors, units)
                measures.append(_cosine(truth, predicted, units))
                measures += balance_of_forces([graphs[i] for i in kept], predicted, units)
            case "stress":
                measures += _mae_rmse("stress", "stress", "GPa", "GPa", [GPA * e for e in errors], units)
            case "classification":
                values = np.array([float(t) for t in truth]), np.array([float(p) for p in predicted])
                measures += binary_measures(name, *values, units)
            case "multiclass":
                measures += multiclass_measures(
                    name, np.array([float(t) for t in truth]), np.stack(predicted), units
                )
            case _:
                unit = unit_of(graphs, name)
                shown = unit.replace("angstrom", "Å").replace("*", "·")
                measures += _mae_rmse(name, name, shown, unit_key(unit), errors, units)
                definition = graphs[kept[0]].definition(name)
                if definition.shape and name != "dipole":
                    measures += tensor_measures(
                        name,
                        definition.irreps,
                        (shown, unit_key(unit)),
                        *_values(graphs, predictions, name, kept),
                        units,
                    )
                if name == "charges":
                    measures += balance_of_charges([graphs[i] for i in kept], predicted, units)
                if definition.support == "graph" and all(t.size == 1 for t in truth):
                    measures.append(_r2(name, truth, errors, units))
    measures += macro_measures(measures, [t for t in targets if kind_of(t, kinds) == "classification"])
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

    ``kinds`` says of user properties whether each is ``"regression"``, ``"classification"`` or ``"multiclass"``; names of the
    vocabulary need no entry. Keys look like ``energy_rmse_meV_per_molecule`` (per structure),
    ``forces_mae_eV_per_A`` (over components), ``bulk_modulus_mae_GPa``, ``active_roc_auc``,
    ``velocity_rollout_vrmse``.
    """
    return flatten(measures_of(graphs, predictions, targets, kinds))
