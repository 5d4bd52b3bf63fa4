"""How sure a network is: the Laplace variance of its last layers, calibrated on validation records.

The last layer of a head is linear in features phi. Its Laplace approximation over the n training records has the variance of
a Bayesian linear regression, proportional to phi~^T (sum phi~ phi~^T)^-1 phi~ with phi~ = (1, phi), which is exactly (1 +
d^2) / n: d^2 = (phi - mu)^T C^-1 (phi - mu) is the Mahalanobis distance from the training features (mean mu, covariance C).
Known as last-layer Laplace (Daxberger et al., NeurIPS 2021) and as last-layer prediction rigidity (Bigi et al., Mach. Learn.
Sci. Technol. 5, 045018 (2024)). With v = (1 + d^2) / (1 + F), which is 1 on average in the training set (F features), the
standard deviation of a target is

    log std = a + b log v + c log(atoms) + m log(1 + |y|^2 / rms^2) / 2

whose few numbers ``finetune/uncertainty.py`` fits to validation errors (b = 1/2 is the Laplace law), and an interval is the
prediction -+ a quantile of |error| / std there (split conformal). Means are per element for features of atoms. One forward
pass and no samples: forces get the variance of the atom that they act on. Everything is invariant, so the intervals of all
components of a vector or a tensor are equally wide and turn with nothing.

Legend: ``N`` nodes, ``G`` graphs, ``F`` features, ``T`` targets.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from atomfield.data.graph import GraphBatch

from .config import FeatureSpaceName, NetworkConfig, UncertaintyConfig
from .embedding import NUM_SPECIES

COVERAGES = (0.5, 0.8, 0.9, 0.95)
"""Confidence levels that an interval can have; a quantile of each is stored."""
NODE_SPACES = ("atoms", "property_atoms", "points")
UNSEEN_ELEMENT = 1e4
"""Squared distance of an atom whose element no training record had."""
Distances = dict[FeatureSpaceName, Tensor]


def space_of(name: str, config: NetworkConfig) -> FeatureSpaceName:
    """The features that the last layer of a target reads."""
    prop = next((p for p in config.properties if p.name == name), None)
    if prop is not None:
        if prop.support == "node":
            return "property_atoms"
        return "property_sum" if prop.pooling == "sum" else "property_mean"
    if name in config.field_states:
        return "points"
    return "atoms" if name in ("forces", "charges") else "structure"


def is_extensive(name: str, config: NetworkConfig) -> bool:
    """Whether the error of a target is expected to grow with the number of atoms."""
    return name == "energy" or any(p.name == name and p.pooling == "sum" for p in config.properties)


def features_in(out: dict[str, Tensor], batch: GraphBatch, name: FeatureSpaceName) -> Tensor:
    """``[N, F]`` or ``[G, F]`` float64, from what a forward pass with ``features=True`` returned."""
    match name:
        case "structure":
            return _mean(out["features/atoms"], batch)
        case "property_sum":
            return _mean(out["features/property_atoms"], batch)
        case _:
            return out[f"features/{name}"].double()


def _mean(values_N: Tensor, batch: GraphBatch) -> Tensor:
    total = torch.zeros(batch.num_graphs, values_N.shape[1], dtype=torch.float64, device=values_N.device)
    return total.index_add(0, batch.graph_index, values_N.double()) / batch.nodes_per_graph()[:, None]


class FeatureSpace(nn.Module):
    """Where training features lie: means (per element for atoms) and the inverse Cholesky factor of their covariance."""

    mean: Tensor
    seen: Tensor
    whiten: Tensor

    def __init__(self, name: FeatureSpaceName, config: NetworkConfig):
        super().__init__()
        self.per_node = name in NODE_SPACES
        size = {"atoms": config.head_hidden, "structure": config.head_hidden, "points": config.channels}.get(
            name, 2 * config.head_hidden
        )
        rows = NUM_SPECIES if self.per_node else 1
        self.register_buffer("mean", torch.zeros(rows, size, dtype=torch.float64))
        self.register_buffer("seen", torch.zeros(rows, dtype=torch.bool))
        self.register_buffer("whiten", torch.eye(size, dtype=torch.float64))

    def forward(self, features: Tensor, species_N: Tensor) -> Tensor:
        """Squared Mahalanobis distance, ``[N]`` or ``[G]``."""
        row = species_N if self.per_node else torch.zeros_like(features[:, 0], dtype=torch.int64)
        distance = ((features - self.mean[row]) @ self.whiten.T).square().sum(1)
        return torch.where(self.seen[row], distance, torch.full_like(distance, UNSEEN_ELEMENT))


class Uncertainty(nn.Module):
    """Buffers of the text above: ``coefficients [T, 4]`` (a, b, c, m), ``rms [T]``, ``quantiles [T, len(COVERAGES)]``
    (infinite where too few validation records were there to say), ``usual [spaces]``, the distance that 95 % of validation
    records stay below, and, where ``about`` has rollout steps, ``rollouts [T, steps, len(COVERAGES)]``, half widths of intervals
    after so many steps over the size of the state that a rollout began at."""

    coefficients: Tensor
    rms: Tensor
    quantiles: Tensor
    usual: Tensor
    rollouts: Tensor

    def __init__(self, config: NetworkConfig, about: UncertaintyConfig):
        super().__init__()
        self.config, self.about = config, about
        with torch.device("cpu"):
            self.spaces = nn.ModuleDict({name: FeatureSpace(name, config) for name in about.spaces})
            count = len(about.targets)
            self.register_buffer("coefficients", torch.zeros(count, 4, dtype=torch.float64))
            self.register_buffer("rms", torch.ones(count, dtype=torch.float64))
            self.register_buffer("quantiles", torch.full((count, len(COVERAGES)), 1.0, dtype=torch.float64))
            if about.rollout_steps:
                shape = (count, about.rollout_steps, len(COVERAGES))
                self.register_buffer("rollouts", torch.full(shape, torch.inf, dtype=torch.float64))
            self.register_buffer(
                "usual",
                torch.ones(sum(2 if s in NODE_SPACES else 1 for s in about.spaces), dtype=torch.float64),
            )

    def space(self, name: FeatureSpaceName) -> FeatureSpace:
        found = self.spaces[name]
        assert isinstance(found, FeatureSpace)
        return found

    def per_node(self, target: str) -> bool:
        """Whether a target has one standard deviation per node."""
        return space_of(target, self.config) in NODE_SPACES

    def distances(self, out: dict[str, Tensor], batch: GraphBatch) -> Distances:
        """d^2 of the text above in each space, ``[N]`` or ``[G]``."""
        return {
            name: self.space(name)(features_in(out, batch, name), batch.species) for name in self.about.spaces
        }

    def covariates(
        self, out: dict[str, Tensor], batch: GraphBatch, name: str, distances: Distances
    ) -> Tensor:
        """``[N or G, 4]``: 1, log v, log(atoms) of a graph, log(1 + |y|^2 / rms^2) / 2 of a vector or a tensor."""
        space, values = space_of(name, self.config), out[name].double()
        log_v = ((1 + distances[space]) / (1 + self.space(space).mean.shape[1])).log()
        size = torch.zeros_like(log_v) if space in NODE_SPACES else batch.nodes_per_graph().double().log()
        large = torch.zeros_like(log_v)
        if values.ndim > 1:
            rms = self.rms[self.about.targets.index(name)]
            large = torch.log1p(values.flatten(1).square().sum(1) / rms**2) / 2
        return torch.stack([torch.ones_like(log_v), log_v, size, large], dim=1)

    def scores(self, distances: Distances, batch: GraphBatch) -> Tensor:
        """``[rows, G]`` distances of each graph: in spaces of graphs its own, in spaces of nodes that of its most unusual node (a
        strange atom in a large molecule) and the root mean square over its nodes (a strange molecule)."""
        rows = []
        for name, square in distances.items():
            if name in NODE_SPACES:
                zeros = torch.zeros(batch.num_graphs, dtype=torch.float64, device=square.device)
                rows.append(zeros.scatter_reduce(0, batch.graph_index, square, "amax").sqrt())
                square = _mean(square[:, None], batch)[:, 0]
            rows.append(square.sqrt())
        return torch.stack(rows)

    def forward(self, out: dict[str, Tensor], batch: GraphBatch, level_G: Tensor) -> dict[str, Tensor]:
        """``NAME_std`` of each target in ``out`` (``[N]`` or ``[G]``, in its unit) and ``ood_score [G]``: how unusual a graph is;
        95 % of validation records are below 1. NaN for graphs of another level."""
        known_G = level_G == self.config.levels.index(self.about.level)
        found, distances = {}, self.distances(out, batch)
        for number, name in enumerate(self.about.targets):
            if name in out:
                log_std = self.covariates(out, batch, name, distances) @ self.coefficients[number]
                known = known_G[batch.graph_index] if self.per_node(name) else known_G
                found[f"{name}_std"] = torch.where(known, log_std.exp(), torch.nan)
        score = (self.scores(distances, batch) / self.usual[:, None]).amax(0)
        found["ood_score"] = torch.where(known_G, score, torch.nan)
        return found

    def quantile(self, name: str, coverage: float) -> float:
        """Half the width of an interval in units of the standard deviation."""
        return float(self.quantiles[self.about.targets.index(name), COVERAGES.index(coverage)])
