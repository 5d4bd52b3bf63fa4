"""Settings that a run would leave unread, each with the reason: a person who gave one expects it to do something."""

from __future__ import annotations

from .config import FinetuneConfig, Strategy
from .tasks import Task

_OF_TRAINING = (
    "steps",
    "max_time",
    "max_edges",
    "max_graphs",
    "piece_edges",
    "learning_rate",
    "weight_decay",
    "gradient_clipping",
    "ema_decay",
    "loss",
)


def ignored(config: FinetuneConfig, task: Task, strategy: Strategy) -> list[str]:
    """One line for each setting that is not at its default and that nothing reads."""
    solved = strategy in ("frozen", "boosted")
    reasons = {
        "task": "" if task.properties else "it is about properties, and no target is one",
        "pooling": "" if task.properties else "it is about properties, and no target is one",
        "parity": "" if task.properties else "it is about properties, and no target is one",
        "references": "" if "energy" in task.names else "energy is no target",
        "noise": ""
        if task.world == "field" and not task.steady
        else "it is put on states of fields that evolve",
        "layer_decay": "" if strategy == "full" else f"strategy {strategy} has one rate",
        "lora_rank": "" if strategy == "lora" else f"strategy {strategy} has no adapters",
        "replay_weight": "" if config.replay else "nothing is replayed",
        **dict.fromkeys(_OF_TRAINING, f"strategy {strategy} solves and does not train" if solved else ""),
    }
    return [
        f"{name} is ignored: {why}"
        for name, why in reasons.items()
        if why and getattr(config, name) != FinetuneConfig.model_fields[name].default
    ]
