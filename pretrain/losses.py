"""Loss terms. Each is a SUM over labels; the step divides by the count of the whole step, over all ranks.

Legend: ``N`` nodes, ``G`` graphs. Residuals are dimensionless (see ``LossWeights``); a missing label is NaN and adds nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from atomfield.data.basis import to_irreps
from atomfield.data.graph import GraphBatch
from atomfield.data.quantities import EARLIER_STATES, VOCABULARY
from atomfield.models.network import AtomFieldNet

from . import physics_loss
from .config import LossWeights, Objective

ATOM_TERMS = ("energy", "forces", "stress", "dipole", "charges")
HUBER_DELTA = 0.1
NO_LABEL = "no label"
"""Term of a micro-batch without labels where ranks go in step (``Backbone.in_step``): zero, with all outputs in its graph."""


@dataclass(frozen=True)
class Targets:
    """What a micro-batch is trained on. ``terms``: a subset of :data:`ATOM_TERMS`, field states or user properties;
    empty: every label that the batch has."""

    objective: Objective
    terms: tuple[str, ...] = ()
    noise: float = 0.0
    """denoise, denoise_forces: standard deviation in angstrom, the unit of the target."""
    direct: bool = False
    """Forces of the vector head instead of the gradient of the energy."""
    balance: tuple[tuple[str, float], ...] = ()
    """Factor on the residuals of energies, forces and stress per level, see ``balance.py``; 1 where a level is not named."""

    def wants(self, name: str) -> bool:
        return not self.terms or name in self.terms


def _huber(residual: Tensor) -> Tensor:
    """Quadratic below ``HUBER_DELTA``, linear above, slope 1: close to an absolute error, smooth at zero."""
    return (
        F.huber_loss(residual, torch.zeros_like(residual), reduction="none", delta=HUBER_DELTA) / HUBER_DELTA
    )


def _anchored(net: AtomFieldNet, sums: dict[str, Tensor], out: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same sums with every output of the network in their graph, times zero: with ZeRO 3 all ranks must run back through the
    same parameters, whatever labels their own micro-batches have, or none."""
    if sums or net.backbone.in_step:
        name, nothing = next(iter(sums), NO_LABEL), torch.zeros((), dtype=torch.float64, device=net.device)
        sums[name] = sums.get(name, nothing) + 0.0 * sum(value.sum() for value in out.values())
    return sums


def _labelled(values: Tensor) -> Tensor:
    """Bool mask ``[N]`` or ``[G]`` of present labels: all components finite."""
    finite = torch.isfinite(values)
    return finite.flatten(1).all(1) if finite.ndim > 1 else finite


def counts(
    net: AtomFieldNet, batch: GraphBatch, targets: Targets, weights: LossWeights | None = None
) -> dict[str, float]:
    """Number of labels per term in this micro-batch, and of graphs per law that ``weights`` asks for."""
    found = _label_counts(net, batch, targets)
    if weights is not None and weights.physics and targets.objective in ("supervised", "next_step"):
        found |= physics_loss.counts(weights.physics, batch, _predicted(net, batch, targets))
    return found


def _predicted(net: AtomFieldNet, batch: GraphBatch, targets: Targets) -> tuple[str, ...]:
    """What the network gives for this micro-batch and laws may be asked of."""
    if batch.world == "field":
        return tuple(n for n in net.config.field_states if n in batch.next_quantities)
    derived = any(n in batch.quantities and targets.wants(n) for n in ("forces", "stress"))
    return ("charges", "forces") if derived else ("charges",)


def _label_counts(net: AtomFieldNet, batch: GraphBatch, targets: Targets) -> dict[str, float]:
    match targets.objective:
        case "denoise" | "denoise_forces":
            found = {"noise": float(_labelled(batch.quantities["displacement_noise"]).sum())}
            if "energy" in batch.quantities and net.priors is None:
                found["energy"] = float(_labelled(batch.quantities["energy"]).sum())
            return found
        case "masked_atoms":
            return {"element": float(_labelled(batch.next_quantities["species"]).sum())}
        case "masked_patches":
            return _counts_of_states(net, batch, targets, "patch")
        case "next_step":
            return _counts_of_states(net, batch, targets, "field")
        case "supervised" if batch.world == "field":  # a steady problem
            return _counts_of_states(net, batch, targets, "field")
    names = _atom_terms(batch, targets)
    names += [p.name for p in net.config.properties if p.name in batch.quantities and targets.wants(p.name)]
    return {name: float(_labelled(batch.quantities[name]).sum()) for name in names}


