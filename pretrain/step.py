"""One optimiser step, shared by pretraining (DeepSpeed) and finetuning (plain torch).

A step is a fixed list of micro-batches dealt to the ranks. Each loss term is a sum over labels divided
by the count of the WHOLE step,
so that the gradient does not depend on the number of processes nor on how records were packed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from atomfield.data.graph import GraphBatch
from atomfield.models.network import AtomFieldNet

from .config import LossWeights
from .losses import Targets, counts, loss_sums


@dataclass
class MicroBatch:
    """A packed batch, what to train on, and the weight of its stream."""

    batch: GraphBatch
    targets: Targets
    weight: float = 1.0
    stream: str = ""


class NonFiniteLoss(RuntimeError):
    """The loss of a micro-batch is not a finite number on at least one rank; weights are as before the step."""


def training_step(
    engine, net: AtomFieldNet, micro_batches: list[MicroBatch], weights: LossWeights
) -> dict[str, float]:
    """Forward and backward of all micro-batches of this rank, then one update.

    ``engine`` has ``__call__``, ``backward(loss)``, ``step()``, ``loss_factor`` (what undoes its own averaging over ranks
    and micro-batches) and ``touch_all`` (every parameter must get a gradient every time). Returns the
    mean weighted loss per term over the whole step, the same on every rank.
    """
    keys: list[tuple[str, str]] = []
    local: dict[tuple[str, str], float] = {}
    for micro in micro_batches:
        for name, count in counts(net, micro.batch, micro.targets).items():
            local[micro.stream, name] = local.get((micro.stream, name), 0.0) + count
    keys = _agree(sorted(local))
    total = _all_sum(torch.tensor([local.get(k, 0.0) for k in keys], dtype=torch.float64))
    count_of = {k: max(float(c), 1.0) for k, c in zip(keys, total, strict=True)}
    report = dict.fromkeys(keys, 0.0)
    for micro in micro_batches:
        sums = loss_sums(net, engine, micro.batch, micro.targets, weights)
        loss = torch.zeros((), dtype=torch.float64, device=micro.batch.positions.device)
        for name, value in sums.items():
            term = value.double() * (micro.weight / count_of[micro.stream, name])
            report[micro.stream, name] += float(term.detach())
            loss = loss + term
        _stop_unless_finite(loss, micro)
        loss = (loss * engine.loss_factor).to(net.dtype)
        if engine.touch_all:
            # every parameter takes part in every micro-batch: ZeRO packs gradients in the order of their hooks
            loss = (
                loss
                + torch.stack([p.reshape(-1)[:1].sum() for p in net.parameters() if p.numel()]).sum() * 0.0
            )
        engine.backward(loss)
    engine.step()
    means = _all_sum(torch.tensor([report[k] for k in keys], dtype=torch.float64))
    return {
        f"{stream}/{name}" if stream else name: float(v)
        for (stream, name), v in zip(keys, means, strict=True)
    }


def _stop_unless_finite(loss: Tensor, micro: MicroBatch) -> None:
    bad = _all_sum(torch.tensor([0.0 if math.isfinite(float(loss.detach())) else 1.0], dtype=torch.float64))
    if float(bad):
        where = "; ".join(str(p) for p in micro.batch.provenance[:5])
        raise NonFiniteLoss(
            f"the loss of stream {micro.stream!r} is not finite on {int(bad)} rank(s); this rank's records: "
            f"{where}. Lower optimizer.learning_rate or check these records"
        )


def distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _all_sum(values: Tensor) -> Tensor:
    if distributed():
        dist.all_reduce(values)
    return values


def _agree(keys: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The union of the terms of all ranks, in one order (a rank may miss a label that another has)."""
    if not distributed():
        return keys
    gathered: list[list[tuple[str, str]] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, keys)
    return sorted({key for part in gathered for key in part or []})
