"""Do intervals hold, and does the out-of-distribution score rise where it should? Molecules at one temperature, tested at others.

    python benchmarks/intervals.py --data DIR --max-time 170 --out runs/intervals

DIR holds ``3bpa_train`` (train_300K.xyz and train_mixedT.xyz, Kovacs et al., JCTC 17, 7696 (2021)). Trains from scratch on
250 frames at 300 K, calibrates on 100 others, and judges 150 others at 300 K and all frames of the mixed set that the first
does not hold. Writes benchmarks/results/intervals.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shlex
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from scipy import stats

from atomfield.data.graph import Graph
from atomfield.data.readers import ReadOptions
from atomfield.data.source import open_source
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.evaluate import evaluate
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.scores import roc_auc
from atomfield.inference.predict import predict_graphs
from atomfield.models import checkpoint

OUT = Path(__file__).parent / "results" / "intervals.md"
TARGETS = ("energy", "forces")
KEYS = (
    "energy_mae_meV_per_atom",
    "energy_interval90_coverage",
    "energy_interval90_binomial_p",
    "energy_std_spearman",
    "forces_mae_eV_per_A",
    "forces_interval90_coverage",
    "forces_interval90_binomial_p",
    "forces_std_spearman",
    "ood_score_mean",
    "ood_share_above_1",
)


def read(path: Path) -> list[Graph]:
    return list(open_source(str(path), ReadOptions(targets=TARGETS), []))


def atoms_of(graphs: list[Graph], found: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Error of the force on each atom and its standard deviation."""
    pairs = zip(graphs, found, strict=True)
    error = [np.linalg.norm(p["forces"] - g.quantities["forces"].numpy(), axis=1) for g, p in pairs]
    return np.concatenate(error), np.concatenate([p["forces_std"] for p in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--max-time", type=float, default=170.0)
    parser.add_argument("--out", type=Path, default=Path("runs/intervals"))
    given = parser.parse_args()
    first, second = (read(given.data / "3bpa_train" / f"train_{n}.xyz") for n in ("300K", "mixedT"))
    known = {round(float(g.quantities["energy"]), 6) for g in first}
    other = [g for g in second if round(float(g.quantities["energy"]), 6) not in known]
    order = np.random.default_rng(0).permutation(len(first))
    train, valid, test = ([first[i] for i in part] for part in (order[:250], order[250:350], order[350:]))
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("300 K",), "test": ("300 K",), "target": TARGETS, "network": {"size": "xs"},
           "max_time": given.max_time, "out": given.out}
    )  # fmt: skip
    console = Console()
    same = finetune(config, Parts(train, valid, test), console=console)
    net = checkpoint.load(given.out)
    elsewhere = evaluate(net, other, TARGETS, given.out / "elsewhere", train=train, console=console)
    rows = [f"| {key} | {same[key]:.3g} | {elsewhere[key]:.3g} |" for key in KEYS]
    scores = []
    for graphs in (test, other):
        found = predict_graphs(net, graphs)
        error, std = atoms_of(graphs, found)
        scores.append(
            (np.array([float(p["ood_score"]) for p in found]), stats.spearmanr(std, error).statistic)
        )
    label = np.repeat([False, True], [len(scores[0][0]), len(scores[1][0])])
    area = roc_auc(label, np.concatenate([scores[0][0], scores[1][0]]))
    rows.append(
        f"| rank correlation of force error and std over atoms | {scores[0][1]:.3g} | {scores[1][1]:.3g} |"
    )
    lines = [
        "# Intervals at one temperature and elsewhere",
        "",
        f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, busy; `python {shlex.join(sys.argv)}`",
        "",
        "3BPA, 250 training frames at 300 K from scratch, size xs, 100 validation frames; "
        f"{len(test)} other frames at 300 K and {len(other)} of the mixed set (300, 600 and 1200 K).",
        "",
        "| | 300 K | mixed |",
        "|---|---|---|",
        *rows,
        "",
        f"ROC-AUC of `ood_score` for telling the two sets apart: {area:.2f} (a third of the mixed set is at 300 K too).",
        "",
    ]
    OUT.write_text("\n".join(lines))
    print(f"Written: {OUT}")


if __name__ == "__main__":
    main()