def _counts_of_states(net: AtomFieldNet, batch: GraphBatch, targets: Targets, kind: str) -> dict[str, float]:
    return {
        f"{kind}/{name}": float(_labelled(value).sum())
        for name, value in batch.next_quantities.items()
        if name in net.config.field_states and targets.wants(name)
    }


def loss_sums(
    net: AtomFieldNet, predict, batch: GraphBatch, targets: Targets, weights: LossWeights
) -> dict[str, Tensor]:
    """Weighted sum per term. ``predict`` is the (wrapped) network; ``net`` the bare one, for scales."""
    match targets.objective:
        case "denoise" | "denoise_forces":
            return _noise_sums(net, predict, batch, targets, weights)
        case "masked_atoms":
            logits = predict(batch, hidden=True)["elements"]
            label = batch.next_quantities["species"]
            known = _labelled(label)
            nats = F.cross_entropy(logits, torch.where(known, label, 0.0).long(), reduction="none")
            return {"element": weights.element * torch.where(known, nats, 0.0).sum()}
        case "masked_patches":
            out, embedding = predict(batch, hidden=True), net.backbone.embedding
            columns = [net.config.field_inputs.index(name) for name in net.config.field_states]
            return _field_sums(
                net, out, batch, targets, embedding.input_rms[:, columns], "patch", weights.patch
            )
        case "next_step":
            batch = rolled_out(predict, batch)
            out, rms = predict(batch), net.field_head.increment_rms
            sums = _field_sums(net, out, batch, targets, rms, "field", weights.field)
            return sums | _field_laws(net, out, batch, targets, weights)
        case "supervised" if batch.world == "field":  # a steady problem
            out, rms = predict(batch), net.field_head.increment_rms
            sums = _field_sums(net, out, batch, targets, rms, "field", weights.field)
            return sums | _field_laws(net, out, batch, targets, weights)
        case "supervised":
            return _atom_sums(net, predict, batch, targets, weights)


def _field_laws(
    net: AtomFieldNet, out: dict[str, Tensor], batch: GraphBatch, targets: Targets, weights: LossWeights
) -> dict[str, Tensor]:
    predicted = {k: out[k] for k in _predicted(net, batch, targets) if k in out}
    return physics_loss.physics_sums(weights.physics, batch, predicted)


@torch.no_grad()
def rolled_out(predict, batch: GraphBatch) -> GraphBatch:
    """The batch with the states that the network itself reaches from the first of ``batch.earlier``.

    Pushforward (Brandstetter, Worrall, Welling, arXiv:2202.03376): the network sees its own errors as input, and the gradient
    runs through the last step only, so that it learns to return and not to make other errors first.
    """
    state: dict[str, Tensor] = {}
    for earlier in batch.earlier:
        given = replace(earlier, quantities={**earlier.quantities, **state})
        state = {name: value.double() for name, value in predict(given).items()}
    if not state:
        return batch
    known = {k: name for k, name in EARLIER_STATES.items() if k in state and name in batch.quantities}
    before = {name: given.quantities[k] for k, name in known.items()}
    return replace(batch, quantities={**batch.quantities, **state, **before}, earlier=(), clean={})


def _noise_sums(
    net: AtomFieldNet, predict, batch: GraphBatch, targets: Targets, weights: LossWeights
) -> dict[str, Tensor]:
    """The noise in units of its amplitude and, where the forces tell it, the energy of the undisturbed structure."""
    out = predict(batch, forces=False, denoise=True, properties=False)
    label = batch.quantities["displacement_noise"]
    known = _labelled(label)
    residual = out["displacement_noise"] - torch.where(known[:, None], label, 0.0) / targets.noise
    values = _huber(torch.where(known[:, None], residual, 0.0)).mean(1)
    sums = {"noise": weights.noise * values.sum()}
    if "energy" in batch.quantities and net.priors is None:  # terms would be those of the disturbed structure
        known = _labelled(batch.quantities["energy"])
        error = out["energy"] - torch.nan_to_num(batch.quantities["energy"].double())
        error = error / batch.nodes_per_graph().double() / net.atom_head.energy_scale
        sums["energy"] = weights.energy * _huber(torch.where(known, error, 0.0)).sum()
    return _anchored(net, sums, out)


