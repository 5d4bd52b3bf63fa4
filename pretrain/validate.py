"""Validation during training: mean errors in physical units over a fixed sample of held-out groups, with the averaged weights."""

from __future__ import annotations

import torch

from atomfield.data.quantities import FIELD_STATES
from atomfield.models.network import AtomFieldNet

from .ema import Ema
from .streams import Stream

MAX_BATCHES = 8


@torch.no_grad()
def validate(net: AtomFieldNet, ema: Ema, streams: list[Stream], device: str) -> dict[str, float]:
    """Flat metrics, e.g. ``valid/molecules/forces_mae_eV_per_A``. Every rank computes the same: no collective is needed."""
    out: dict[str, float] = {}
    was_training = net.training
    net.eval()
    with ema.applied():
        for stream in streams:
            out |= {f"valid/{stream.name}/{k}": v for k, v in errors(net, stream, device).items()}
    net.train(was_training)
    return out


@torch.no_grad()
def errors(
    net: AtomFieldNet, stream: Stream, device: str, max_batches: int = MAX_BATCHES
) -> dict[str, float]:
    """Mean absolute errors of atoms; for fields the RMS error of a step relative to persistence (1 = no better)."""
    sums: dict[str, list[float]] = {}

    def add(key: str, total: float, count: float) -> None:
        pair = sums.setdefault(key, [0.0, 0.0])
        pair[0] += total
        pair[1] += count

    for number in range(min(max_batches, stream.micro_batches_per_epoch)):
        batch = stream.batch(number).to(device)
        if batch.world == "field":
            out = net(batch)
            for name in FIELD_STATES:
                if name in batch.next_quantities and name in out and stream.targets.wants(name):
                    target = batch.next_quantities[name]
                    add(
                        f"{name}_step_error_over_persistence",
                        float((out[name] - target).square().nansum()),
                        float((batch.quantities[name] - target).square().nansum()),
                    )
            continue
        out = net(batch)
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
            known = torch.isfinite(error)
            add(f"{name}_mae_{unit}", float(error[known].sum()), float(known.sum()))
        for prop in net.config.properties:
            if prop.name in batch.quantities and stream.targets.wants(prop.name):
                value = out[prop.name] if prop.kind == "regression" else torch.sigmoid(out[prop.name])
                error = (value - batch.quantities[prop.name]).abs()
                known = torch.isfinite(error)
                add(f"{prop.name}_mae", float(error[known].sum()), float(known.sum()))
    root = lambda key, x: x**0.5 if key.endswith("persistence") else x  # noqa: E731
    return {key: root(key, total / max(count, 1e-30)) for key, (total, count) in sums.items()}
