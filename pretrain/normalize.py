"""Scales from the training records, fitted once and stored in the network as float64 buffers.

Isotropic only: one RMS per quantity and level, no mean is taken from anything with l > 0 (per-component
statistics break equivariance).
Energies are referenced per element and level (``atomfield.data.references``); the table is printed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_INPUTS, FIELD_STATES
from atomfield.data.references import NUM_SPECIES, ReferenceFit, fit_references, reference_table
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.priors import remainder_of

__all__ = ["ReferenceFit", "Statistics", "fit_references", "normalize", "reference_table"]

STANDS_OFF = 20.0
"""A number whose mean is more than so many standard deviations (a temperature in kelvin, a pressure in pascal) stands off zero:
beside its RMS norm nothing would be left of its changes."""


DOMINANT, ENOUGH = 0.5, 20
"""Of so many records or more one has at most this share of the sum of squares; with more it is likely a slip (a unit, a
calculation that failed), and the scale that it sets leaves nothing of the others."""


def offset_of(mean: float, square: float) -> float:
    """``mean`` where it stands off zero, else 0, as of a constant. square: mean of the squares."""
    spread = max(square - mean**2, 0.0) ** 0.5
    return mean if 1e-6 * abs(mean) < spread < abs(mean) / STANDS_OFF else 0.0


@dataclass
class Statistics:
    """Accumulated over training records, per level: of what analytic terms leave, where ``terms`` has any."""

    terms: NetworkConfig | None = None
    counts: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    energies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    force_squares: list[tuple[float, int]] = field(default_factory=list)
    level_squares: dict[str, tuple[float, int]] = field(default_factory=dict)
    largest_forces: tuple[float, str] = (0.0, "")
    """Of the record with the largest forces: the sum of their squares, and where it is from."""
    input_squares: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    input_means: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    increment_squares: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    steady_means: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    neighbors: list[float] = field(default_factory=list)

    def add(self, graphs: Iterable[Graph]) -> None:
        for graph in graphs:
            if graph.world == "field":
                self._add_field(graph)
            else:
                self._add_atoms(graph)

    def without(self, levels: Collection[str]) -> Statistics:
        """What was seen of other levels."""
        kept = Statistics(self.terms, force_squares=self.force_squares)
        kept.counts.update({k: v for k, v in self.counts.items() if k not in levels})
        kept.energies.update({k: v for k, v in self.energies.items() if k not in levels})
        kept.input_squares.update({k: v for k, v in self.input_squares.items() if k[0] not in levels})
        kept.input_means.update({k: v for k, v in self.input_means.items() if k[0] not in levels})
        kept.steady_means.update({k: v for k, v in self.steady_means.items() if k[0] not in levels})
        kept.increment_squares.update({k: v for k, v in self.increment_squares.items() if k[0] not in levels})
        return kept

    def offset(self, level: str, name: str) -> float:
        """The mean of a number of fields, given or steady, in its unit, where it stands off zero (:func:`offset_of`), else 0."""
        key = level, name
        if means := self.steady_means.get(key):
            return offset_of(float(np.mean(means)), float(np.mean(self.increment_squares[key])))
        if means := self.input_means.get(key):
            return offset_of(float(np.mean(means)), float(np.mean(self.input_squares[key])))
        return 0.0

    def offsets(self) -> dict[tuple[str, str], float]:
        """(level, name) -> the mean of each number of fields that stands off zero there."""
        seen = dict.fromkeys((*self.input_means, *self.steady_means))
        return {key: mean for key in seen if (mean := self.offset(*key))}

    def dominated(self) -> list[str]:
        """Sentences on scales that one record sets alone."""
        found, advice = [], "if it is a slip, leave it out"
        squares = [square for square, _ in self.force_squares]
        if _dominates(squares):
            largest, where = self.largest_forces
            count = next(c for square, c in self.force_squares if square == largest)
            found.append(
                f"{where}: its forces, {(largest / count) ** 0.5:.3g} eV/angstrom (RMS), are {largest / sum(squares):.0%} of the "
                f"sum of squares over {len(squares)} records and set the scale of all energies and forces; {advice}"
            )
        for kind, table in (("values", self.input_squares), ("changes", self.increment_squares)):
            for (level, name), own in table.items():
                if _dominates(own):
                    found.append(
                        f"{name} at level {level or '(not said)'}: the {kind} of one record of {len(own)} are "
                        f"{max(own) / sum(own):.0%} of the sum of squares and set their scale; {advice}"
                    )
        return found

    def _add_atoms(self, graph: Graph) -> None:
        energy, force = 0.0, torch.zeros(())
        if self.terms is not None and self.terms.priors and {"energy", "forces"} & graph.quantities.keys():
            energy, force = remainder_of(self.terms, graph)
        if "energy" in graph.quantities:
            self.counts[graph.level].append(np.bincount(graph.species.numpy(), minlength=NUM_SPECIES))
            self.energies[graph.level].append(float(graph.quantities["energy"]) - energy)
        if "forces" in graph.quantities:
            forces = graph.quantities["forces"] - force
            own = float(forces.double().square().sum()), forces.numel()
            self.force_squares.append(own)
            self.largest_forces = max(self.largest_forces, (own[0], str(graph.provenance)))
            total, number = self.level_squares.get(graph.level, (0.0, 0))
            self.level_squares[graph.level] = (total + own[0], number + own[1])

    def _add_field(self, graph: Graph) -> None:
        for name, value in graph.quantities.items():
            if name in FIELD_INPUTS:
                value = value.double()
                vectors = value.square().sum(-1) if graph.definition(name).shape else value.square()
                self.input_squares[graph.level, name].append(float(vectors.mean()))
                if graph.definition(name).irreps == "0e":
                    self.input_means[graph.level, name].append(float(value.mean()))
        for name, value in graph.next_quantities.items():
            if name in FIELD_STATES and name not in graph.quantities:  # a steady problem
                value = value.double()
                squares = value.square().sum(-1) if graph.definition(name).shape else value.square()
                self.increment_squares[graph.level, name].append(float(squares.mean()))
                if graph.definition(name).irreps == "0e":
                    self.steady_means[graph.level, name].append(float(value.mean()))
        if graph.num_times > 1:
            first, last = graph.pair(0), graph.num_times - 1
            for name in first.next_quantities:
                if name in FIELD_STATES:
                    change = graph.quantities[name][1:].double() - graph.quantities[name][:last].double()
                    squares = change.square().sum(-1) if graph.definition(name).shape else change.square()
                    self.increment_squares[graph.level, name].append(float(squares.mean()))


def _dominates(squares: list[float]) -> bool:
    return len(squares) >= ENOUGH and max(squares) > DOMINANT * sum(squares)


def apply_references(net: AtomFieldNet, fits: list[ReferenceFit]) -> None:
    for fit in fits:
        row = net.config.levels.index(fit.level)
        for number, energy in fit.energies.items():
            net.atom_head.reference[row, number] = energy


def apply_energy_scale(net: AtomFieldNet, statistics: Statistics) -> None:
    """One scale for every level: the RMS force component in eV/angstrom (without forces: the RMS energy residual per atom)."""
    squares, number = (
        map(sum, zip(*statistics.force_squares, strict=True)) if statistics.force_squares else (0.0, 0)
    )
    if number:
        net.atom_head.energy_scale.fill_(max((squares / number) ** 0.5, 1e-6))
        return
    residuals = [f.residual for f in fit_references(statistics)]
    if residuals:
        net.atom_head.energy_scale.fill_(max(float(np.mean(residuals)), 1e-6))


def centre(net: AtomFieldNet, names: Iterable[str]) -> None:
    """Let ``net`` read the numbers of fields ``names`` as their distance from a mean, which is zero until it is fitted, and no
    other."""
    embedding, head, centred = net.backbone.embedding, net.field_head, tuple(sorted(names))
    if not centred:
        embedding.input_mean = head.steady_mean = None
    elif embedding.input_mean is None:
        embedding.input_mean = torch.zeros_like(embedding.input_rms)
        head.steady_mean = torch.zeros_like(head.increment_rms)
    net.config = net.config.model_copy(update={"centred": centred})


def centred_line(name: str, mean: float, level: str = "") -> str:
    """What to tell the person about a number that is read as its distance from ``mean``."""
    where = f" at level {level}" if level else ""
    return f"{name} varies little about {mean:.6g}{where}: it is read as its distance from that"


def apply_field_scales(net: AtomFieldNet, statistics: Statistics) -> None:
    """RMS norm of each field quantity and of its increment over one step, per level; of what is centred its mean too."""
    embedding = net.backbone.embedding
    for (level, name), squares in statistics.input_squares.items():
        row, column = net.config.levels.index(level), net.config.field_inputs.index(name)
        square = float(np.mean(squares))
        if embedding.input_mean is not None:
            mean = statistics.offset(level, name) if name in net.config.centred else 0.0
            embedding.input_mean[row, column] = mean
            square = max(square - mean**2, 0.0)
        embedding.input_rms[row, column] = max(square**0.5, 1e-12)
    head = net.field_head
    for (level, name), squares in statistics.increment_squares.items():
        row, column = net.config.levels.index(level), net.config.field_states.index(name)
        square = float(np.mean(squares))
        if head.steady_mean is not None:
            is_centred = name in net.config.centred and (level, name) in statistics.steady_means
            mean = statistics.offset(level, name) if is_centred else 0.0
            head.steady_mean[row, column] = mean
            square = max(square - mean**2, 0.0)
        head.increment_rms[row, column] = max(square**0.5, 1e-12)


def normalize(net: AtomFieldNet, statistics: Statistics, known: Collection[str] = ()) -> list[ReferenceFit]:
    """Set the scales of a network; returns the reference fits for printing.

    known: levels whose references and scales stay as they are, and the energy scale of all with them.
    """
    with torch.no_grad():
        new = statistics.without(known)
        fits = fit_references(new)
        apply_references(net, fits)
        apply_field_scales(net, new)
        if not known:
            apply_energy_scale(net, new)
        if "given_forces" in net.config.auxiliary:
            net.backbone.embedding.given_forces.scale.copy_(net.atom_head.energy_scale)
    return fits
