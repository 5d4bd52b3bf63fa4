"""What takes seconds, beside what took minutes: after a property was trained by default, its closed form on the features of the
checkpoint (with trees, where scikit-learn is installed) is judged on the same validation records, and kept if it is clearly
better.

So a run that had too little time for its records, or a quantity that the pretrained features already tell, is no worse than the
quick answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

import numpy as np

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet

from .boosted import boosted
from .fit import Job
from .frozen import Solved, solved
from .outliers import without_outliers
from .parts import Parts

MARGIN = 0.95
"""The closed form is kept where its validation score is below so much of that of the trained network. Validation records chose
the best weights of the one, and the trees of the other."""
FEWEST, MOST = 20, 5000
"""Validation records below which a difference means nothing, and training records above which it costs minutes."""


def of_numbers(job: Job) -> bool:
    """Whether something is judged beside the training that is asked for: all targets are single numbers, or classes 0
    and 1, of a structure, all weights are trained by default or from scratch, nothing is replayed, and there are enough
    validation records and not too many others."""
    config, strategy, parts = job.config, job.strategy, job.parts
    own = [p for p in job.net.config.properties if p.name in job.task.names]
    return (
        (strategy == "scratch" or (config.strategy == "auto" and strategy == "full"))
        and not config.replay
        and len(own) == len(job.task.names)
        and all(p.irreps == "0e" and not p.is_open for p in own)
        and len(parts.valid) >= FEWEST
        and len(parts.train) <= MOST
        and all(any(p.name in g.quantities for g in parts.valid) for p in own)
    )


def worth_a_look(job: Job) -> bool:
    """Whether there is a closed form to be judged: of a checkpoint's features."""
    return (
        job.strategy == "full"
        and of_numbers(job)
        and 2 * len(job.task.names) <= job.net.property_head.mix.out_features
    )


def better_of(job: Job, untrained: AtomFieldNet, judge: Callable[[AtomFieldNet], float]) -> AtomFieldNet:
    """The trained network of ``job``, or ``untrained`` (a copy from before the training) with a solved head if ``judge``, the
    validation score, is clearly lower for it; both scores are said. Where few validation records say little (of a rare class,
    say) and the trained network is no better on them than a constant, what counts is whether the closed form is better than one
    on training records that it was not fitted to."""
    trained, parts, names = job.net, job.parts, job.task.properties
    train: Sequence[Graph] = parts.train
    for name in names:  # squares of errors of outlying labels would be all that counts
        train, _ = without_outliers(name, train)
    trivial = _trivial_score(untrained, names, parts)
    found: dict[str, Solved] = {}
    if find_spec("sklearn") is not None:
        free = job.config.pooling == "auto"
        boosted(untrained, train, parts.valid, names, job.device, job.config.seed, found, free)
        what, how = "a closed form with decision trees on the checkpoint's features", "--strategy boosted"
    else:
        found = solved(untrained, train, names, job.device)
        what, how = "a closed form on the checkpoint's features", "--strategy frozen"
    scores = judge(trained), judge(untrained)
    no_skill = scores[0] > MARGIN * trivial and _share_left(untrained, found) < MARGIN
    kept = no_skill or scores[1] < MARGIN * scores[0]
    verdict = (
        "it is kept, and the trained weights are not; longer training (--max-time, --set steps=N) may be better than both, "
        "--strategy full keeps it in any case"
        if kept
        else "the trained network is kept"
    )
    if no_skill:
        told = f"the trained network is no better than a constant ({trivial:.4g}), the closed form is on training records"
        verdict = f"{told}; {verdict}"
    job.say([f"validation score {scores[0]:.4g}; of {what} ({how}) {scores[1]:.4g}: {verdict}"])
    return untrained if kept else trained


def _trivial_score(net: AtomFieldNet, names: Sequence[str], parts: Parts) -> float:
    """The validation score (``train.score``) of what is known without a network: shift and references, the share of class 1."""
    total, head = 0.0, net.property_head
    for k, prop in enumerate(net.config.properties):
        if prop.name not in names:
            continue
        labelled = [g for g in parts.valid if prop.name in g.quantities]
        labels = np.array([float(g.quantities[prop.name]) for g in labelled])
        if prop.kind == "classification":
            told = np.array(
                [float(g.quantities[prop.name]) for g in parts.train if prop.name in g.quantities]
            )
            total += _log_loss(labels, told.mean())
            continue
        reference, shift = head.reference[k].cpu(), float(head.shift[k])
        known = np.array([float(reference[g.species].sum()) + shift for g in labelled])
        total += float(np.abs(labels - known).mean() / float(head.scale[k]))
    return total


def _share_left(net: AtomFieldNet, found: Mapping[str, Solved]) -> float:
    """Held-out error of the closed form on the training records over that of a constant (RMSE, log loss), mean of properties."""
    kinds = {p.name: p.kind for p in net.config.properties}
    left = [
        one.fit.error / _log_loss(one.known, one.known.mean())
        if kinds[name] == "classification"
        else one.fit.error / one.known.std()
        for name, one in found.items()
    ]
    return float(np.mean(left))


def _log_loss(labels: np.ndarray, share: float) -> float:
    share = float(np.clip(share, 1e-6, 1 - 1e-6))
    return float(-np.mean(np.where(labels > 0.5, np.log(share), np.log(1 - share))))
