"""One optimiser step, shared by pretraining (DeepSpeed) and finetuning (plain torch).

A step is a fixed list of micro-batches dealt to the ranks, not always as many to each. Each loss term is a sum over labels
divided by the count of the WHOLE step, so that the gradient does not depend on the number of processes, on who computes what, nor
on how records were packed.

Before the update all ranks add up, in one message, their losses, the squares of their gradients and whether anything is
not finite; each of them then comes to the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from atomfield.data.graph import GraphBatch
from atomfield.models.network import AtomFieldNet

from .clock import Clock
from .config import LossWeights
from .losses import NO_LABEL, Targets, counts, loss_sums
from .numerics import Verdict
from .ranks import all_sum, distributed, gathered

Term = tuple[str, str]
"""(stream, name of the loss term)."""


@dataclass
class MicroBatch:
    """A packed batch, what to train on, and the weight of its stream."""

    batch: GraphBatch
    targets: Targets
    weight: float = 1.0
    stream: str = ""
    number: int | None = None
    """Which of its stream's micro-batches it is, counted from the start of training."""
    work: float = 0.0
    """Floating-point operations of its passes, see ``work.py``; 0 where nobody asks."""


@dataclass
class StepReport:
    """What a step was, the same on every rank but for ``suspects``, which are this rank's own."""

    terms: dict[str, float]
    """Mean weighted loss per term over the whole step."""
    loss: float
    gradient_norm: float
    """Before clipping."""
    atoms: int
    points: int
    work: float
    """Floating-point operations of all passes."""
    asked_to_stop: bool
    verdict: Verdict = ""
    suspects: list[dict[str, Any]] = field(default_factory=list)
    """Of a skipped step: stream, loss and records of the micro-batches that are to blame."""


class NonFiniteLoss(RuntimeError):
    """The loss or the gradient of a step is not a finite number; weights are as before the step."""


def training_step(
    engine, net: AtomFieldNet, micro_batches: list[MicroBatch], weights: LossWeights
) -> dict[str, float]:
    """:func:`guarded_step` for one process that does not go on after a step that is not finite: raises ``NonFiniteLoss`` naming
    its records. Returns the mean weighted loss per term."""
    report = guarded_step(engine, net, micro_batches, weights, judge=finite)
    if report.verdict:
        first = report.suspects[0]
        where = "; ".join(f"{r['file']} (record {r['record']})" for r in first["records"][:5])
        raise NonFiniteLoss(
            f"the {report.verdict} of stream {first['stream']!r} is not finite; its records: {where}. Lower the learning rate "
            "or check these records"
        )
    return report.terms


def guarded_step(
    engine,
    net: AtomFieldNet,
    micro_batches: list[MicroBatch],
    weights: LossWeights,
    *,
    judge: Callable[[float, float, int], Verdict],
    clock: Clock | None = None,
    known: list[Term] | None = None,
    stop: bool = False,
) -> StepReport:
    """Forward and backward of all micro-batches of this rank, a verdict of all ranks, then one update or none.

    ``engine`` has ``__call__``, ``backward(loss, last)`` (``last``: of this rank in this step), ``gradient_square()`` (its share
    of the squared norm over all ranks), ``step()``, ``skip()`` (the end of a step that changes nothing), ``loss_factor`` (what
    undoes its own averaging over ranks and micro-batches) and ``touch_all`` (every parameter must get a gradient every time).
    ``judge(loss, gradient norm, losses that are not finite)`` says why the step must be skipped, or "". ``known``: the loss
    terms met so far, kept between steps to spare a message. ``stop``: this rank was asked to end the run.
    """
    clock = clock or Clock()
    device = micro_batches[0].batch.positions.device
    keys, count_of = _counts(net, micro_batches, weights, known, device, clock)
    report = {key: torch.zeros((), dtype=torch.float64, device=device) for key in keys}
    losses: list[Tensor] = []
    for place, micro in enumerate(micro_batches):
        with clock.phase("forward"):
            anchor = _Touch.apply(*net.parameters()) if engine.touch_all else None
            terms = _terms(net, engine, micro, weights, count_of)
            loss = torch.zeros((), dtype=torch.float64, device=device)
            for key, term in terms.items():
                if key in report:  # all but NO_LABEL
                    report[key] += term.detach()
                loss = loss + term
            losses.append(loss.detach())
            if not terms:  # no record of it has a label; engines count backward passes all the same
                loss = loss + 0.0 * next(net.parameters()).sum()
            loss = (loss * engine.loss_factor).to(net.dtype)
        with clock.phase("backward"):
            last = place == len(micro_batches) - 1
            engine.backward(loss if anchor is None else loss + anchor, last)
    bad = (~torch.isfinite(torch.stack(losses))).sum().double()
    sizes = _sizes(micro_batches)
    with clock.phase("communication"):
        numbers = torch.stack([*report.values(), bad, engine.gradient_square().double().to(device)])
        said = torch.tensor([*sizes, float(stop)], dtype=torch.float64, device=device)
        summed = all_sum(torch.cat([numbers, said])).tolist()
    *means, bad_losses, square, atoms, points, work, stops = summed
    norm = math.sqrt(square) if square >= 0 else math.nan
    named = {(f"{s}/{n}" if s else n): v for (s, n), v in zip(keys, means, strict=True)}
    loss_now = math.fsum(means) if all(map(math.isfinite, means)) else math.nan
    verdict = judge(loss_now, norm, int(bad_losses))
    with clock.phase("optimizer"):
        if verdict:
            engine.skip()
        else:
            engine.step()
    suspects = []
    if verdict:
        again = lambda micro: _terms(net, net, micro, weights, count_of)  # noqa: E731
        suspects = _suspects(net, micro_batches, losses, verdict, again)
    return StepReport(named, loss_now, norm, int(atoms), int(points), work, stops > 0, verdict, suspects)


