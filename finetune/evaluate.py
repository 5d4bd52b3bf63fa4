"""Judge a network on held-out data: predictions, metrics, a table on the screen, plots and a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.checks import Overlap, overlap
from atomfield.data.graph import Graph
from atomfield.data.steady import unsolved
from atomfield.inference.write import write_metrics

from .assess import MAX_EDGES, Assessment, assess
from .baselines import composition, describe, fit_elements
from .field_errors import vrmse_rows
from .guard import penalty_section
from .laws import laws_obeyed
from .metrics import flatten, measures_of, paired
from .report import Section, Table, number, provenance_section, write_report
from .sections import result_sections

if TYPE_CHECKING:
    from rich.console import Console

    from atomfield.models.network import AtomFieldNet


DETAILS = (
    "_steps_",
    "_spectral_",
    "_mean_drift",
    "_energy_error",
    "_log_loss",
    "_brier",
    "_calibration_error",
    "_balanced_",
)
"""Parts of the keys of measures that stand in a table of their own, below the results."""

LEAST_FOR_A_SLOPE = 8
"""Records from which on energies are compared with what forces say."""
JUDGED_BY = ("_rmse", "_rollout_vrmse", "_relative_l2", "_log_loss")
"""How the key of the measure goes on, after the name of a target, by which it is told whether the target was learnt."""


# ---------------------------------------------------------------- table
def results_table(
    assessment: Assessment,
    control: Mapping[str, float] | None = None,
    *,
    intervals: bool = True,
    details: bool = False,
    what: str = "test",
) -> Table:
    """quantity | model | 95 % interval | from-scratch control | baselines | unit; the best of each row is
    bold. ``details``: the measures that ``DETAILS`` names instead of all others. ``what``: which records they are."""
    measures = [m for m in assessment.measures if any(part in m.key for part in DETAILS) == details]
    names = ["trivial baseline" if b.label == "trivial" else b.label for b in assessment.baselines]
    columns = ["quantity", "model", *(["from scratch"] if control else []), *names]
    by_key = [{m.key: m.value for m in b.measures} for b in assessment.baselines]
    rows, best = [], set()
    for i, m in enumerate(measures):
        values = [
            m.value,
            *([control.get(m.key, math.nan)] if control else []),
            *(b.get(m.key, math.nan) for b in by_key),
        ]
        comparable = [(v if m.larger_is_better else -v, j) for j, v in enumerate(values) if math.isfinite(v)]
        if len(comparable) > 1:
            column = 1 + max(comparable)[1]
            best.add((i, column + 1 if intervals and column > 1 else column))
        cells = [number(v) for v in values]
        if intervals:
            cells.insert(1, f"{number(m.low)} to {number(m.high)}" if math.isfinite(m.low) else "–")
        rows.append([m.label, *cells, m.unit or "–"])
    if intervals:
        columns.insert(2, "95 % interval")
    count = len(assessment.graphs)
    caption = f"{count} {what} record{'s' if count > 1 else ''}; bold is the best of a row."
    if "trivial baseline" in names:
        supports = {t: assessment.definition(t).support for t in assessment.targets}
        kinds = [f"{t} {describe(t, assessment.kinds, supports[t])}" for t in assessment.targets]
        caption += f" Trivial baseline: {', '.join(kinds)}."
    if intervals:
        caption += " Interval: bootstrap over records, or over their groups where there are ten or more."
    columns.append("unit")
    return Table(columns, rows, caption, frozenset(best), frozenset({0, len(columns) - 1}))


def print_table(table: Table, title: str, console: Console) -> None:
    """The same table on the screen."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(title, style="table.title") if title else None,
        title_justify="left",
        caption=Text(table.caption, style="table.caption") if table.caption else None,
        caption_justify="left",
    )  # as text: a name such as "gap [eV]" is no markup
    for j, column in enumerate(table.columns):
        shown.add_column(
            Text(column), justify="left" if j in table.text_columns else "right", overflow="fold"
        )
    for i, row in enumerate(table.rows):
        shown.add_row(
            *(Text(cell, style="bold" if (i, j) in table.best else "") for j, cell in enumerate(row))
        )
    console.print(shown)


