"""The pictures and tables of one evaluation, as sections of its report; each picture is also a PNG beside
it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.graph import Graph

from . import atom_plots, class_plots, field_plots, interval_plots, plots
from .baselines import fit_elements
from .bootstrap import Measure
from .class_metrics import softmax
from .field_errors import vrmse_rows
from .gallery import Framed, gallery
from .metrics import GPA, is_class, kind_of, paired, probability, unit_of
from .report import Code, Picture, Section, Table, number
from .saving import save_picture
from .steady_sections import steady_sections

if TYPE_CHECKING:
    from .assess import Assessment

WORST = 10
MAX_CALIBRATED = 4
"""Targets with a row in the calibration figure."""
MAX_CLASSIFIERS = 6
"""Classification targets that get a figure each."""


def result_sections(assessment: Assessment, history: list[dict], out: Path) -> list[Section]:
    """Loss curves (if there is a history), then what the predictions look like, then the worst records."""
    sections = []
    if len(history) > 1:
        picture = save_picture(
            plots.loss_curves(history), "loss_curves", out, "Loss and validation numbers during training."
        )
        sections.append(Section("Training", (picture,)))
    if assessment.graphs[0].world != "field":
        sections += _atom_sections(assessment, out)
    elif all(kind_of(t, assessment.kinds) == "steady" for t in assessment.targets):
        sections += steady_sections(assessment, out)
    else:
        sections += _field_sections(assessment, out)
    if assessment.intervals.measures:
        sections.insert(-1, _uncertainty_section(assessment, out))
    return sections


def _uncertainty_section(a: Assessment, out: Path) -> Section:
    """What the intervals promise and hold, in numbers and a figure."""
    found = a.intervals
    between = [f"{number(m.low)} to {number(m.high)}" if np.isfinite(m.low) else "–" for m in found.measures]
    rows = [
        [m.label, number(m.value), b, m.unit or "–"] for m, b in zip(found.measures, between, strict=True)
    ]
    table = Table(
        ["quantity", "value", "95 % interval", "unit"],
        rows,
        "Tests: probability of a coverage this far from 90 % if the intervals are right, for the calibration set at hand "
        "(binomial) and with the chance in the calibration set (beta-binomial).",
        text_columns=frozenset({0, 3}),
    )
    items: list[str | Table | Picture | Code] = [
        "An interval holds for records like the validation records. The out-of-distribution score says how unlike the training "
        "records one is; 95 % of the validation records are below 1.",
        table,
    ]
    if found.judged:
        figure = interval_plots.calibration(found.judged[:MAX_CALIBRATED], found.ood)
        caption = (
            "Left: share of labels inside their intervals. Middle: errors against the predicted standard deviation. Right: "
            "errors against the out-of-distribution score."
        )
        items.append(save_picture(figure, "calibration", out, caption))
    return Section("Uncertainty", items)


def _corner(measures: Sequence[Measure], name: str) -> str:
    """Lines for the corner of a parity plot."""
    own = [m for m in measures if m.key.startswith(f"{name}_") and "molecule" not in m.unit]
    return "\n".join(f"{m.label.removeprefix(name).strip()} {number(m.value)} {m.unit}".strip() for m in own)


# ---------------------------------------------------------------- atoms
def _atom_sections(a: Assessment, out: Path) -> list[Section]:
    panels, classifiers = [], []
    for name in a.targets:
        kept, truth, predicted = paired(a.graphs, a.predictions, name)
        graphs = [a.graphs[i] for i in kept]
        if is_class(name, a.kinds):
            classifiers.append(_classifier(a, name, truth, predicted, out))
            continue
        t, p = np.concatenate([x.ravel() for x in truth]), np.concatenate([x.ravel() for x in predicted])
        label, unit = name, unit_of(a.graphs, name).replace("angstrom", "Å").replace("*", "·")
        if name == "energy":
            t, p, unit = _relative_energy(graphs, t, p)
            label = "energy above a per-element fit"
        elif name == "stress":
            t, p, unit = GPA * t, GPA * p, "GPa"
        elif t.size != len(kept):
            label = f"{name} component" if truth[0].ndim > 1 or name == "dipole" else name
        panels.append(atom_plots.Parity(t, p, label, unit, _corner(a.measures, name)))
    sections = []
    if panels:
        caption = "Predicted against reference; the dashed line is perfect agreement, brighter colour means more points."
        if "energy" in a.targets:
            caption += " Energies are shown per atom after subtracting the best sum of per-element constants from both."
        sections.append(
            Section(
                "Predicted against reference",
                (save_picture(atom_plots.parity(panels), "parity", out, caption),),
            )
        )
    pictures = [c for c in classifiers if c is not None][:MAX_CLASSIFIERS]
    if pictures:
        sections.append(Section("Classification", tuple(pictures)))
    residuals = _residuals(a, out)
    if residuals is not None:
        sections.append(Section("Where the errors are", (residuals,)))
    sections += [_worst_atoms(a, out)]
    return sections


def _relative_energy(
    graphs: list[Graph], truth: np.ndarray, predicted: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str]:
    """Energies per atom above the per-element fit of the test labels themselves, per level; meV where the
    range is small."""
    atoms = np.array([g.num_nodes for g in graphs])
    base = np.zeros(len(graphs))
    for level in {g.level for g in graphs}:
        own = np.array([i for i, g in enumerate(graphs) if g.level == level])
        constants = fit_elements([graphs[i] for i in own], truth[own])
        base[own] = [constants[np.asarray(graphs[i].species)].sum() for i in own]
    t, p = (truth - base) / atoms, (predicted - base) / atoms
    return (1e3 * t, 1e3 * p, "meV/atom") if np.ptp(t) < 0.5 else (t, p, "eV/atom")


def _classifier(
    a: Assessment, name: str, truth: list[np.ndarray], logits: list[np.ndarray], out: Path
) -> Picture | None:
    if kind_of(name, a.kinds) == "multiclass":
        classes = next(p.classes for p in a.properties if p.name == name)
        numbers = np.array([int(t) for t in truth])
        figure = class_plots.confusion(
            name, classes, numbers, softmax(np.stack(logits)), _corner(a.measures, name)
        )
        caption = f"{name}: shares of each true class (rows add up to 100 %), and whether probabilities are frequencies."
        return save_picture(figure, f"classifier_{name}", out, caption)
    label = np.array([float(t) > 0.5 for t in truth])
    if label.all() or not label.any():
        return None
    chances = probability(np.array([float(x) for x in logits]))
    figure = atom_plots.classifier(name, label, chances, _corner(a.measures, name))
    return save_picture(figure, f"classifier_{name}", out, f"{name}: dashed lines are what guessing gives.")


def _primary(a: Assessment) -> str | None:
    """The target that records are ranked by: forces, else energy, else the first that is not a class."""
    for name in ("forces", "energy"):
        if name in a.targets:
            return name
    return next((t for t in a.targets if not is_class(t, a.kinds)), a.targets[0])


def _record_errors(a: Assessment, name: str) -> tuple[list[int], np.ndarray, str]:
    """Index and error of each labelled record: RMSE over components, energies per atom; with the unit."""
    kept, truth, predicted = paired(a.graphs, a.predictions, name)
    unit = unit_of(a.graphs, name).replace("angstrom", "Å").replace("*", "·")
    if is_class(name, a.kinds):
        pairs = zip(truth, predicted, strict=True)
        predicted = [t + 1 - _true_class(p, float(t)) for t, p in pairs]  # what is missing from probability 1
        unit = "missing probability"
    errors = np.array(
        [float(np.sqrt(np.square(p - t).mean())) for t, p in zip(truth, predicted, strict=True)]
    )
    if name == "energy":
        return kept, 1e3 * errors / np.array([a.graphs[i].num_nodes for i in kept]), "meV/atom"
    return (kept, GPA * errors, "GPa") if name == "stress" else (kept, errors, unit)


def _true_class(logits: np.ndarray, truth: float) -> float:
    """Probability given to the true class."""
    if logits.ndim:
        return float(softmax(logits)[int(truth)])
    chance = float(probability(logits))
    return chance if truth > 0.5 else 1 - chance


def _shown_values(a: Assessment, name: str, truth: float, prediction: np.ndarray) -> list[str]:
    """Reference and prediction as cells of a table: numbers, the probability of class 1, or names of classes."""
    match kind_of(name, a.kinds):
        case "multiclass":
            classes = next(p.classes for p in a.properties if p.name == name)
            return [classes[int(truth)], classes[int(prediction.argmax())]]
        case "classification":
            return [number(truth), number(float(probability(prediction)))]
        case _:
            return [number(truth), number(float(prediction))]


def _residuals(a: Assessment, out: Path) -> Picture | None:
    from ase.data import chemical_symbols

    name = _primary(a)
    if name is None or is_class(name, a.kinds):
        return None
    kept, errors, unit = _record_errors(a, name)
    species = [np.asarray(a.graphs[i].species) for i in kept]
    by_element: dict[str, tuple[float, int]] = {}
    per_node = a.definition(name).support == "node"
    if per_node:
        _, truth, predicted = paired(a.graphs, a.predictions, name)
        labelled = [
            np.isfinite(np.asarray(a.graphs[i].quantities[name]).reshape(len(s), -1)).all(1)
            for i, s in zip(kept, species, strict=True)
        ]
        flat = np.concatenate([s[known] for s, known in zip(species, labelled, strict=True)])
        square = np.concatenate(
            [np.square(p - t).reshape(len(t), -1).mean(1) for t, p in zip(truth, predicted, strict=True)]
        )
        for z in np.unique(flat):
            by_element[chemical_symbols[z]] = (
                float(np.sqrt(square[flat == z].mean())),
                int((flat == z).sum()),
            )
    else:
        for z in np.unique(np.concatenate(species)):
            own = np.array([z in s for s in species])
            by_element[chemical_symbols[z]] = (float(errors[own].mean()), int(own.sum()))
    tail = f" ({unit})" if unit else ""
    what = f"RMSE of {name}" if per_node else f"mean |error| of {name}"
    left = f"{what} on the element{tail}" if per_node else f"{what}, records with it{tail}"
    right = f"{'RMSE' if per_node else '|error|'} of {name} in the record{tail}"
    figure = atom_plots.residuals(by_element, np.array([len(s) for s in species]), errors, left, right)
    return save_picture(figure, "residuals", out, f"Errors of {name} by element and by size.")


def _formula(graph: Graph) -> str:
    from ase.data import chemical_symbols
    from ase.formula import Formula

    return Formula.from_list([chemical_symbols[z] for z in np.asarray(graph.species)]).format("hill")


def _worst_atoms(a: Assessment, out: Path) -> Section:
    name = _primary(a)
    assert name is not None
    kept, errors, unit = _record_errors(a, name)
    order = np.argsort(-np.nan_to_num(errors, nan=np.inf))[:WORST]
    tail = f" ({unit})" if unit else ""
    scalar = a.definition(name).support == "graph" and not a.definition(name).shape
    rows, framed = [], []
    for k in order:
        graph, prediction = a.graphs[kept[k]], a.predictions[kept[k]]
        text = f"error {number(float(errors[k]))} {unit}".rstrip()
        framed.append(Framed(graph, text, _worst_node(a, name, kept[k])))
        values = []
        if scalar and name != "energy":
            values = _shown_values(a, name, float(graph.quantities[name]), prediction[name])
        rows.append(
            [str(graph.provenance), graph.group or "–", _formula(graph), *values, number(float(errors[k]))]
        )
    middle = ["reference", "predicted"] if scalar and name != "energy" else []
    measure = f"error{tail}" if scalar else f"RMSE{tail}"
    columns = ["record", "group", "formula", *middle, measure]
    caption = f"By {name}. The median record has {number(float(np.median(errors)))} {unit}".rstrip() + "."
    table = Table(columns, rows, caption, text_columns=frozenset({0, 1, 2}))
    ringed = any(f.marked is not None for f in framed)
    below = "The worst, in the order of the table." + (
        " The ring is around the atom with the largest error." if ringed else ""
    )
    return Section(
        f"The {len(rows)} worst records", (save_picture(gallery(framed), "worst", out, below), table)
    )


def _worst_node(a: Assessment, name: str, record: int) -> int | None:
    """The atom whose value is most wrong, of a target with a value per atom."""
    if a.definition(name).support != "node":
        return None
    truth = np.asarray(a.graphs[record].quantities[name], dtype=np.float64)
    error = np.square(a.predictions[record][name] - truth).reshape(len(truth), -1).sum(1)
    return int(np.nanargmax(error)) if np.isfinite(error).any() else None


# ---------------------------------------------------------------- fields
def _curves(a: Assessment, name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Rollout errors of the model and of each baseline that has any."""
    sources = [("model", a.predictions), *((b.label, b.predictions) for b in a.baselines)]
    return {label: vrmse_rows(a.graphs, p, name) for label, p in sources if any(name in one for one in p)}