def _field_sums(
    net: AtomFieldNet,
    out: dict[str, Tensor],
    batch: GraphBatch,
    targets: Targets,
    scale_LS: Tensor,
    kind: str,
    weight: float,
) -> dict[str, Tensor]:
    """Residuals of states in units of ``scale_LS`` per level and state."""
    sums = {}
    level_N = net.level_index(batch)[batch.graph_index]
    for name, target in batch.next_quantities.items():
        if name not in net.config.field_states or not targets.wants(name):
            continue
        rms = scale_LS[level_N, net.config.field_states.index(name)]
        q = VOCABULARY[name]
        residual = to_irreps(out[name] - torch.nan_to_num(target), q.irreps) / rms[:, None]
        # masked before squaring: a state that a graph lacks is NaN, and so would its gradient be afterwards
        squared = torch.where(_labelled(target)[:, None], residual, 0.0).square().sum(1)
        # smooth for small residuals, linear for large ones: rare bursts do not own the gradient
        sums[f"{kind}/{name}"] = weight * (torch.sqrt(squared + 0.01) - 0.1).sum()
    return sums or _anchored(net, sums, out)  # all states are read with one tensor


def _atom_terms(batch: GraphBatch, targets: Targets) -> list[str]:
    """Labels that are trained on; the direct stage has no stress."""
    left_out = ("stress",) if targets.direct else ()
    return [n for n in ATOM_TERMS if n in batch.quantities and targets.wants(n) and n not in left_out]


def _atom_sums(
    net: AtomFieldNet, predict, batch: GraphBatch, targets: Targets, weights: LossWeights
) -> dict[str, Tensor]:
    wanted = set(_atom_terms(batch, targets))
    asked = [p for p in net.config.properties if targets.wants(p.name)]
    properties = [p for p in asked if p.name in batch.quantities]
    out = predict(
        batch,
        forces=bool(wanted & {"forces", "stress"}),
        direct=targets.direct,
        stress="stress" in wanted,
        properties=bool(asked if net.backbone.in_step else properties),
    )
    scale = net.atom_head.energy_scale
    atoms = batch.nodes_per_graph().double()
    sums: dict[str, Tensor] = {}

    def add(name: str, residual: Tensor, weight: float) -> None:
        known = _labelled(batch.quantities[name])
        values = _huber(torch.where(known if residual.ndim == 1 else known[:, None], residual, 0.0))
        sums[name] = weight * (values if values.ndim == 1 else values.mean(1)).sum()

    def residual(name: str) -> Tensor:
        return out[name].double() - torch.nan_to_num(batch.quantities[name].double())

    factors = dict(targets.balance)
    factor_G = torch.tensor([factors.get(level, 1.0) for level in batch.levels], dtype=torch.float64)
    scale = scale / factor_G.to(scale.device)
    if "energy" in wanted:
        add("energy", residual("energy") / atoms / scale, weights.energy)
    if "forces" in wanted:
        add("forces", residual("forces") / scale[batch.graph_index, None], weights.forces)
    if "stress" in wanted:
        volume = torch.linalg.det(batch.cell).abs()
        virial = residual("stress") * (volume / atoms)[:, None, None] / scale[:, None, None]
        add("stress", to_irreps(virial, "0e+2e"), weights.stress)
    if "dipole" in wanted:
        add("dipole", residual("dipole"), weights.dipole)
    if "charges" in wanted:
        add("charges", residual("charges"), weights.charges)
    for number, prop in enumerate(net.config.properties):
        if prop not in properties:
            continue
        if prop.kind == "multiclass":
            known = _labelled(batch.quantities[prop.name])
            label = torch.nan_to_num(batch.quantities[prop.name]).long()
            values = F.cross_entropy(out[prop.name], label, reduction="none")
            sums[prop.name] = weights.property * torch.where(known, values, 0.0).sum()
        elif prop.kind == "classification":
            known = _labelled(batch.quantities[prop.name])
            label = torch.nan_to_num(batch.quantities[prop.name].double())
            values = F.binary_cross_entropy_with_logits(out[prop.name], label, reduction="none")
            sums[prop.name] = weights.property * torch.where(known, values, 0.0).sum()
        else:
            scaled = residual(prop.name) / net.property_head.scale[number]
            components = to_irreps(scaled, prop.irreps) if scaled.ndim > 1 else scaled
            add(prop.name, components, weights.property)
    if weights.physics:
        named = {k: out[k] for k in _predicted(net, batch, targets)}
        sums |= physics_loss.physics_sums(weights.physics, batch, named)
    return _anchored(net, sums, out)
