"""Validation during training: mean errors in physical units over a fixed sample of held-out groups, with the averaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from atomfield.data.quantities import FIELD_STATES
from atomfield.models.network import AtomFieldNet

from .ema import Ema
from .equivariance import equivariance_error
from .streams import Stream

MAX_BATCHES = 8
EQUIVARIANCE = "equivariance_error"


class Stopped(Exception):
    """A validation that was ended early because the run was asked to stop."""


@torch.no_grad()
def validate(
    net: AtomFieldNet,
    ema: Ema,
    streams: list[Stream],
    device: str,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Flat metrics, e.g. ``valid/molecules/forces_mae_eV_per_A``, and ``valid_score``. Every rank computes the same; the only
    message between them is ``stop``, asked before each batch. Raises ``Stopped`` when it says so."""
    was_training = net.training
    net.eval()
    try:
        with ema.applied():
            found = errors_of(net, streams, device, stop)
            for stream in streams:
                batch, direct = stream.batch(0).to(device), stream.targets.direct
                found[f"{stream.name}/{EQUIVARIANCE}"] = equivariance_error(net, batch, direct=direct)
            out = {f"valid/{k}": v for k, v in found.items()}
    finally:
        net.train(was_training)
    if (score := score_of(out)) is not None:
        out["valid_score"] = score
    return out


def errors_of(
    net: AtomFieldNet, streams: list[Stream], device: str, stop: Callable[[], bool] = lambda: False
) -> dict[str, float]:
    """Errors of the present weights in physical units, by ``stream/metric``; raises ``Stopped`` as ``validate`` does."""
    was_training = net.training
    net.eval()
    try:
        return {f"{s.name}/{k}": v for s in streams for k, v in errors(net, s, device, stop=stop).items()}
    finally:
        net.train(was_training)


def score_of(metrics: dict[str, float]) -> float | None:
    """One number to compare validations of a run, lower is better: the geometric mean of all errors. One percent off any of them
    counts the same, whatever its unit. Infinite where an error is not finite."""
    errors = [v for k, v in metrics.items() if not k.endswith(EQUIVARIANCE)]
    if not all(map(math.isfinite, errors)):
        return math.inf
    values = [v for v in errors if v > 0]
    return math.exp(math.fsum(map(math.log, values)) / len(values)) if values else None


@torch.no_grad()
def errors(
    net: AtomFieldNet,
    stream: Stream,
    device: str,
    max_batches: int = MAX_BATCHES,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, float]:
    """Mean absolute errors of atoms, log losses of classes; for fields the RMS error of a step relative to persistence (1: no
    better). Only of what has a label, or of fields a change; a prediction that is not finite makes its error so."""
    sums: dict[str, list[float]] = {}

    def add(key: str, total: float, count: float) -> None:
        pair = sums.setdefault(key, [0.0, 0.0])
        pair[0] += total
        pair[1] += count

    numbers = range(min(max_batches, stream.micro_batches_per_epoch))
    for piece in (piece for number in numbers for piece in stream.pieces(stream.batch(number))):
        if stop():
            raise Stopped
        batch = piece.to(device)
        if batch.world == "field":
            out = net(batch)
            for name in FIELD_STATES:
                if name in batch.next_quantities and name in out and stream.targets.wants(name):
                    target = batch.next_quantities[name]
                    steady = name in net.config.steady
                    before = torch.zeros_like(target) if steady else batch.quantities[name]
                    known = torch.isfinite(target)
                    add(
                        f"{name}_{'relative_rmse' if steady else 'step_error_over_persistence'}",
                        float((out[name] - target)[known].square().sum()),
                        float((before - target)[known].square().sum()),
                    )
            continue
        # where it is named as a target: pretraining, which wants every label, does without its cost
        with_stress = "stress" in stream.targets.terms and "stress" in batch.quantities
        out = net(batch, direct=stream.targets.direct, stress=with_stress and not stream.targets.direct)
        atoms = batch.nodes_per_graph().double()
        for name, unit in (
            ("energy", "eV_per_atom"),
            ("forces", "eV_per_A"),
            ("dipole", "e_A"),
            ("charges", "e"),
        ):
            if name not in batch.quantities or name not in out or not stream.targets.wants(name):
                continue
            error = (out[name].double() - batch.quantities[name]).abs()
            error = error / atoms if name == "energy" else error
            known = torch.isfinite(batch.quantities[name])
            add(f"{name}_mae_{unit}", float(error[known].sum()), float(known.sum()))
        if with_stress and "stress" in out:  # as a virial, whose size does not depend on the vacuum in a cell
            volume = torch.linalg.det(batch.cell).abs() / atoms
            error = (out["stress"].double() - batch.quantities["stress"]).abs() * volume[:, None, None]
            known = torch.isfinite(batch.quantities["stress"])
            add("virial_mae_eV_per_atom", float(error[known].sum()), float(known.sum()))
        for prop in net.config.properties:
            if prop.name in batch.quantities and stream.targets.wants(prop.name):
                label = batch.quantities[prop.name]
                # classes in nats: the mean of |p - y| of a rare class is least where p is 0 for all
                match prop.kind:
                    case "regression":
                        error = (out[prop.name] - label).abs()
                    case "classification":
                        error = F.binary_cross_entropy_with_logits(
                            out[prop.name].double(), label.double(), reduction="none"
                        )
                    case "multiclass":
                        row = torch.nan_to_num(label).long()
                        error = F.cross_entropy(out[prop.name].double(), row, reduction="none")
                known = torch.isfinite(label)
                statistic = "mae" if prop.kind == "regression" else "log_loss"
                add(f"{prop.name}_{statistic}", float(error[known].sum()), float(known.sum()))
    root = lambda key, x: x**0.5 if key.endswith(("persistence", "relative_rmse")) else x  # noqa: E731
    return {key: root(key, total / count) for key, (total, count) in sums.items() if count}
