"""The page of a table: how much of it is finished, and a Markdown table per measured value."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from cells import Cell, read, state
from page_text import table


def page(name: str, command: str, cells: list[Cell], folder: Path, metrics: dict[str, str]) -> str:
    """Markdown. ``command`` repeats the table.

    Means over seeds; a cell says what is missing, failed or was measured on a busy machine (*)."""
    states = [state(read(folder, cell)) for cell in cells]
    finished = sum(x in ("done", "busy") for x in states)
    lines = [
        f"# {name}",
        "",
        f"Made by `{command}`.",
        "",
        f"{finished} of {len(cells)} cells",
    ]
    lines[-1] += (
        f" ({states.count('busy')} measured while the machine was busy, *; {states.count('failed')} failed)."
    )
    rows = list(dict.fromkeys(cell.row for cell in cells))
    columns = list(dict.fromkeys(cell.column for cell in cells))
    missing = []
    for metric, heading in metrics.items():
        if finished and not any(has(read(folder, cell), metric) for cell in cells):
            missing.append(heading)
            continue
        here = [row for row in rows if shown([c for c in cells if c.row == row], folder, metric)]
        across = [
            column for column in columns if shown([c for c in cells if c.column == column], folder, metric)
        ]
        body = []
        for row in here:
            groups = [[c for c in cells if (c.row, c.column) == (row, column)] for column in across]
            body.append([row, *(entry(group, folder, metric) for group in groups)])
        lines += ["", f"## {heading}", "", *table(["", *across], body)]
    if missing:
        lines += ["", "No finished cell has: " + "; ".join(missing) + "."]
    return "\n".join(lines) + "\n"


def has(record: dict[str, Any] | None, metric: str) -> bool:
    """Whether a finished cell has that value."""
    return state(record) in ("done", "busy") and metric in record["values"]


def shown(cells: list[Cell], folder: Path, metric: str) -> bool:
    """Whether a row or column of the metric's table says anything: one of its cells has the value, or none is finished."""
    records = [read(folder, cell) for cell in cells]
    return any(has(r, metric) for r in records) or not any(state(r) in ("done", "busy") for r in records)


def entry(cells: list[Cell], folder: Path, metric: str) -> str:
    """Mean of the finished seeds, with their spread and number where there are more or where some are missing; blank where what
    is finished has no such value."""
    if not cells:
        return ""
    records = [read(folder, cell) for cell in cells]
    finished = [r for r in records if r is not None and not r["failure"]]
    values = [r["values"][metric] for r in finished if metric in r["values"]]
    failed = sum(state(r) == "failed" for r in records)
    if not values:
        return "" if finished else "failed" if failed else "not run"
    text = f"{statistics.mean(values):.4g}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.2g}"
    if len(values) < len(cells):
        text += f" ({len(values)} of {len(cells)} seeds{f', {failed} failed' if failed else ''})"
    return text + ("*" if any(r["busy"] for r in finished) else "")