def _field_sections(a: Assessment, out: Path) -> list[Section]:
    pictures, shown = [], []
    worst_rows: list[tuple[float, list[str]]] = []
    for position, name in enumerate(t for t in a.targets if any(t in p for p in a.predictions)):
        curves = _curves(a, name)
        figure = field_plots.rollout_error(name, curves)
        pictures.append(
            save_picture(
                figure,
                f"rollout_error_{name}",
                out,
                f"{name}: rollout error against time, mean over {len(a.graphs)} test trajectories "
                "(band: the middle half); below 1 is better than the best constant.",
            )
        )
        means = np.array(
            [r[~np.isnan(r)].mean() if (~np.isnan(r)).any() else np.nan for r in curves["model"][1]]
        )
        known = np.flatnonzero(~np.isnan(means))
        order = known[np.argsort(means[known])]
        chosen = {"median": int(order[len(order) // 2])}
        if position == 0 and len(order) > 2:
            chosen["worst"] = int(order[-1])
        for which, i in chosen.items():
            graph = a.graphs[i]
            figure = field_plots.field_rollout(
                graph, name, a.predictions[i][name], baseline=a.baselines[0].predictions[i][name]
            )
            shown.append(
                save_picture(
                    figure,
                    f"rollout_{name}_{which}",
                    out,
                    f"{name}: the test trajectory of {which} error ({graph.provenance}; {_conditions(graph)}mean "
                    f"VRMSE {number(float(means[i]))}), started from its first state only.",
                )
            )
        worst_rows += [
            (
                float(means[i]),
                [
                    str(a.graphs[i].provenance),
                    a.graphs[i].group or "–",
                    name,
                    _conditions(a.graphs[i]).removesuffix(", ") or "–",
                    number(float(means[i])),
                ],
            )
            for i in order
        ]
    rows = [row for _, row in sorted(worst_rows, key=lambda r: -r[0])[:WORST]]
    table = Table(
        ["record", "group", "quantity", "conditions", "mean VRMSE"],
        rows,
        text_columns=frozenset({0, 1, 2, 3}),
    )
    return [
        Section("Rollouts beside the truth", tuple(shown)),
        Section("Error against time", tuple(pictures)),
        Section(f"The {len(rows)} worst rollouts", (table,)),
    ]


def _conditions(graph: Graph) -> str:
    """``viscosity 0.001, `` and the like, without what belongs to a step."""
    names = [n for n in graph.conditions if n not in ("dt", "diffusion_number", "dt_over_spacing")]
    return "".join(f"{n} {number(graph.conditions[n])}, " for n in names)
