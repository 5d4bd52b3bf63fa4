"""Which of what was trained and solved for a property stays, and with what beside it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from rich.console import Console

from atomfield.models.network import AtomFieldNet

from .blended import blended
from .closed_form_instead import better_of
from .config import FinetuneConfig
from .parts import Parts
from .tasks import Task


def settled(
    net: AtomFieldNet,
    untrained: AtomFieldNet | None,
    config: FinetuneConfig,
    task: Task,
    parts: Parts,
    device: str,
    judge: Callable[[AtomFieldNet], float],
    console: Console,
) -> AtomFieldNet:
    """The trained ``net``, with trees on descriptors where these help and scikit-learn is installed; or ``untrained`` (a copy
    from before) with a closed form, where that is clearly better by ``judge``, the validation score. Says what it found."""
    if (
        untrained is not None
        and better_of(net, untrained, task, parts, device, config, judge, console) is untrained
    ):
        return untrained
    if find_spec("sklearn") is None:
        return net
    names, free = list(task.properties), config.pooling == "auto"
    for line in blended(net, parts.train, parts.valid, names, device, config.seed, free):
        console.print(line, highlight=False, markup=False)
    return net