def _terms(
    net: AtomFieldNet, predict: Any, micro: MicroBatch, weights: LossWeights, count_of: dict[Term, float]
) -> dict[Term, Tensor]:
    """The micro-batch's share of each loss term of the step, float64."""
    sums = loss_sums(net, predict, micro.batch, micro.targets, weights)
    count_of = {**count_of, (micro.stream, NO_LABEL): 1.0}
    return {
        (micro.stream, name): value.double() * (micro.weight / count_of[micro.stream, name])
        for name, value in sums.items()
    }


def finite(loss: float, gradient_norm: float, bad_losses: int) -> Verdict:
    """A verdict by this step alone: only what is not finite is bad."""
    if bad_losses or not math.isfinite(loss):
        return "loss"
    return "" if math.isfinite(gradient_norm) else "gradient"


def _sizes(micro_batches: list[MicroBatch]) -> tuple[float, float, float]:
    """(atoms, points of fields, floating-point operations)."""
    atoms = sum(m.batch.num_nodes for m in micro_batches if m.batch.world != "field")
    points = sum(m.batch.num_nodes for m in micro_batches) - atoms
    return float(atoms), float(points), sum(m.work for m in micro_batches)


def _counts(
    net: AtomFieldNet,
    micro_batches: list[MicroBatch],
    weights: LossWeights,
    known: list[Term] | None,
    device: torch.device,
    clock: Clock,
) -> tuple[list[Term], dict[Term, float]]:
    """The loss terms of this step in one order for all ranks (one may miss a label or a whole stream that another has), and
    their label counts."""
    local: dict[Term, float] = {}
    for micro in micro_batches:
        for name, count in counts(net, micro.batch, micro.targets, weights).items():
            local[micro.stream, name] = local.get((micro.stream, name), 0.0) + count
    known = [] if known is None else known
    if not distributed():
        return sorted(local), {k: max(v, 1.0) for k, v in local.items()}
    with clock.phase("communication"):
        while True:
            news = float(not local.keys() <= set(known))
            met = [float(k in local) for k in known]
            own = torch.tensor(
                [news, *met, *(local.get(k, 0.0) for k in known)], dtype=torch.float64, device=device
            )
            new, *summed = all_sum(own).tolist()
            if not new:
                break
            known[:] = sorted({*known, *(key for part in gathered(list(local)) for key in part)})
    met, total = summed[: len(known)], summed[len(known) :]
    here = [k for k, ranks in zip(known, met, strict=True) if ranks]
    return here, {k: max(v, 1.0) for k, v in zip(known, total, strict=True)}


class _Touch(torch.autograd.Function):
    """Zero, with a gradient of zero to every parameter.

    ZeRO 2 packs gradients in the order in which they become ready, and a parameter that one rank's labels do not need would be
    ready at another time than elsewhere. This node is made before the forward pass, therefore it runs last in the backward
    pass: all gradients become ready then, in the order of the parameters, on every rank.
    """

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        ctx.save_for_backward(*parameters)
        return parameters[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.zeros_like(p) for p in ctx.saved_tensors)


# ---------------------------------------------------------------------- whom to blame
def _suspects(
    net: AtomFieldNet,
    micro_batches: list[MicroBatch],
    losses: list[Tensor],
    verdict: Verdict,
    again: Callable[[MicroBatch], dict[Term, Tensor]],
) -> list[dict[str, Any]]:
    """This rank's micro-batches that made the step bad; all of them where it cannot be told which."""
    values = [float(loss) for loss in losses]
    whole = next(net.parameters()).numel() > 0  # with ZeRO 3 a rank has no whole network to ask
    match verdict:
        case "loss":
            chosen = [n for n, value in enumerate(values) if not math.isfinite(value)]
        case "gradient" if whole:
            chosen = [n for n, micro in enumerate(micro_batches) if not _finite_gradient(net, again(micro))]
        case _:
            chosen = list(range(len(micro_batches)))
    return [described(micro_batches[n], values[n]) for n in chosen]


def described(micro: MicroBatch, loss: float = math.nan) -> dict[str, Any]:
    """Stream, number, loss and records of a micro-batch, JSON-ready."""
    return {
        "stream": micro.stream,
        "number": micro.number,
        "loss": loss if math.isfinite(loss) else None,
        "records": [{"file": p.file or "<memory>", "record": p.record} for p in micro.batch.provenance],
    }


def _finite_gradient(net: AtomFieldNet, terms: dict[Term, Tensor]) -> bool:
    """Computed again with the bare network, beside the engine and its gradients."""
    loss = sum(terms.values(), torch.zeros((), dtype=torch.float64, device=net.device)).to(net.dtype)
    found = torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return all(bool(torch.isfinite(g).all()) for g in found if g is not None)
