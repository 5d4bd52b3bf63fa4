"""What the trees of strategy boosted should start from: errors of linear fit, trees alone, and trees on two kinds of remainders.

Run: python benchmarks/tree_starts.py CHECKPOINT [--task dipole_moment] [--seed 0]

Records are those of ``strategies.py``, judged on its validation parts; the test parts are not used. The seed draws which training
records choose the number of trees, and the trees. One row: MAE in the unit of the label, and the number of trees.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from strategies import records

from atomfield.data.graph import Graph
from atomfield.finetune.boosted import said
from atomfield.finetune.boosting import Records, boost
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.frozen import solved
from atomfield.finetune.parts import NEW_LEVEL, hold_out
from atomfield.finetune.run import prepare_network
from atomfield.finetune.tasks import task_of
from atomfield.models import checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start")
    parser.add_argument("--task", default="bulk_modulus", choices=["bulk_modulus", "dipole_moment"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        graphs, judged, target = records(given.task, Path(folder))
    settings = {"from": given.start, "train": ("shipped",), "target": target, "pooling": "mean"}
    config = FinetuneConfig(**settings, seed=given.seed, valid_fraction=0.15)
    parts = [*hold_out(graphs, config), judged]
    train, valid, judged = ([replace(g, level=NEW_LEVEL) for g in part] for part in parts)
    task = task_of(target, train)
    net, _ = prepare_network(config, checkpoint.load(given.start), task, NEW_LEVEL, train)
    name = target[0]
    found = solved(net, train, target, "cpu")[name]
    scale = float(net.property_head.scale[-1])
    (x, fitted), (xv, held), (xj, answer) = (
        (features, answers[name] / scale)
        for features, answers in (said(net, part, target, "cpu") for part in (train, valid, judged))
    )
    labels, labels_v, labels_j = (_labels(part, name) / scale for part in (train, valid, judged))
    shift = labels - found.known  # what the fit was made without
    starts = {
        "linear fit and trees on what it leaves of a record without it": (
            shift + found.fit.left_out,
            held,
            answer,
        ),
        "linear fit and trees on what it leaves": (fitted, held, answer),
        "trees alone": tuple(np.full(len(part), labels.mean()) for part in (labels, held, answer)),
    }
    print(
        f"{given.task}, seed {given.seed}: {len(train)} training, {len(valid)} validation, {len(judged)} judged records"
    )
    print(f"linear fit: {scale * np.abs(labels_j - answer).mean():.4g}")
    for words, (begin, begin_v, begin_j) in starts.items():
        ones = [np.ones(len(part)) for part in (labels, labels_v)]
        grown = boost(
            Records(x, begin, labels, ones[0]),
            Records(xv, begin_v, labels_v, ones[1]),
            "regression",
            given.seed,
        )
        error = scale * np.abs(labels_j - begin_j - grown.added(xj)).mean()
        print(f"{words}: {error:.4g} with {len(grown.trees)} trees", flush=True)


def _labels(graphs: list[Graph], name: str) -> np.ndarray:
    return np.array([float(g.quantities[name]) for g in graphs])


if __name__ == "__main__":
    main()
