"""Cross-validation: every record is a test record once, by groups or by a file of official folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.data.folds import read_parts_file
from atomfield.data.graph import Graph
from atomfield.data.partition import NAMES
from atomfield.data.readers import BadRecord
from atomfield.data.splits import fraction_of
from atomfield.inference.write import write_metrics

from .config import FinetuneConfig
from .evaluate import print_table
from .nested import one_of_many, say_cost
from .parts import Parts, hold_out, read_records, with_unseen_elements
from .report import Section, Table, number, provenance_section, write_report


def cross_validate(config: FinetuneConfig, console: Console) -> dict[str, float]:
    """One run for each fold in ``out/NAME``: trained on the other folds, a part of them for validation, and tested on its own. A
    search is made within each, on its training and validation records (``nested.py``).

    Returns the mean over folds of every metric under its key and the standard deviation under ``KEY_std``; both are in
    ``metrics.json``, every fold in ``folds.csv`` and the table in ``report.html``.
    """
    left_out: list[BadRecord] = []
    graphs = read_records(config, config.train, console, left_out)
    tests = test_records(config, graphs, len(left_out))
    if "energy" in config.target:
        tests = testable(config, graphs, tests, console)
    say_cost(config, len(tests), "folds", console)
    found: dict[str, dict[str, float]] = {}
    for name, numbers in tests.items():
        held = set(numbers)
        train, valid = hold_out([g for i, g in enumerate(graphs) if i not in held], config)
        parts = Parts(train, valid, [graphs[i] for i in numbers])
        console.rule(f"{name}: {len(train)} training, {len(valid)} validation, {len(numbers)} test records")
        one = config.model_copy(update={"folds": None, "by_id": "", "out": config.out / name})
        found[name], _ = one_of_many(one, parts, console)
    metrics = summary(found)
    write_metrics(metrics, config.out / "metrics.json")
    _write_folds(config, found)
    table = fold_table(found)
    title = f"{', '.join(config.target)}: {len(tests)} folds of {len(graphs)} records"
    write_report(config.out, title, [Section("Cross-validation", (table,)), provenance_section()])
    print_table(table, title, console)
    written = f"Written: {config.out / 'metrics.json'}, folds.csv, report.html; one model a fold in {config.out}/*/model"
    console.print(written, highlight=False, markup=False, soft_wrap=True)
    return metrics


def testable(
    config: FinetuneConfig, graphs: Sequence[Graph], tests: dict[str, list[int]], console: Console
) -> dict[str, list[int]]:
    """The folds without test records whose elements are in no training record, which have no reference energy there: folds that
    were made here leave them in training, and say so. Raises ``InputError`` for those of a file, before anything is trained."""
    out: dict[str, list[int]] = {}
    lost = 0
    for name, its in tests.items():
        own = set(its)
        unseen = set(with_unseen_elements(graphs, [i for i in range(len(graphs)) if i not in own], its))
        if unseen and isinstance(config.folds, str):
            raise InputError(
                f"fold {name!r} has {len(unseen)} test records with elements that no other record has, the first "
                f"{graphs[min(unseen)].provenance}: their reference energies would be unknown; leave them out of the folds",
                config.folds,
            )
        out[name] = [i for i in its if i not in unseen]
        lost += len(unseen)
    if lost:
        console.print(
            f"{lost} records have elements that no other group has: they are trained on in every fold and never tested",
            highlight=False,
        )
    empty = [name for name, its in out.items() if not its]
    if empty:
        raise InputError(
            f"{empty[0]} is left without a test record whose elements are in its training records, expected fewer folds or more "
            "records",
            "--folds",
        )
    return out


def test_records(config: FinetuneConfig, graphs: Sequence[Graph], left_out: int) -> dict[str, list[int]]:
    """Name of each fold -> its test records. left_out: how many records were skipped when ``graphs`` were read."""
    if isinstance(config.folds, str):
        named = read_parts_file(
            config.folds, graphs, config.by_id, left_out=left_out, conformers=config.conformers
        )
        split = sorted(set(named) & set(NAMES))
        if split:
            raise InputError(
                f"has a part {split[0]!r}, so it is one split; folds have names of their own and hold their test records. For a "
                f"split: atomfield prepare --split {config.folds}, then --train STORE:train --test STORE:test",
                config.folds,
            )
        empty = [name for name, its in named.items() if not its]
        if len(named) < 2 or empty:
            what = f"fold {empty[0]!r} without a record" if empty else f"{len(named)} fold"
            raise InputError(f"has {what}, expected two or more folds with records", config.folds)
        return named
    assert config.folds is not None
    return by_groups([g.group or str(g.provenance) for g in graphs], config.folds, config.seed)


def by_groups(groups: Sequence[str], count: int, seed: int) -> dict[str, list[int]]:
    """``count`` folds of nearly equal size, whole groups each; of single records where there are fewer groups than folds."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    if len(members) < count:
        members = {f"record {i}": [i] for i in range(len(groups))}
    if len(members) < count:
        raise InputError(
            f"found {len(groups)} records, expected at least one for each of {count} folds", "--folds"
        )
    folds: list[list[int]] = [[] for _ in range(count)]
    for name in sorted(members, key=lambda name: (-len(members[name]), fraction_of(name, seed))):
        min(folds, key=len).extend(members[name])
    return {f"fold_{k}": sorted(its) for k, its in enumerate(folds)}


def summary(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean and standard deviation (n - 1) over folds of what all of them have; intervals of single folds are left out."""
    out: dict[str, float] = {"folds": float(len(found))}
    for key in _common(found):
        values = np.array([metrics[key] for metrics in found.values()])
        out[key], out[f"{key}_std"] = float(values.mean()), float(values.std(ddof=1))
    return out


def fold_table(found: dict[str, dict[str, float]]) -> Table:
    """One row per metric that has a baseline: each fold, mean and standard deviation, the baseline's mean."""
    keys = [k for k in _common(found) if f"baseline_{k}" in _common(found)] or _common(found)
    rows = []
    for key in keys:
        values = np.array([metrics[key] for metrics in found.values()])
        trivial = [metrics.get(f"baseline_{key}", float("nan")) for metrics in found.values()]
        spread = f"{number(float(values.mean()))} ± {number(float(values.std(ddof=1)))}"
        rows.append([key, *map(number, values.tolist()), spread, number(float(np.mean(trivial)))])
    return Table(
        ["metric", *found, "mean ± std", "trivial baseline"],
        rows,
        "Each fold is tested on records that its model never saw; std is between folds (n - 1). The baseline is fitted on the "
        "same training records.",
    )


def _common(found: dict[str, dict[str, float]]) -> list[str]:
    first, *rest = found.values()
    return [k for k in first if all(k in other for other in rest) and not k.endswith(("_ci_low", "_ci_high"))]


def _write_folds(config: FinetuneConfig, found: dict[str, dict[str, float]]) -> None:
    keys = list(dict.fromkeys(k for metrics in found.values() for k in metrics))
    lines = [",".join(["metric", *found])]
    for key in keys:
        lines.append(
            ",".join([key, *(f"{metrics.get(key, float('nan')):.8g}" for metrics in found.values())])
        )
    (config.out / "folds.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
