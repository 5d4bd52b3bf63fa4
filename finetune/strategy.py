"""Which weights a finetuning run changes, and how fast: all, the heads, low-rank adapters, a solved head, or a fresh start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from atomfield.data.errors import InputError
from atomfield.models.grow import PER_LEVEL
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.engine import decays

from .config import FinetuneConfig, Strategy
from .lora import adapt, adapter_weights, rank_for
from .tasks import Task

LEVEL_ROWS = tuple(
    name.removeprefix("atom_head.")
    for name in PER_LEVEL
    if name.startswith("atom_head.") and name not in ("atom_head.direct", "atom_head.reference")
)
"""Weights of the atom head with a row per level, of which only the row in use gets gradients; direct forces are no task of
finetuning, and references are fitted."""
RATES: dict[str, float] = {"full": 4e-3, "heads": 1e-2, "lora": 4e-3, "scratch": 4e-3}
"""Learning rates where none is given (``benchmarks/results/defaults.md``)."""


@dataclass(frozen=True)
class Choice:
    """A strategy and why it was taken, for the person."""

    strategy: Strategy
    reason: str


def choose(config: FinetuneConfig, task: Task, num_train: int) -> Choice:
    """The strategy of a run. Raises ``InputError`` where the one that was asked for cannot serve."""
    asked = config.strategy
    if config.start == "scratch":
        if asked not in ("auto", "scratch"):
            raise InputError(
                f"strategy {asked!r} starts from a checkpoint, found --from scratch; give a checkpoint, or leave the "
                "strategy out"
            )
        return Choice("scratch", "random weights, as --from scratch says")
    if asked in ("frozen", "boosted"):
        _check_solved(asked, config, task)
    if asked in ("heads", "frozen", "boosted", "scratch") and config.replay:
        kept = "starts from random weights" if asked == "scratch" else "leaves what other levels use as it is"
        raise InputError(f"strategy {asked!r} {kept}, so there is nothing to replay; leave out --replay")
    if asked != "auto":
        return Choice(asked, "as asked")
    return Choice("full", f"{num_train} training records of {', '.join(task.names)}: all weights")


def _check_solved(asked: str, config: FinetuneConfig, task: Task) -> None:
    others = [n for n in task.names if n not in task.properties]
    if others:
        raise InputError(
            f"strategy {asked!r} solves for scalar properties of atoms, found target {others[0]!r}; take strategy heads or lora"
        )
    if config.parity == "odd":
        raise InputError(f"strategy {asked!r} has no solution for parity odd; take strategy heads")


# ---------------------------------------------------------------- rates
def apply_strategy(net: AtomFieldNet, config: FinetuneConfig, strategy: Strategy, task: Task) -> str:
    """Put adapters in where the strategy has them and stop the gradients of what it leaves alone; returns what is trained, in
    words."""
    total = sum(p.numel() for p in net.parameters())
    extra = ""
    if strategy == "lora":
        rank = config.lora_rank or rank_for(net)
        share = adapter_weights(net, rank) / total
        extra = f", adapters of rank {rank} ({share:.1%})"
        adapt(net, rank)
    rates = relative_rates(net, strategy, config.layer_decay, task)
    for name, parameter in net.named_parameters():
        parameter.requires_grad_(rates[name] > 0)
    count = sum(p.numel() for n, p in net.named_parameters() if rates[n] > 0)
    return f"{count:,} of {total:,} weights are trained ({count / total:.1%}){extra}"


def relative_rates(net: AtomFieldNet, strategy: Strategy, layer_decay: float, task: Task) -> dict[str, float]:
    """Parameter -> its learning rate relative to that of the heads; 0: fixed."""
    match strategy:
        case "full":
            last = len(net.backbone.layers) + 1
            return {n: layer_decay ** (last - depth(n, net)) for n, _ in net.named_parameters()}
        case "scratch":
            return {n: 1.0 for n, _ in net.named_parameters()}
        case "heads":
            return {n: float(_in_head(n, task)) for n, _ in net.named_parameters()}
        case "lora":
            return {
                n: float(_in_head(n, task) or n.endswith((".down", ".up"))) for n, _ in net.named_parameters()
            }
    raise AssertionError(strategy)


def depth(name: str, net: AtomFieldNet) -> int:
    """0 for what enters a node, 1 to L for the layers (what acts beyond the cutoff counts with the layer before it), L + 1 for
    the heads."""
    parts = name.split(".")
    if parts[0] != "backbone":
        return len(net.backbone.layers) + 1
    match parts[1]:
        case "layers":
            return int(parts[2]) + 1
        case "long_range" | "coarse":
            return net.backbone.far_after
        case _:
            return 0


def _in_head(name: str, task: Task) -> bool:
    """Heads, without what levels share there: an old level answers to the bit as before, since only its own rows speak for it.

    A surface or a field also has the row of its level in the embedding, which reaches every layer; a property does without, so
    that no gradient runs through the backbone.
    """
    if name == "backbone.conditions.level":
        return len(task.properties) < len(task.names)
    head, _, rest = name.partition(".")
    match head:
        case "backbone":
            return False
        case "atom_head":
            return rest in LEVEL_ROWS
    return True


def groups_of(net: nn.Module, rates: dict[str, float], weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for the optimiser: one per relative rate, with and without weight decay; adapters do without."""
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        if rates[name] > 0:
            decay = weight_decay if decays(name, parameter) and not name.endswith((".down", ".up")) else 0.0
            found.setdefault((rates[name], decay), []).append(parameter)
    return [
        {"params": parameters, "scale": rate, "weight_decay": decay}
        for (rate, decay), parameters in found.items()
    ]
