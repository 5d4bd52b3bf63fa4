"""What needs no model: the forecasts that a trained one must beat, fitted on the training graphs only.

Atoms: the energy is a sum of per-element constants (least squares per level of theory, no intercept), forces and dipole are
zero, charges are the mean per element, every other quantity is its training mean (of vectors and tensors that of the
invariant part), a class is its prevalence. Fields: persistence (the state stays as it is); the linear map on POD
coefficients is in ``pod.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch

from atomfield.data.basis import from_irreps, to_irreps
from atomfield.data.graph import Graph
from atomfield.data.quantities import parse_irreps

from .metrics import Prediction, kind_of


def composition(graphs: Sequence[Graph], num_elements: int = 119) -> np.ndarray:
    """``[R, 119]`` number of atoms of each element."""
    return np.stack([np.bincount(np.asarray(g.species), minlength=num_elements) for g in graphs]).astype(
        np.float64
    )


def fit_elements(graphs: Sequence[Graph], values: np.ndarray) -> np.ndarray:
    """``[119]`` constants whose sum over the atoms of each graph is nearest to ``values [R]``: least norm
    where several are, NaN for elements that do not occur."""
    counts = composition(graphs)
    present = counts.any(axis=0)
    constants = np.full(counts.shape[1], np.nan)
    constants[present] = np.linalg.lstsq(counts[:, present], values, rcond=1e-10)[0]
    return constants


@dataclass(frozen=True)
class TrivialModel:
    """Fitted constants. ``energy``: level -> ``[119]`` eV; ``charges``: ``[119]`` e; ``means``: name ->
    array or logit."""

    targets: tuple[str, ...]
    kinds: dict[str, str]
    energy: dict[str, np.ndarray] = field(default_factory=dict)
    charges: np.ndarray | None = None
    means: dict[str, np.ndarray] = field(default_factory=dict)

    def predict(self, graphs: Sequence[Graph]) -> list[Prediction]:
        """One dictionary per graph; a target without training labels is left out."""
        return [self._predict_one(g) for g in graphs]

    def _predict_one(self, graph: Graph) -> Prediction:
        out: Prediction = {}
        species = np.asarray(graph.species)
        for name in self.targets:
            if name == "energy":
                constants = self.energy.get(graph.level)
                if constants is not None and np.isfinite(constants[species]).all():
                    out[name] = constants[species].sum()
            elif name == "forces":
                out[name] = np.zeros((graph.num_nodes, 3))
            elif name == "dipole":
                out[name] = np.zeros(3)
            elif name == "charges" and self.charges is not None:
                out[name] = self.charges[species]
            elif name in self.means:
                mean = self.means[name]
                if kind_of(name, self.kinds) == "steady":
                    same = len(mean) == graph.num_nodes
                    constant = np.broadcast_to(mean.mean(axis=0), (graph.num_nodes, *mean.shape[1:]))
                    out[name] = mean if same else constant
                    continue
                per_node = name in graph.quantities and graph.definition(name).support == "node"
                out[name] = mean[species] if per_node else mean
        return out


def _mean_charges(graphs: Sequence[Graph]) -> np.ndarray:
    species = np.concatenate([np.asarray(g.species) for g in graphs])
    charges = np.concatenate([np.asarray(g.quantities["charges"]) for g in graphs])
    count = np.bincount(species, minlength=119)
    return np.bincount(species, weights=charges, minlength=119) / np.maximum(count, 1)


def mean_field(name: str, labelled: Sequence[Graph]) -> np.ndarray:
    """Point by point where all training records have the same points, else one constant."""
    values = [np.asarray(g.quantities[name], dtype=np.float64) for g in labelled]
    first = labelled[0].positions
    if all(g.num_nodes == len(first) and torch.equal(g.positions, first) for g in labelled):
        return np.mean(values, axis=0)
    return np.mean(np.concatenate(values), axis=0, keepdims=True)


def isotropic_mean(name: str, labelled: Sequence[Graph]) -> np.ndarray:
    """The training mean of the invariant components, zero for all others, which have no mean that turns with them:
    Cartesian, ``[...]``, or ``[119, ...]`` per element for values per atom."""
    q = labelled[0].definition(name)
    rows = [to_irreps(g.quantities[name].double(), q.irreps).numpy() for g in labelled]
    flat = np.concatenate([r.reshape(-1, r.shape[-1]) for r in rows])
    invariant = np.zeros(flat.shape[1], dtype=bool)
    place = 0
    for count, l, parity in parse_irreps(q.irreps):
        invariant[place : place + count * (2 * l + 1)] = (l, parity) == (0, 1)
        place += count * (2 * l + 1)
    species = np.concatenate([np.asarray(g.species) for g in labelled]) if q.support == "node" else None
    known = np.isfinite(flat).all(1)
    if species is None:
        mean = np.where(invariant, flat[known].mean(0), 0.0)
    else:
        mean = np.tile(np.where(invariant, flat[known].mean(0), 0.0), (119, 1))
        for z in np.unique(species[known]):
            mean[z] = np.where(invariant, flat[known & (species == z)].mean(0), 0.0)
    return from_irreps(torch.from_numpy(mean), q.irreps).numpy()


def fit_trivial(
    train: Sequence[Graph],
    targets: Sequence[str],
    kinds: Mapping[str, str],
    num_classes: Mapping[str, int] = MappingProxyType({}),
) -> TrivialModel:
    """Fit on the labels of ``train`` (may be empty: then only what needs no fit is predicted). ``num_classes``: of each
    target of many classes."""
    energy: dict[str, np.ndarray] = {}
    charges: np.ndarray | None = None
    means: dict[str, np.ndarray] = {}
    for name in targets:
        labelled = [g for g in train if name in g.quantities]
        kind = kind_of(name, kinds)
        if not labelled or kind == "field" or name in ("forces", "dipole"):
            continue
        if name == "energy":
            for level in sorted({g.level for g in labelled}):
                own = [g for g in labelled if g.level == level]
                energy[level] = fit_elements(own, np.array([float(g.quantities["energy"]) for g in own]))
        elif name == "charges":
            charges = _mean_charges(labelled)
        elif kind == "steady":
            means[name] = mean_field(name, labelled)
        elif kind == "multiclass":
            numbers = np.array([int(g.quantities[name]) for g in labelled])
            counts = np.bincount(numbers, minlength=num_classes.get(name, 0)) + 0.5
            means[name] = np.log(counts / counts.sum())
        elif labelled[0].definition(name).shape or labelled[0].definition(name).support == "node":
            means[name] = isotropic_mean(name, labelled)
        else:
            mean = np.mean([np.asarray(g.quantities[name], dtype=np.float64) for g in labelled], axis=0)
            if kind == "classification":
                odds = (mean * len(labelled) + 0.5) / ((1 - mean) * len(labelled) + 0.5)
                mean = np.log(odds)
            means[name] = mean
    return TrivialModel(tuple(targets), dict(kinds), energy, charges, means)


def describe(name: str, kinds: Mapping[str, str], support: str = "graph") -> str:
    """What the trivial model of a target is, for tables: ``mean``, ``per-element fit``, ..."""
    named = {"energy": "per-element fit", "forces": "zero", "dipole": "zero", "charges": "mean per element"}
    if name in named:
        return named[name]
    match kind_of(name, kinds):
        case "classification" | "multiclass":
            return "majority class"
        case "field":
            return "persistence"
        case "steady":
            return "training mean, point by point where points agree"
        case _:
            return "mean per element" if support == "node" else "training mean"


def persistence(graph: Graph, targets: Sequence[str], num_steps: int, step_index: np.ndarray) -> Prediction:
    """The state does not change: rollout ``[S+1, N, ...]`` of the first state, and one step from each of
    ``step_index [K]``."""
    out: Prediction = {"step_index": step_index}
    for name in targets:
        if name in graph.quantities:
            truth = np.asarray(graph.quantities[name], dtype=np.float64)
            out[name] = np.broadcast_to(truth[:1], (num_steps + 1, *truth.shape[1:]))
            out[f"{name}_step"] = truth[step_index]
    return out
