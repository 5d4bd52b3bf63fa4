"""Do intervals hold what they promise? Coverage on test records with exact tests, and whether the standard deviation ranks
the errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import stats

from atomfield.data.graph import Graph
from atomfield.inference.intervals import OOD_SCORE, rollout_half_widths
from atomfield.models.uncertainty import COVERAGES

from .bootstrap import Measure, measure, resampling_units
from .conformal import living
from .metrics import GPA, Prediction, unit_key, unit_of

if TYPE_CHECKING:
    from atomfield.models.uncertainty import Uncertainty

HEADLINE = 0.9
"""The confidence level that metrics are about."""
_DIGITS = "interval90"


@dataclass(frozen=True)
class Judged:
    """Errors and standard deviations of one target on the test records.

    ``errors`` and ``stds [M]`` of components, in the unit of reports; ``units [M]``: the independent unit of each; ``records
    [M]``; ``quantiles``: half widths over the standard deviation, one per ``COVERAGES``.
    """

    name: str
    unit: str
    errors: np.ndarray
    stds: np.ndarray
    units: np.ndarray
    records: np.ndarray
    quantiles: np.ndarray
    calibration_units: int

    def coverage(self, half_widths: float) -> np.ndarray:
        """``[U]`` share of the components of each unit that lies within so many standard deviations."""
        inside = np.abs(self.errors) <= half_widths * self.stds
        count = np.bincount(self.units)
        return np.bincount(self.units, weights=inside) / count

    def record_table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Numbers of the records, their RMS error and their RMS standard deviation."""
        numbers, place = np.unique(self.records, return_inverse=True)
        count = np.bincount(place)
        mean = lambda x: np.sqrt(np.bincount(place, weights=x**2) / count)  # noqa: E731
        return numbers, mean(self.errors), mean(self.stds)


@dataclass(frozen=True)
class IntervalReport:
    """What was found: per target, and the out-of-distribution scores ``[R]`` of the records (NaN where there is none)."""

    judged: list[Judged] = field(default_factory=list)
    measures: list[Measure] = field(default_factory=list)
    ood: np.ndarray = field(default_factory=lambda: np.zeros(0))


def judge_intervals(
    uncertainty: Uncertainty,
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    targets: Sequence[str],
) -> IntervalReport:
    """Coverage, width and ranking of every target that has standard deviations, and the out-of-distribution score."""
    units = resampling_units(graphs)
    judged, measures = [], []
    for name in (t for t in targets if t in uncertainty.about.targets):
        one = _judge(uncertainty, name, graphs, predictions, units)
        if one is not None:
            judged.append(one)
            measures += _measures(one)
        rolled = _judge_rollouts(uncertainty, name, graphs, predictions, units)
        if rolled is not None:
            measures += _covered(rolled, 1.0)
    ood = np.array([float(np.max(p.get(OOD_SCORE, np.nan))) for p in predictions])
    known = np.isfinite(ood)
    if known.any():
        own, scores = np.unique(units[known], return_inverse=True)[1], ood[known]
        above = (scores > 1).astype(float)
        measures.append(
            measure("ood_score_mean", "out-of-distribution score", "", lambda w: (w @ scores) / w.sum(), own)
        )
        measures.append(
            measure("ood_share_above_1", "unusual records", "", lambda w: (w @ above) / w.sum(), own)
        )
    return IntervalReport(judged, measures, ood)


def _judge(
    uncertainty: Uncertainty,
    name: str,
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    units: np.ndarray,
) -> Judged | None:
    errors, stds, owners = [], [], []
    for i, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        is_step = f"{name}_step_std" in prediction
        std = prediction.get(f"{name}_step_std" if is_step else f"{name}_std")
        if name not in graph.quantities or std is None:
            continue
        truth = np.asarray(graph.quantities[name], dtype=np.float64)
        predicted = prediction[f"{name}_step"] if is_step else prediction[name]
        if is_step:
            truth = truth[np.asarray(prediction["step_index"]) + 1]
        error = np.asarray(predicted - truth, dtype=np.float64)
        if is_step:
            error = living(error)
        wide = np.broadcast_to(std.reshape(std.shape + (1,) * (error.ndim - std.ndim)), error.shape)
        factor = 1e3 / graph.num_nodes if name == "energy" else GPA if name == "stress" else 1.0
        known = np.isfinite(truth).reshape(-1) if not is_step else np.ones(error.size, dtype=bool)
        errors.append(factor * error.ravel()[known])
        stds.append(factor * wide.ravel()[known])
        owners.append(np.full(int(known.sum()), i))
    if not errors:
        return None
    records = np.concatenate(owners)
    number = uncertainty.about.targets.index(name)
    unit = {"energy": "meV/atom", "stress": "GPa"}.get(name, unit_of(graphs, name))
    return Judged(
        name,
        unit,
        np.concatenate(errors),
        np.concatenate(stds),
        np.unique(units[records], return_inverse=True)[1],
        records,
        uncertainty.quantiles[number].cpu().numpy(),
        uncertainty.about.calibration_units[number],
    )


