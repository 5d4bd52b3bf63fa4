"""Which of what was trained and solved for a property stays, and with what beside it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from atomfield.models.network import AtomFieldNet

from .blended import blended
from .closed_form_instead import better_of
from .fit import Job


def settled(job: Job, untrained: AtomFieldNet | None, judge: Callable[[AtomFieldNet], float]) -> AtomFieldNet:
    """The trained network of ``job``, with trees on descriptors where these help and scikit-learn is installed; or ``untrained``
    (a copy from before) with a closed form, where that is clearly better by ``judge``, the validation score. Says what it
    found."""
    if untrained is not None and better_of(job, untrained, judge) is untrained:
        return untrained
    if find_spec("sklearn") is None:
        return job.net
    names, free = list(job.task.properties), job.config.pooling == "auto"
    job.say(blended(job.net, job.parts.train, job.parts.valid, names, job.device, job.config.seed, free))
    return job.net
