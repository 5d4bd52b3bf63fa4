"""Predictions of a network on held-out data, measured beside the baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import Quantity
from atomfield.inference.intervals import OOD_SCORE, base_of
from atomfield.models.config import PropertyConfig

from .baselines import fit_trivial, persistence
from .bootstrap import Measure
from .calibration import IntervalReport, judge_intervals
from .metrics import Prediction, flatten, measures_of
from .pod import fit_pod

if TYPE_CHECKING:
    from rich.console import Console

    from atomfield.models.network import AtomFieldNet

MAX_EDGES = 60_000
"""Of a pass without training."""
MAX_ROLLOUT_STEPS = 100
"""Rollouts of longer test trajectories stop here; every forecast is judged over the same steps."""
STEP_STARTS = 8
"""True states per trajectory, evenly spread, from which single steps are judged."""
BASELINE_PREFIX = {
    "trivial": "baseline_",
    "persistence": "baseline_persistence_",
    "POD linear map": "baseline_pod_",
}


@dataclass(frozen=True)
class Baseline:
    """Forecasts that need no network: one prediction per test graph (empty where there is none) and their
    measures."""

    label: str
    predictions: list[Prediction]
    measures: list[Measure]


@dataclass(frozen=True)
class Assessment:
    """What ``assess`` found. ``kinds``: user property -> regression or classification. ``notes``: sentences
    for the reader."""

    graphs: list[Graph]
    targets: tuple[str, ...]
    kinds: dict[str, str]
    predictions: list[Prediction]
    measures: list[Measure]
    baselines: list[Baseline] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    intervals: IntervalReport = field(default_factory=IntervalReport)
    """Empty where the checkpoint has no uncertainty, or where it was calibrated on these very records."""

    properties: tuple[PropertyConfig, ...] = ()
    """Of the network."""

    def definition(self, name: str) -> Quantity:
        """What a target is, by the first record that has it."""
        return next(g for g in self.graphs if name in g.quantities).definition(name)

    def flat(self) -> dict[str, float]:
        """Metrics of the network, then of the baselines under ``baseline_`` keys (without intervals)."""
        out = flatten([*self.measures, *self.intervals.measures])
        for baseline in self.baselines:
            out |= flatten(baseline.measures, BASELINE_PREFIX[baseline.label], intervals=False)
        return out


# ---------------------------------------------------------------- predictions
def _check(test: Sequence[Graph], targets: Sequence[str], steady: bool) -> bool:
    """Refuse what cannot be judged; returns whether the records are fields that evolve."""
    if not test:
        raise InputError("there are no test records, expected at least one")
    worlds = {g.world == "field" for g in test}
    if len(worlds) > 1:
        raise InputError(
            "the test records hold atoms and fields, expected one of them; evaluate each on its own"
        )
    for name in targets:
        if not any(name in g.quantities for g in test):
            known = sorted({n for g in test for n in g.quantities})
            raise InputError(
                f"target {name!r} is in none of the {len(test)} test records, which have {', '.join(known) or 'no labels'}; "
                "name the file's own key with --map",
                test[0].provenance,
            )
    is_field = worlds.pop()
    if is_field and not steady:
        for g in test:
            if g.num_times < 2:
                raise InputError(
                    f"a field record has {g.num_times} time, expected at least 2 to judge a forecast",
                    g.provenance,
                )
    return is_field and not steady


def step_starts(num_times: int, count: int = STEP_STARTS) -> np.ndarray:
    """``[K]`` distinct time indices, evenly spread over those that have a next time."""
    return np.unique(np.linspace(0, num_times - 2, min(count, num_times - 1)).round().astype(int))


def _predict_atoms(
    net: AtomFieldNet, test: Sequence[Graph], targets: Sequence[str], max_edges: int, progress: bool
) -> list[Prediction]:
    from atomfield.inference.predict import predict_graphs

    return predict_graphs(
        net,
        test,
        forces="forces" in targets,
        stress="stress" in targets,
        added=False,
        max_edges=max_edges,
        progress=progress,
    )


def _predict_fields(
    net: AtomFieldNet, test: Sequence[Graph], targets: Sequence[str], max_edges: int, console: Console
) -> list[Prediction]:
    """Rollouts from the first state of each trajectory, and single steps from ``step_starts``."""
    from rich.progress import track

    from atomfield.data.neighbors import with_edges
    from atomfield.inference.predict import predict_graphs
    from atomfield.inference.rollout import rollout

    predictions: list[Prediction] = []
    for graph in track(test, "rolling out", console=console, disable=not console.is_terminal, transient=True):
        states = rollout(net, graph, num_steps=min(graph.num_times - 1, MAX_ROLLOUT_STEPS), dt=None)
        starts = step_starts(graph.num_times)
        ready = with_edges(graph, net.config.cutoff)
        steps = predict_graphs(net, [ready.pair(int(t)) for t in starts], max_edges=max_edges)
        one: Prediction = {"step_index": starts}
        for name in targets:
            if name in states and name in graph.quantities:
                one[name] = states[name].detach().cpu().double().numpy()
                one[f"{name}_step"] = np.stack([np.asarray(s[name], dtype=np.float64) for s in steps])
                if all(f"{name}_std" in s for s in steps):
                    one[f"{name}_step_std"] = np.stack([s[f"{name}_std"] for s in steps])
        if all(OOD_SCORE in s for s in steps):
            one[OOD_SCORE] = np.array([s[OOD_SCORE] for s in steps])
        predictions.append(one)
    return predictions


def _field_baselines(
    test: Sequence[Graph], train: Sequence[Graph], targets: Sequence[str], kinds: Mapping[str, str]
) -> tuple[list[Baseline], list[str]]:
    steps = [min(g.num_times - 1, MAX_ROLLOUT_STEPS) for g in test]
    starts = [step_starts(g.num_times) for g in test]
    still = [persistence(g, targets, n, s) for g, n, s in zip(test, steps, starts, strict=True)]
    baselines = [Baseline("persistence", still, measures_of(test, still, targets, kinds))]
    if not train:
        return baselines, []
    pod = fit_pod(train, targets)
    rolled = [pod.rollout(g, n, s) for g, n, s in zip(test, steps, starts, strict=True)]
    found = sum(r is not None for r in rolled)
    notes = list(pod.notes)
    if found:
        mapped = [r or {} for r in rolled]
        baselines.append(Baseline("POD linear map", mapped, measures_of(test, mapped, targets, kinds)))
    if found < len(test):
        notes.append(
            f"POD linear map: {len(test) - found} of {len(test)} test trajectories have no training trajectory with the same "
            "points, quantities and dt, and are left out of its column"
        )
    return baselines, notes


def _one_class(name: str, graphs: Sequence[Graph]) -> str:
    """A sentence where all labels of classes 0 and 1 are the same."""
    labels = [float(g.quantities[name]) for g in graphs if name in g.quantities]
    if len(set(labels)) != 1:
        return ""
    return (
        f"{name}: all {len(labels)} labels of these records are {labels[0]:g}, and ROC-AUC takes records of both classes; how "
        "well classes are told apart stays unknown"
    )


def assess(
    net: AtomFieldNet,
    test: Sequence[Graph],
    targets: Sequence[str],
    *,
    train: Sequence[Graph] | None = None,
    calibrated_here: bool = False,
    max_edges: int = MAX_EDGES,
    console: Console,
) -> Assessment:
    """Predict ``test`` and measure network and baselines; baselines are fitted on ``train`` only.

    calibrated_here: the records are those that the intervals were calibrated on, so their coverage says nothing. max_edges: of a
    pass.

    Raises ``InputError`` when a target is in no test record or the network does not predict it.
    """
    graphs, fitted = list(test), list(train or [])  # read a store once
    if set(targets) <= set(net.config.steady):
        graphs, fitted = (
            [g if g.times is None else g.snapshot(0) for g in part] for part in (graphs, fitted)
        )
    steady = set(targets) <= set(net.config.steady)
    is_field = _check(graphs, targets, steady)
    kinds: dict[str, str] = {p.name: p.kind for p in net.config.properties}
    kinds |= dict.fromkeys(net.config.steady, "steady")
    if is_field:
        predictions = _predict_fields(net, graphs, targets, max_edges, console)
        baselines, notes = _field_baselines(graphs, fitted, targets, kinds)
        longest = max(g.num_times - 1 for g in graphs)
        if longest > MAX_ROLLOUT_STEPS:
            notes.append(
                f"Rollouts stop after {MAX_ROLLOUT_STEPS} steps; the longest test trajectory has {longest}"
            )
    else:
        predictions = _predict_atoms(net, graphs, targets, max_edges, progress=console.is_terminal)
        num_classes = {p.name: len(p.classes) for p in net.config.properties if p.classes}
        trivial = fit_trivial(fitted, targets, kinds, num_classes).predict(graphs)
        baselines, notes = [Baseline("trivial", trivial, measures_of(graphs, trivial, targets, kinds))], []
        if not fitted:
            notes.append("No training records were given, so baselines that need a fit are missing")
    for name in targets:
        if not any(name in p for p in predictions):
            able = sorted(
                {n for p in predictions for n in p if n not in ("step_index", OOD_SCORE) and base_of(n) == n}
                - {f"{n}_step" for p in predictions for n in p}
            )
            raise InputError(f"the checkpoint does not predict {name!r}; it predicts {', '.join(able)}")
    for name in targets:
        if kinds.get(name) == "classification" and (told := _one_class(name, graphs)):
            notes.append(told)
    measures = measures_of(graphs, predictions, targets, kinds)
    intervals = IntervalReport()
    if net.uncertainty is not None and not calibrated_here:
        intervals = judge_intervals(net.uncertainty, graphs, predictions, targets)
    elif net.uncertainty is not None and net.uncertainty.about.targets:
        notes.append(
            "Intervals were calibrated on these records, so their coverage takes other ones: give --test"
        )
    return Assessment(
        graphs,
        tuple(targets),
        kinds,
        predictions,
        measures,
        baselines,
        notes,
        intervals,
        net.config.properties,
    )
