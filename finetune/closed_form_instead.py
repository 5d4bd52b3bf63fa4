"""What takes seconds, beside what took minutes: after a property was trained by default, its closed form on the features of the
checkpoint (with trees, where scikit-learn is installed) is judged on the same validation records, and kept if it is clearly
better.

So a run that had too little time for its records, or a quantity that the pretrained features already tell, is no worse than the
quick answer.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from rich.console import Console

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet

from .boosted import boosted
from .config import FinetuneConfig
from .frozen import solve
from .parts import Parts
from .tasks import Task

MARGIN = 0.95
"""The closed form is kept where its validation score is below so much of that of the trained network. Validation records chose
the best weights of the one, and the trees of the other."""
FEWEST, MOST = 20, 5000
"""Validation records below which a difference means nothing, and training records above which it costs minutes."""


def worth_a_look(config: FinetuneConfig, strategy: str, net: AtomFieldNet, task: Task, parts: Parts) -> bool:
    """Whether there is a closed form beside the training that ``config`` asks for: all targets are single numbers, or classes 0
    and 1, of a structure, the strategy is the default, and nothing is replayed."""
    own = [p for p in net.config.properties if p.name in task.names]
    return (
        config.strategy == "auto"
        and strategy == "full"
        and not config.replay
        and len(own) == len(task.names)
        and all(p.irreps == "0e" and not p.is_open for p in own)
        and 2 * len(own) <= net.property_head.mix.out_features
        and len(parts.valid) >= FEWEST
        and len(parts.train) <= MOST
        and all(any(p.name in g.quantities for g in parts.valid) for p in own)
    )


def better_of(
    trained: AtomFieldNet,
    untrained: AtomFieldNet,
    task: Task,
    parts: Parts,
    device: str,
    seed: int,
    judge: Callable[[AtomFieldNet], float],
    console: Console,
) -> AtomFieldNet:
    """``trained``, or ``untrained`` (a copy from before the training) with a solved head if ``judge``, the validation score, is
    clearly lower for it; both scores are said."""
    train: list[Graph] = parts.train
    if find_spec("sklearn") is not None:
        boosted(untrained, train, parts.valid, task.properties, device, seed)
        what, how = "a closed form with decision trees on the checkpoint's features", "--strategy boosted"
    else:
        solve(untrained, train, task.properties, device)
        what, how = "a closed form on the checkpoint's features", "--strategy frozen"
    scores = judge(trained), judge(untrained)
    kept = scores[1] < MARGIN * scores[0]
    verdict = (
        "it is kept, and the trained weights are not; longer training (--max-time, --set steps=N) may be better than both, "
        "--strategy full keeps it in any case"
        if kept
        else "the trained network is kept"
    )
    console.print(
        f"validation score {scores[0]:.4g}; of {what} ({how}) {scores[1]:.4g}: {verdict}",
        highlight=False,
        markup=False,
    )
    return untrained if kept else trained