def not_learnt(assessment: Assessment) -> list[str]:
    """A sentence for each target whose error is not below that of the trivial forecast."""
    notes = []
    for name in assessment.targets:
        longer = tuple(f"{t}_" for t in assessment.targets if t.startswith(f"{name}_"))
        own = [
            m for m in assessment.measures if m.key.startswith(f"{name}_") and not m.key.startswith(longer)
        ]
        mine = next((m for m in own if m.key.removeprefix(name).startswith(JUDGED_BY)), None)
        if mine is None:
            continue
        others = {
            b.label: m.value
            for b in assessment.baselines
            for m in b.measures
            if m.key == mine.key and b.label != "POD linear map"  # which is more than trivial
        }
        better = {k: v for k, v in others.items() if math.isfinite(v) and not mine.value < v}
        if not better:
            continue
        named = ", ".join(f"{'baseline' if k == 'trivial' else k} {number(v)}" for k, v in better.items())
        notes.append(
            f"{mine.label} {number(mine.value)} {mine.unit}".rstrip()
            + f" is no better than the trivial forecast ({named}): on "
            f"these records nothing of use was learnt; give it more time (--max-time) or records, or look whether {name} follows "
            "from what the records hold"
        )
    return notes


def energies_against_forces(assessment: Assessment) -> list[str]:
    """A sentence where forces are learnt and energies go along with those of the network by another factor than 1, as where
    energies and forces are not in the units that they are read in."""
    if not any(m.key == "forces_cosine" and m.value > 0.9 for m in assessment.measures):
        return []
    kept, truth, predicted = paired(assessment.graphs, assessment.predictions, "energy")
    if len(kept) < LEAST_FOR_A_SLOPE:
        return []
    graphs = [assessment.graphs[i] for i in kept]
    counts, atoms = composition(graphs), np.array([g.num_nodes for g in graphs])
    t, p = (
        (e - counts @ np.nan_to_num(fit_elements(graphs, e))) / atoms
        for e in map(np.ravel, (truth, predicted))
    )
    if min(t.std(), p.std()) < 1e-6:  # eV/atom; as many elements as records
        return []
    spread, together = np.cov(t, p), np.corrcoef(t, p)[0, 1]
    slope = spread[0, 1] / spread[1, 1]
    if not (together > 0.8 and (slope < 0.5 or slope > 2)):
        return []
    return [
        f"Forces are learnt, and energies vary {slope:.3g} times as much as these forces say: look whether both are in the "
        "units that they are read in (--units; 1 hartree is 27.2 eV, 1 kcal/mol 0.0434 eV)"
    ]


# ---------------------------------------------------------------- files
def _write_predictions(assessment: Assessment, out: Path) -> Path:
    """The targets alone; of a field, as ``inference.write`` does, ``i/name`` at ``i/times`` (without the
    given first state)."""
    if assessment.graphs[0].world == "field" and assessment.graphs[0].times is not None:
        path = out / "predictions.npz"
        arrays: dict[str, np.ndarray] = {}
        for i, (graph, prediction) in enumerate(zip(assessment.graphs, assessment.predictions, strict=True)):
            arrays[f"{i}/positions"] = np.asarray(graph.positions)
            for name in assessment.targets:
                if name in prediction:
                    arrays[f"{i}/times"] = np.asarray(graph.times)[1 : len(prediction[name])]
                    arrays[f"{i}/{name}"] = prediction[name][1:].astype(np.float32)
        for name in assessment.targets:
            arrays[f"rollout_vrmse/{name}"] = vrmse_rows(assessment.graphs, assessment.predictions, name)[1]
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
        return path
    from atomfield.inference.predict import probabilities
    from atomfield.inference.write import write_predictions

    if assessment.graphs[0].world == "field":
        from atomfield.inference.write import write_predictions

        steady = [unsolved(g, assessment.targets) for g in assessment.graphs]
        return write_predictions(steady, assessment.predictions, out / "predictions.npz")
    supports = {n: assessment.definition(n).support for n in assessment.targets}
    per_atom = {"energy", "stress"} & set(assessment.targets) or "node" in supports.values()
    path = out / ("predictions.extxyz" if per_atom else "predictions.csv")
    extra = ("_std", "_lower", "_upper")
    kept = {"ood_score", *assessment.targets, *(n + e for n in assessment.targets for e in extra)}
    rows = [
        {n: v for n, v in p.items() if n in kept or n.rsplit("_p_", 1)[0] in kept}
        for p in probabilities(assessment.properties, assessment.predictions)
    ]
    classes = {p.name: p.classes for p in assessment.properties if p.classes}
    write_predictions(assessment.graphs, rows, path, classes=classes)
    return path


