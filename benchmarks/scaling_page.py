"""The section of ``docs/scaling.md`` that the table ``scaling`` fills: figures, fitted power laws, and what they foretell."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import Cell, read, state
from page_text import table, wrapped
from power_law import Point, PowerLaw, fit

BEGIN, END = "<!-- scaling: begin -->", "<!-- scaling: end -->"
UNITS = {"ethanol": "meV/Å", "phonons": "1/cm", "flows": "VRMSE"}
BEYOND = ((4.0, 1.0), (1.0, 16.0), (4.0, 16.0), (100.0, 1000.0))
"""Times the largest network and the whole corpus."""
Grid = dict[tuple[str, str], float]
"""(size, share) -> value."""


@dataclass
class Found:
    """grids: ``loss`` and each task (medians of seeds). The loss is the geometric mean of the validation errors that all finished
    checkpoints have: a size without vorticity has none of it."""

    grids: dict[str, Grid]
    parameters: Grid
    records: Grid
    finished: int


def collect(cells: Sequence[Cell], folder: Path) -> Found:
    errors: dict[str, dict[tuple[str, str], list[float]]] = {}
    pretrained: dict[tuple[str, str], dict[str, float]] = {}
    for cell in cells:
        record = read(folder, cell)
        if record is None or state(record) not in ("done", "busy"):
            continue
        share, what = cell.column.split(", ")
        if what == "pretraining":
            pretrained[cell.row, share] = record["values"]
        else:
            errors.setdefault(what, {}).setdefault((cell.row, share), []).append(record["values"]["error"])
    grids = {what: {k: statistics.median(v) for k, v in each.items()} for what, each in errors.items()}
    if losses := losses_of(pretrained):
        grids = {"loss": losses, **grids}
    take = lambda key: {k: v[key] for k, v in pretrained.items()}  # noqa: E731
    count = len(pretrained) + sum(len(v) for each in errors.values() for v in each.values())
    return Found(grids, take("parameters"), take("records"), count)


def losses_of(pretrained: Mapping[tuple[str, str], Mapping[str, float]]) -> Grid:
    """Geometric mean of the errors that all have."""
    if not pretrained:
        return {}
    shared = set.intersection(*({k for k in v if k.startswith("valid/")} for v in pretrained.values()))
    return {k: statistics.geometric_mean([v[name] for name in sorted(shared)]) for k, v in pretrained.items()}


def points_of(grid: Grid, parameters: Grid, records: Grid) -> list[Point]:
    return [(parameters[k], records[k], v) for k, v in grid.items() if k in parameters]


def section(cells: Sequence[Cell], folder: Path, pretraining: float, finetuning: int, config: Path) -> str:
    """Markdown between the marks; ``pretraining``: seconds of processor time of a cell, ``finetuning``: steps, ``config``: that
    of the pretraining."""
    found = collect(cells, folder)
    corpus = "--corpus DIR " if "corpus/" in config.read_text() else ""
    parameters, records = found.parameters, found.records
    lines = [
        BEGIN,
        "## Measured: loss and downstream error against size and data",
        "",
        "    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data",
        f"    python benchmarks/scaling.py data --config configs/{config.name} {corpus}--exclude runs/transfer/data --cache "
        "runs/scaling/data",
        f"    python benchmarks/table.py scaling --config configs/{config.name} "
        f"--pretrain-seconds {pretraining:g} --steps {finetuning}",
        "",
        f"The last command makes this section. {found.finished} of {len(cells)} cells are finished. Every checkpoint had "
        f"{pretraining:g} s of processor time of pretraining on one thread, so a larger network made fewer steps. The loss "
        "is the geometric mean of the validation errors of all streams, on records of the whole corpus that no share trains on. "
        "Downstream: test errors after finetuning on 50 samples, medians of seeds.",
        "",
    ]  # fmt: skip
    for what, grid in found.grids.items():
        title = "Validation loss" if what == "loss" else f"{what}, {UNITS.get(what, '')}"
        lines += [*grid_table(title, grid, parameters, records), "", law_text(fit(points_of(grid, parameters, records)),
                  parameters, records), ""]  # fmt: skip
    return wrapped([*lines, END])


def grid_table(title: str, grid: Grid, parameters: Grid, records: Grid) -> list[str]:
    sizes = list(dict.fromkeys(k[0] for k in grid))
    shares = list(dict.fromkeys(k[1] for k in grid))

    def count(share: str) -> str:
        return next((f"{n:,.0f} records" for k, n in records.items() if k[1] == share), share)

    def weights(size: str) -> str:
        return next((f"{size}, {n:,.0f} parameters" for k, n in parameters.items() if k[0] == size), size)

    rows = [
        [weights(size), *(f"{grid[size, s]:.4g}" if (size, s) in grid else "not run" for s in shares)]
        for size in sizes
    ]
    return table([title, *map(count, shares)], rows)


def law_text(law: PowerLaw | None, parameters: Grid, records: Grid) -> str:
    if law is None:
        return "Too few cells for a fit."
    a, b = law.exponents
    wide = law.half_widths()
    largest, whole = max(parameters.values()), max(records.values())
    ahead = []
    for n, d in BEYOND:
        middle, low, high = law.predict(n * largest, d * whole)
        ahead.append(f"{n:g}x and {d:g}x: {middle:.3g} ({low:.3g} to {high:.3g})")
    unsure = [name for name, x, w in (("size", a, wide[0]), ("data", b, wide[1])) if abs(x) < w]
    doubt = f" The exponent of {' and of '.join(unsure)} is not told from zero." if unsure else ""
    return (
        f"Fit: in proportion to (parameters)^({-a:+.3f} ± {wide[0]:.3f}) (records)^({-b:+.3f} ± {wide[1]:.3f}), 90 % intervals; "
        f"it explains {law.explained:.0%} of the variance.{doubt} Extrapolated to times the largest network and times the "
        f"corpus, with 90 % intervals of a new point: {'; '.join(ahead)}."
    )


def write_section(
    cells: Sequence[Cell], folder: Path, file: Path, pretraining: float, finetuning: int, config: Path
) -> None:
    """Put the section between its marks, or at the end."""
    text, new = file.read_text(), section(cells, folder, pretraining, finetuning, config)
    if BEGIN in text and END in text:
        before, rest = text.split(BEGIN, 1)
        text = before + new + rest.split(END, 1)[1]
    else:
        text = text.rstrip() + "\n\n" + new + "\n"
    file.write_text(text)
