"""Whether the weights that did best on the validation records are better than the last ones by more than chance.

The best of some 25 validations on five records is the best by luck as often as not, and may come from long before the end of
training. Both weights are judged record by record, and the best ones have to be better in the mean of the differences d,

    mean(d) > t(0.95, n - 1) s(d) / sqrt(n),

Student's one-sided test of paired differences at 5 % (Student, Biometrika 6, 1 (1908)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from torch import Tensor

from atomfield.pretrain.streams import NoItems, Stream

MOST_RECORDS = 100
"""With more validation records chance is small beside what they say, and one by one they take time."""

Weights = dict[str, Tensor]
"""By parameter."""


def beyond_chance(better: Sequence[float], worse: Sequence[float]) -> bool:
    """Whether scores ``better [R]`` of records (errors in units of their scales) are below ``worse [R]`` of the same records by
    more than chance leaves them; no for fewer than three."""
    difference = np.subtract(worse, better)
    if len(difference) < 3:
        return False
    least = stats.t.ppf(0.95, len(difference) - 1) * difference.std(ddof=1) / math.sqrt(len(difference))
    return bool(difference.mean() > least)


def record_by_record(valid: Stream, judge: Callable[[Stream], float]) -> list[float]:
    """``[R]``: the score of each record of ``valid`` that has a label, in order."""
    found = []
    edges = valid.sampler.budget.edges
    for graph in valid.graphs:
        try:
            alone = Stream(
                [graph], valid.targets, cutoff=valid.cutoff, max_edges=edges, seed=valid.seed, rollout=valid.rollout
            )  # fmt: skip
        except NoItems:
            continue
        found.append(judge(alone))
    return found