def without_overlap(assessment: Assessment, shared: Overlap) -> dict[str, float]:
    """``test_records_shared_with_training`` and every metric of the network over the other test records, under its key with
    ``_without_overlap``."""
    metrics: dict[str, float] = {"test_records_shared_with_training": float(len(shared.leaked))}
    if shared.clean:
        graphs = [assessment.graphs[i] for i in shared.clean]
        predictions = [assessment.predictions[i] for i in shared.clean]
        measures = measures_of(graphs, predictions, assessment.targets, assessment.kinds)
        metrics |= {f"{k}_without_overlap": v for k, v in flatten(measures, intervals=False).items()}
    return metrics


def _overlap_note(shared: Overlap) -> str:
    kept = (
        "metrics without them end in _without_overlap"
        if shared.clean
        else "no test record is left without them"
    )
    first = "; ".join(shared.named[:2])
    return f"{shared.sentence()}; {kept} in metrics.json. The first: {first}"


def evaluate(
    net: AtomFieldNet,
    test: Sequence[Graph],
    targets: tuple[str, ...],
    out: Path,
    *,
    train: Sequence[Graph] | None = None,
    history: list[dict] | None = None,
    control: dict[str, float] | None = None,
    shared: Overlap | None = None,
    calibrated_here: bool = False,
    max_edges: int = MAX_EDGES,
    title: str = "",
    notes: Sequence[str] = (),
    console: Console | None = None,
) -> dict[str, float]:
    """Judge ``net`` on ``test`` and write ``metrics.json``, ``predictions.*``, PNGs and ``report.html``
    into ``out``.

    train: records that baselines are fitted on. history: rows of the training log (``step``,
    ``train_loss``, ``valid_*``) for the loss curves. control: metrics of the same network trained from
    scratch, shown beside. shared: what ``test`` and ``train`` have in common (found here where ``train`` is
    given): metrics without it come under keys that end in ``_without_overlap``. Returns the flat metrics, baselines
    included under ``baseline_`` keys; an error
    that diverged is infinite. calibrated_here, max_edges: see ``assess``. notes: sentences for the screen and the
    report. Raises ``InputError`` as ``assess`` does.
    """
    from rich.console import Console as RichConsole

    console = console or RichConsole()
    title = title or f"Evaluation: {', '.join(targets)}"
    out.mkdir(parents=True, exist_ok=True)
    assessment = assess(
        net, test, targets, train=train, calibrated_here=calibrated_here, max_edges=max_edges, console=console
    )
    assessment.notes[:0] = notes
    metrics = assessment.flat()
    shared = shared or (overlap(train, assessment.graphs, targets) if train else None)
    if shared is not None and shared.leaked:
        metrics |= without_overlap(assessment, shared)
        assessment.notes.append(_overlap_note(shared))
    laws = laws_obeyed(net, assessment.graphs, targets)
    metrics |= laws.flat()
    penalties = penalty_section(history or [])
    metrics |= penalties.metrics
    write_metrics(metrics, out / "metrics.json")
    predictions = _write_predictions(assessment, out)
    assessment.notes.extend([*not_learnt(assessment), *energies_against_forces(assessment)])
    what = "validation" if calibrated_here else "test"
    table = results_table(assessment, control, what=what)
    sections: list[Section] = [Section("Results", (table, *(f"{note}." for note in assessment.notes)))]
    more = results_table(assessment, control, details=True, what=what)
    if more.rows:
        sections.append(Section("More measures", (more,)))
    sections += result_sections(assessment, history or [], out)
    sections += [laws.section(), penalties.section, provenance_section()]
    report = write_report(out, title, sections)
    shown = results_table(assessment, control, intervals=console.width >= 110, what=what)
    print_table(shown, title, console)
    if laws.rows:
        print_table(laws.table(), "Laws", console)
    for note in (*laws.missed, *assessment.notes):
        console.print(f"{note}.", style="dim", highlight=False, markup=False)
    console.print(
        f"Written: {out / 'metrics.json'}, {predictions}, {report}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return metrics
