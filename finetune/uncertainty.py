"""Fit the uncertainty of a trained network: features of the training records, errors of the validation records.

No weight changes. The formula and its references are in ``models/uncertainty.py``; ``conformal.py`` has the fit to the errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atomfield.data.graph import Graph, GraphBatch
from atomfield.data.neighbors import with_edges
from atomfield.data.steady import unsolved
from atomfield.inference.predict import batch_of_items, evaluating, packs
from atomfield.models.config import UncertaintyConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.uncertainty import (
    COVERAGES,
    Uncertainty,
    features_in,
    is_extensive,
    space_of,
)

from .assess import MAX_EDGES, step_starts
from .bootstrap import resampling_units
from .conformal import Errors, calibrate, living, temperature, unlucky_coverage
from .metrics import is_class
from .moments import Moments
from .rollout_widths import fit_rollout_widths

MAX_TRAINING_RECORDS = 2_000
MAX_VALIDATION_RECORDS = 1_000
USUAL_SHARE = 0.95
MIN_TRAJECTORIES = 10
"""With fewer validation trajectories, their single steps are what intervals are calibrated on."""
FEW_UNITS = 40
UnitKind = Literal["records", "groups", "times"]


def without_uncertainty(net: AtomFieldNet) -> AtomFieldNet:
    """``net`` as it is before its uncertainty is fitted, in place: what was fitted to other weights says nothing about these."""
    net.config = net.config.model_copy(update={"uncertainty": None})
    net.uncertainty = None
    return net


def fit_uncertainty(
    net: AtomFieldNet,
    targets: tuple[str, ...],
    level: str,
    train: Sequence[Graph],
    valid: Sequence[Graph],
    max_edges: int = MAX_EDGES,
) -> list[str]:
    """Give ``net`` an uncertainty for records of ``level`` and return what to tell the person about it. max_edges: of a pass.

    Classifications get no interval (their probabilities are temperature-scaled on the validation records instead) but count for
    the out-of-distribution score.
    """
    kinds = {p.name: p.kind for p in net.config.properties}
    numbers = tuple(t for t in targets if not is_class(t, kinds))
    spaces = tuple(dict.fromkeys(space_of(t, net.config) for t in targets))
    about = UncertaintyConfig(level=level, targets=numbers, spaces=spaces)
    uncertainty = Uncertainty(net.config, about).to(net.device)
    forces, stress = "forces" in targets, "stress" in targets
    _fit_features(net, uncertainty, _states(net, _picked(train, MAX_TRAINING_RECORDS))[0], max_edges)
    held = _picked(valid, MAX_VALIDATION_RECORDS)
    states, owners = _states(net, held)
    found = _Found(numbers, tuple(t for t in targets if is_class(t, kinds)))
    for batch, out, numbers_of_states in _passes(net, states, max_edges, forces=forces, stress=stress):
        found.add(uncertainty, batch, out, numbers_of_states)
    units, kind = _units(held, owners)
    counts = _calibrate(net, uncertainty, found, units)
    about = about.model_copy(update={"calibration_units": counts, "unit_kind": kind})
    uncertainty.about = about
    net.config = net.config.model_copy(update={"uncertainty": about})
    net.uncertainty = uncertainty
    fit_rollout_widths(net, valid)
    return [*_tempered(net, targets, found), *_said(uncertainty)]


# ---------------------------------------------------------------- passes
def _picked(graphs: Sequence[Graph], most: int) -> list[Graph]:
    """At most ``most`` records, evenly spread."""
    chosen = np.unique(np.linspace(0, len(graphs) - 1, min(most, len(graphs))).astype(int))
    return [graphs[int(i)] for i in chosen]


def _states(net: AtomFieldNet, graphs: Sequence[Graph]) -> tuple[list[Graph], np.ndarray]:
    """What is predicted from, and the record that each is of: structures as they are, of a trajectory some pairs of states."""
    ready: list[Graph] = []
    owners: list[int] = []
    for number, graph in enumerate(graphs):
        if graph.times is None or graph.num_times < 2:
            ready.append(unsolved(graph, net.config.steady))
            owners.append(number)
            continue
        whole = with_edges(graph, net.config.cutoff)
        starts = step_starts(graph.num_times)
        ready += [whole.pair(int(start)) for start in starts]
        owners += [number] * len(starts)
    return ready, np.array(owners)


def _units(graphs: Sequence[Graph], owners: np.ndarray) -> tuple[np.ndarray, UnitKind]:
    """``[states]`` the unit that each state is calibrated with: groups of records where there are ten, else records; where
    even those are few, the single steps of trajectories."""
    if len(graphs) < len(owners) and len(graphs) < MIN_TRAJECTORIES:
        return np.arange(len(owners)), "times"
    units = resampling_units(graphs)
    return units[owners], "groups" if len(set(units.tolist())) < len(graphs) else "records"


def _passes(
    net: AtomFieldNet, states: Sequence[Graph], max_edges: int, *, forces: bool = False, stress: bool = False
) -> Iterator[tuple[GraphBatch, dict[str, Tensor], list[int]]]:
    """Forward passes with features: batch, what came out, and the numbers of its states."""
    with evaluating(net):
        for items in packs(net.config, states, max_edges, stress):
            batch = batch_of_items(items, net.config.cutoff).to(net.device)
            solid = stress and batch.world != "field" and bool(batch.pbc.all())
            out = net(batch, forces=forces or solid, stress=solid, features=True)
            yield batch, out, [i.owner for i in items]


def _labels(batch: GraphBatch) -> dict[str, Tensor]:
    return batch.next_quantities if batch.world == "field" else batch.quantities


# ---------------------------------------------------------------- features
def _fit_features(
    net: AtomFieldNet, uncertainty: Uncertainty, states: Sequence[Graph], max_edges: int
) -> None:
    """Means and covariances of the features, and the RMS of vectors and tensors, over training records."""
    moments = {name: Moments(uncertainty.space(name)) for name in uncertainty.about.spaces}
    targets = uncertainty.about.targets
    squares, counts = torch.zeros(len(targets)).double(), torch.zeros(len(targets)).double()
    for batch, out, _ in _passes(net, states, max_edges):
        for name, own in moments.items():
            own.add(features_in(out, batch, name), batch.species)
        for number, target in enumerate(targets):
            label = _labels(batch).get(target)
            if label is not None and label.ndim > 1:
                square = label.double().flatten(1).square().sum(1)
                known = torch.isfinite(square)
                squares[number] += float(square[known].sum())
                counts[number] += float(known.sum())
    for own in moments.values():
        own.finish()
    rms = (squares / counts.clamp_min(1)).sqrt()
    uncertainty.rms.copy_(torch.where(rms > 0, rms, 1.0))


@dataclass
class _Found:
    """What the validation records say, target by target, and the distances of each graph."""

    targets: tuple[str, ...]
    classes: tuple[str, ...]
    covariates: dict[str, list[np.ndarray]] = field(default_factory=dict)
    errors: dict[str, list[np.ndarray]] = field(default_factory=dict)
    states: dict[str, list[np.ndarray]] = field(default_factory=dict)
    distances: list[np.ndarray] = field(default_factory=list)
    logits: dict[str, list[np.ndarray]] = field(default_factory=dict)
    labels: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def add(
        self, uncertainty: Uncertainty, batch: GraphBatch, out: dict[str, Tensor], numbers: list[int]
    ) -> None:
        """``numbers``: those of the states in the batch."""
        distances = uncertainty.distances(out, batch)
        self.distances.append(uncertainty.scores(distances, batch).cpu().numpy())
        state_G = np.array(numbers)
        for name in self.classes:
            if name in batch.quantities:
                labelled = batch.quantities[name].isfinite()
                self.labels.setdefault(name, []).append(batch.quantities[name][labelled].cpu().numpy())
                self.logits.setdefault(name, []).append(out[name][labelled].double().cpu().numpy())
        for name in self.targets:
            label = _labels(batch).get(name)
            if label is None or name not in out:
                continue
            error = (out[name].double() - label.double()).abs().reshape(len(label), -1).cpu().numpy()
            if batch.world == "field":
                error = living(error)
            known = np.isfinite(error).all(1)
            state = state_G[batch.graph_index.cpu().numpy()] if uncertainty.per_node(name) else state_G
            z = uncertainty.covariates(out, batch, name, distances).cpu().numpy()
            width = error.shape[1]
            self.covariates.setdefault(name, []).append(np.repeat(z[known], width, axis=0))
            self.errors.setdefault(name, []).append(error[known].reshape(-1))
            self.states.setdefault(name, []).append(np.repeat(state[known], width))


def _calibrate(
    net: AtomFieldNet, uncertainty: Uncertainty, found: _Found, units: np.ndarray
) -> tuple[int, ...]:
    """Write coefficients, quantiles and usual distances; returns the number of independent units of each target."""
    counts = []
    for number, name in enumerate(found.targets):
        if not any(len(e) for e in found.errors.get(name, [])):
            uncertainty.quantiles[number] = torch.inf
            counts.append(0)
            continue
        errors = Errors(
            np.concatenate(found.errors[name]),
            np.concatenate(found.covariates[name]),
            units[np.concatenate(found.states[name])],
        )
        fit = calibrate(errors, is_extensive(name, net.config), COVERAGES)
        uncertainty.coefficients[number] = torch.from_numpy(fit.coefficients)
        uncertainty.quantiles[number] = torch.from_numpy(fit.quantiles)
        counts.append(fit.num_units)
    distances = np.concatenate(found.distances, axis=1)
    usual = np.maximum(np.quantile(distances, USUAL_SHARE, axis=1), 1e-12)
    largest = (distances / usual[:, None]).max(
        axis=0
    )  # of several numbers one is above its bound more often than each
    uncertainty.usual.copy_(torch.from_numpy(usual * np.quantile(largest, USUAL_SHARE)))
    return tuple(counts)


def _tempered(net: AtomFieldNet, targets: tuple[str, ...], found: _Found) -> list[str]:
    """Divide the logits of each classification by the temperature that the validation labels ask for, within the head itself."""
    notes = []
    for number, prop in enumerate(net.config.properties):
        if prop.name not in targets or prop.name not in found.labels:
            continue
        logits, labels = np.concatenate(found.logits[prop.name]), np.concatenate(found.labels[prop.name])
        heat = temperature(logits, labels)
        head = net.property_head
        head.scale[number] /= heat
        head.shift[number] /= heat
        head.reference[number] /= heat
        if prop.is_open:
            assert head.tensors is not None
            rows = head.tensors.scalar_rows(prop.name)
            head.tensors.shift[rows] /= heat
            head.tensors.reference[rows] /= heat
        notes.append(f"{prop.name}: logits divided by {heat:.3g}, as {len(labels)} validation labels ask for")
    return notes


def _said(uncertainty: Uncertainty) -> list[str]:
    """What a person should know about the intervals."""
    about, notes = uncertainty.about, []
    what = {
        "records": "validation records",
        "groups": "groups of validation records",
        "times": "validation steps",
    }
    for number, name in enumerate(about.targets):
        units = about.calibration_units[number]
        if not torch.isfinite(uncertainty.quantiles[number, COVERAGES.index(0.9)]):
            notes.append(
                f"{name}: no 90 % interval, which takes at least 9 {what[about.unit_kind]} with a label, found {units}"
            )
        elif units < FEW_UNITS:
            notes.append(
                f"{name}: 90 % intervals are calibrated on {units} {what[about.unit_kind]} alone; with one chance in twenty they "
                f"cover less than {100 * unlucky_coverage(0.9, units):.0f} %"
            )
    if about.unit_kind == "times" and about.targets:
        notes.append(
            "intervals are calibrated on single steps of few trajectories, which are alike: for other trajectories they may be "
            "too narrow"
        )
    return notes
