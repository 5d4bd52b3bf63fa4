"""``docs/published.md``: our errors beside the trivial forecast, the control and published numbers."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from cells import Cell, read
from page_text import table, wrapped
from published_sets import SETS, PublicSet

FOLD = re.compile(r", fold \d+$")


def write_page(cells: list[Cell], folder: Path, file: Path, seconds: float) -> None:
    found = {(c.row, c.column, c.seed): r for c in cells if (r := read(folder, c)) and not r["failure"]}
    rows = list(dict.fromkeys(c.row for c in cells))
    busy = sum(bool(r["busy"]) for r in found.values())
    lines = [
        "# Beside published numbers",
        "",
        "    python benchmarks/published.py data --data DIR --cache runs/published/data",
        f"    python benchmarks/table.py published --seconds {seconds:g}",
        "",
        f"{len(found)} of {len(cells)} cells. `atomfield finetune` with its defaults and no look at the test records, for "
        f"{seconds:g} s of one core{_processors(found)}: from the shipped `atomfield-s`, whose corpus has no molecule and no "
        "prototype with its composition of these sets, and from scratch. Published models were trained for as long as "
        "their authors liked. Means over seeds (and folds), ± their deviation where there are several; **bold** where it is "
        f"better than every published number on the same test records. {busy} cells ran beside other work, which seconds of the "
        "processor hardly feel. Where bonds are known (SMILES), the default mixes a property's network with trees on descriptors "
        "of the chemical graph ([how](finetuning.md)).",
        "",
        *table(
            ["set, test records", "unit", *rows, "trivial", "published"],
            [_line(name, sets, rows, found) for name, sets in _joined().items()],
        ),
        "",
        f"Published: {_sources()}. Where no number stands, nobody published on this split that we know of.",
        *_intervals(found),
    ]
    file.write_text(wrapped(lines) + "\n")


def _sources() -> str:
    """Which numbers come from where."""
    found: dict[str, list[str]] = {}
    for name, sets in _joined().items():
        if sets[0].source:
            found.setdefault(sets[0].source, []).append(name)
    return "; ".join(f"{', '.join(names)}: {source}" for source, names in found.items())


def _processors(found: dict[Any, Any]) -> str:
    names = sorted({r["machine"]["processor"] for r in found.values()})
    return f" ({', '.join(names)})" if names else ""


def _joined() -> dict[str, list[PublicSet]]:
    """Folds of one set under one name."""
    out: dict[str, list[PublicSet]] = {}
    for public in SETS:
        out.setdefault(FOLD.sub("", public.name), []).append(public)
    return out


def _line(name: str, sets: list[PublicSet], rows: list[str], found: dict[Any, Any]) -> list[str]:
    one = sets[0]
    best = None
    if one.published:
        best = (max if one.higher_is_better else min)(value for _, value in one.published)
    entries = []
    for row in rows:
        values = [
            r["values"]
            for (r_, column, _), r in found.items()
            if r_ == row and column in [s.name for s in sets]
        ]
        entries.append(_entry(values, len(sets), best, one.higher_is_better))
    trivial = [
        r["values"]["trivial"] for (_, c, _), r in found.items() if c == one.name and "trivial" in r["values"]
    ]
    split = "official five folds" if len(sets) > 1 else one.split
    published = ", ".join(f"{who} {value:g}" for who, value in one.published)
    return [f"{name}: {split}", one.unit, *entries, f"{trivial[0]:.3g}" if trivial else "", published]


def _entry(values: list[dict[str, Any]], folds: int, best: float | None, higher: bool) -> str:
    if not values:
        return "not run"
    errors = [v["error"] for v in values]
    mean = statistics.mean(errors)
    text = f"{mean:.3g}" + (f" ± {statistics.stdev(errors):.1g}" if len(errors) > 1 else "")
    if best is not None and (mean > best if higher else mean < best):
        text = f"**{text}**"
    if len(errors) < folds:
        text += f" ({len(errors)} of {folds} folds)"
    for key, where in (("error_finer", "at 32 x 32"), ("error_finer_interleaved", "interleaved")):
        if finer := [v[key] for v in values if key in v]:
            text += f"; {statistics.mean(finer):.3g} {where}"
    return text


def _intervals(found: dict[Any, Any]) -> list[str]:
    """Coverage of the 90 % intervals on these tests, where it was judged."""
    body = []
    for (row, column, seed), record in sorted(found.items()):
        values = record["values"]
        for key in sorted(k for k in values if k.startswith("coverage_") and not k.startswith("coverage_p_")):
            target = key.removeprefix("coverage_")
            p = values[f"coverage_p_{target}"]
            body.append([column, row, str(seed), target, f"{100 * values[key]:.1f} %", f"{p:.2g}"])
    if not body:
        return []
    return [
        "",
        "## Intervals on these tests",
        "",
        "Share of the test labels within their 90 % intervals, calibrated on validation records, and the binomial test of one "
        "component per record. A test that is shifted on purpose (hot 3BPA, other compositions, other scaffolds) may miss.",
        "",
        *table(["set", "start", "seed", "target", "inside", "p"], body),
    ]