def _judge_rollouts(
    uncertainty: Uncertainty,
    name: str,
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    units: np.ndarray,
) -> Judged | None:
    """The errors of all states of rollouts, with the half widths of their 90 % intervals as standard deviations."""
    errors, widths, owners = [], [], []
    for i, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        if f"{name}_step" not in prediction or name not in graph.quantities:
            continue
        states = torch.from_numpy(np.asarray(prediction[name], dtype=np.float64))
        width = rollout_half_widths(uncertainty, graph, {name: states}, HEADLINE).get(name)
        if width is None:
            continue
        error = living((states - graph.quantities[name][: len(states)].double()).numpy()).reshape(
            len(states), -1
        )
        known = np.isfinite(width) & (np.arange(len(width)) > 0)
        errors.append(error[known].ravel())
        widths.append(np.repeat(width[known], error.shape[1]))
        owners.append(np.full(errors[-1].size, i))
    if not sum(map(len, errors)):
        return None
    records = np.concatenate(owners)
    return Judged(
        f"{name}_rollout",
        unit_of(graphs, name),
        np.concatenate(errors),
        np.concatenate(widths),
        np.unique(units[records], return_inverse=True)[1],
        records,
        np.ones(len(COVERAGES)),
        uncertainty.about.rollout_units,
    )


def _measures(one: Judged) -> list[Measure]:
    name, out = one.name, list[Measure]()
    half = float(one.quantiles[COVERAGES.index(HEADLINE)])
    if np.isfinite(half):
        out += _covered(one, half)
    _, error, std = one.record_table()
    if len(error) >= 5 and np.ptp(std) > 0 and np.ptp(error) > 0:
        rank = float(stats.spearmanr(std, error).statistic)
        out.append(
            Measure(
                f"{name}_std_spearman",
                f"{name} rank correlation of std and error",
                "",
                rank,
                larger_is_better=True,
            )
        )
    return out


def _covered(one: Judged, half: float) -> list[Measure]:
    """Coverage and width of intervals of ``half`` standard deviations to each side."""
    name, out = one.name, []
    own = np.arange(int(one.units.max()) + 1)
    shares = one.coverage(half)
    out.append(
        measure(
            f"{name}_{_DIGITS}_coverage",
            f"{name} coverage of 90 % intervals",
            "",
            lambda w: (w @ shares) / w.sum(),
            own,
            larger=True,
        )
    )
    hits, total = drawn_hits(one, half)
    binomial = stats.binomtest(hits, total, HEADLINE).pvalue
    out.append(Measure(f"{name}_{_DIGITS}_binomial_p", f"{name} binomial test", "", float(binomial)))
    both = beta_binomial_p(hits, total, one.calibration_units)
    out.append(Measure(f"{name}_{_DIGITS}_beta_binomial_p", f"{name} beta-binomial test", "", both))
    width = 2 * half * float(np.mean(one.stds))
    tail = f"_{unit_key(one.unit)}" if unit_key(one.unit) else ""
    shown = one.unit.replace("angstrom", "Å").replace("*", "·")
    out.append(Measure(f"{name}_{_DIGITS}_width{tail}", f"{name} width of 90 % intervals", shown, width))
    return out


def drawn_hits(one: Judged, half_widths: float, seed: int = 0) -> tuple[int, int]:
    """(hits, units): one component drawn from each independent unit, inside its interval or not; what a binomial test may
    count."""
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(one.errors))
    _, first = np.unique(one.units[shuffled], return_index=True)
    chosen = shuffled[first]
    inside = np.abs(one.errors[chosen]) <= half_widths * one.stds[chosen]
    return int(inside.sum()), len(chosen)


def beta_binomial_p(hits: int, total: int, calibration_units: int, coverage: float = HEADLINE) -> float:
    """Two-sided probability of so unlikely a number of hits, the chance in the calibration set included.

    Given K calibration units the coverage of a split conformal interval is not p but a draw of Beta(k, K + 1 - k) with
    k = ceil(p (K + 1)) (Vovk, Mach. Learn. 92, 349 (2013)), so hits are beta-binomial.
    """
    k = int(np.ceil(coverage * (calibration_units + 1) - 1e-9))
    law = stats.betabinom(total, k, calibration_units + 1 - k)
    chances = law.pmf(np.arange(total + 1))
    return float(min(1.0, chances[chances <= chances[hits] * (1 + 1e-9)].sum()))
