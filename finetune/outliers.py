"""Labels that lie far outside of all others: a slip of the unit, 9999 for what was not measured, or a scale that spans decades.

They are said, and kept out of what fixes the scale and the constants of a property: one label of 99999 among values of 30 would
make everything else look equal. They stay in training, where the loss grows with the error only linearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atomfield.data.graph import Graph

FAR = 50.0
"""Usual spreads (interquartile range / 1.349) from the median beyond which a label counts as outlying: 50 standard deviations of
a normal distribution, and a hundredth of a log-normal quantity whose quartiles are a factor of 30 apart."""
MOST = 0.05
"""Share of outlying labels above which they are a part of the distribution."""
_SHOWN = 3


def without_outliers(
    name: str, graphs: Sequence[Graph], classes: tuple[str, ...] = ()
) -> tuple[Sequence[Graph], str]:
    """The records whose label of the property ``name`` is not outlying, and what to say; all and nothing where none is, where
    the labels are no single numbers per structure, or classes."""
    labelled = [g for g in graphs if name in g.quantities]
    if (
        classes
        or not labelled
        or labelled[0].definition(name).shape
        or labelled[0].definition(name).support == "node"
    ):
        return graphs, ""
    values = np.array([float(g.quantities[name]) for g in labelled])
    far = outlying(values)
    if not far.any():
        return graphs, ""
    worst = sorted((i for i in np.flatnonzero(far)), key=lambda i: -abs(values[i] - np.median(values)))[
        :_SHOWN
    ]
    shown = ", ".join(f"{values[i]:g} ({labelled[i].provenance})" for i in worst)
    low, high = np.quantile(values, [0.25, 0.75])
    said = (
        f"{name}: {far.sum()} of {len(values)} training labels lie far outside of the others, half of which are {low:.4g} to "
        f"{high:.4g}: {shown}{', ...' if far.sum() > _SHOWN else ''}; scales are fitted without them. If they are mistakes, take "
        "them out; if the quantity spans decades, give its logarithm"
    )
    left_out = {id(labelled[i]) for i in np.flatnonzero(far)}
    return [g for g in graphs if id(g) not in left_out], said


def outlying(values: np.ndarray) -> np.ndarray:
    """``[N]`` truth values: which of ``values [N]`` are; none where they would be more than ``MOST`` of all."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    spread = (high - low) / 1.349
    far = np.abs(values - middle) > FAR * spread if spread > 0 else np.zeros(len(values), dtype=bool)
    return far if far.mean() <= MOST else np.zeros(len(values), dtype=bool)
