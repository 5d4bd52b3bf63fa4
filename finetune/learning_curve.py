"""Learning curves: the error on the same test records by the number of training records, each set a part of the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.splits import fraction_of
from atomfield.inference.write import write_metrics

from .config import FinetuneConfig
from .evaluate import print_table
from .nested import one_of_many, say_cost
from .parts import Parts, read_parts
from .plots import BLUE, GREY, ORANGE, new_figure, plain, png, wrapped
from .report import Picture, Section, Table, number, provenance_section, write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Point = dict[str, float]


def learning_curve(config: FinetuneConfig, console: Console) -> dict[str, float]:
    """One run for each number of training records in ``out/train_N``, with the from-scratch control beside it where it is asked
    for. The validation records shrink with the training records, the test records stay. A search is made anew at each number, on
    its training and validation records (``nested.py``).

    Returns the metrics of the largest run, and all as ``KEY_at_N`` (``scratch_KEY_at_N`` of the control); writes them to
    ``metrics.json`` with ``learning_curve.png`` and ``report.html``.
    """
    whole = read_parts(config, console)
    sizes = numbers_of(config, len(whole.train))
    say_cost(config, len(sizes), "numbers of records", console)
    points: dict[int, Point] = {}
    controls: dict[int, Point] = {}
    for count in sizes:
        parts = part_of(whole, count, config.seed)
        console.rule(f"{count} training, {len(parts.valid)} validation records")
        one = config.model_copy(update={"learning_curve": (), "out": config.out / f"train_{count}"})
        points[count], scratch = one_of_many(one, parts, console)
        if scratch is not None:
            controls[count] = scratch
    metrics = dict(points[sizes[-1]])
    for prefix, its in (("", points), ("scratch_", controls)):
        metrics |= {
            f"{prefix}{k}_at_{n}": v
            for n, point in its.items()
            for k, v in point.items()
            if k in keys_of(points)
        }
    write_metrics(metrics, config.out / "metrics.json")
    picture = config.out / "learning_curve.png"
    picture.write_bytes(png(draw(points, controls)))
    table = curve_table(points, controls)
    title = f"{', '.join(config.target)}: error by the number of training records"
    items = (table, Picture(picture, "Errors on the same test records; dashed: the trivial baseline."))
    write_report(config.out, title, [Section("Learning curve", items), provenance_section()])
    print_table(table, title, console)
    console.print(f"Written: {config.out / 'metrics.json'}, learning_curve.png, report.html; a model for each size in "
                  f"{config.out}/train_*/model", highlight=False, markup=False, soft_wrap=True)  # fmt: skip
    return metrics


def numbers_of(config: FinetuneConfig, available: int) -> list[int]:
    """The sizes, ascending; raises ``InputError`` for more records than there are."""
    sizes = sorted({available if n == "all" else n for n in config.learning_curve})
    if sizes[-1] > available:
        raise InputError(
            f"found {available} training records, expected at least {sizes[-1]}; write all for as many as there are",
            "--learning-curve",
        )
    return sizes


def part_of(whole: Parts, count: int, seed: int) -> Parts:
    """``count`` training records by a seeded order, of which a smaller count is a part, those that show all elements first;
    validation records in the same share (ten at least, or all); the same test records."""
    share = count / len(whole.train)
    least = min(10, len(whole.valid))
    return Parts(
        _first(whole.train, count, seed, elements_first=True),
        _first(whole.valid, max(least, round(share * len(whole.valid))), seed),
        whole.test,
        whole.test_is_valid,
    )


def _first(graphs: Sequence[Graph], count: int, seed: int, *, elements_first: bool = False) -> list[Graph]:
    order = sorted(range(len(graphs)), key=lambda i: fraction_of(f"{i}", seed))
    if elements_first:
        seen: set[int] = set()
        new: list[int] = []
        for i in order:
            own = set(graphs[i].species.unique().tolist())
            if not own <= seen:
                new.append(i)
                seen |= own
        shown = set(new)
        order = new + [i for i in order if i not in shown]
    return [graphs[i] for i in sorted(order[:count])]


def keys_of(points: dict[int, Point]) -> list[str]:
    """Metrics that a baseline has, too."""
    first = next(iter(points.values()))
    return [k for k in first if f"baseline_{k}" in first]


def curve_table(points: dict[int, Point], controls: dict[int, Point]) -> Table:
    """Rows: metrics; columns: model (and control) at each number."""
    columns, rows = ["metric"], []
    for n in points:
        columns += [f"{n}", *([f"{n}, from scratch"] if n in controls else [])]
    for key in keys_of(points):
        row = [key]
        for n, point in points.items():
            row.append(number(point.get(key, float("nan"))))
            if n in controls:
                row.append(number(controls[n].get(key, float("nan"))))
        last = next(reversed(points.values()))
        rows.append([*row, number(last.get(f"baseline_{key}", float("nan")))])
    return Table([*columns, "trivial baseline"], rows, "Columns: number of training records.")


def draw(points: dict[int, Point], controls: dict[int, Point]) -> Figure:
    """One panel per metric; errors are logarithmic."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    keys = keys_of(points)[:6]
    columns, rows = max(1, min(3, len(keys))), max(1, -(-len(keys) // 3))
    figure = new_figure(3.9 * columns, 3.3 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, key in zip(panels, keys, strict=False):
        plain(axis)
        trivial = [point.get(f"baseline_{key}", np.nan) for point in points.values()]
        axis.plot(list(points), trivial, ":", color=GREY, label="trivial baseline")
        if controls:
            values = [control.get(key, np.nan) for control in controls.values()]
            axis.plot(list(controls), values, "s--", color=ORANGE, label="from scratch")
        values = [point.get(key, np.nan) for point in points.values()]
        axis.plot(list(points), values, "o-", color=BLUE, label="finetuned")
        axis.set_xscale("log")
        if "_mae" in key or "_rmse" in key:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_xticks(list(points), [str(n) for n in points])
        axis.minorticks_off()
        axis.set_xlabel("training records")
        axis.set_title(wrapped(key, 34), fontsize=9)
    for axis in panels[len(keys) :]:
        axis.set_visible(False)
    panels[0].legend(fontsize=8, frameon=False)
    return figure
