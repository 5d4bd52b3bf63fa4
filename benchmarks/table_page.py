"""The page of a table: how much of it is finished, and a Markdown table per measured value."""

from __future__ import annotations

import statistics
from pathlib import Path

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
    for metric, heading in metrics.items():
        body = []
        for row in rows:
            here = [[c for c in cells if (c.row, c.column) == (row, column)] for column in columns]
            body.append([row, *(entry(group, folder, metric) for group in here)])
        lines += ["", f"## {heading}", "", *table(["", *columns], body)]
    return "\n".join(lines) + "\n"


def entry(cells: list[Cell], folder: Path, metric: str) -> str:
    """Mean of the finished seeds, with their spread and number where there are more or where some are missing."""
    if not cells:
        return ""
    records = [read(folder, cell) for cell in cells]
    finished = [r for r in records if r is not None and not r["failure"]]
    values = [r["values"][metric] for r in finished if metric in r["values"]]
    failed = sum(state(r) == "failed" for r in records)
    if not values:
        return "failed" if failed else "not run"
    text = f"{statistics.mean(values):.4g}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.2g}"
    if len(values) < len(cells):
        text += f" ({len(values)} of {len(cells)} seeds{f', {failed} failed' if failed else ''})"
    return text + ("*" if any(r["busy"] for r in finished) else "")
