"""The page of a training run, drawn from its ``metrics.jsonl`` and ``skipped.jsonl``: loss per task, gradient norm, validation,
throughput, and where the time went."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError
from atomfield.finetune.plots import BLUE, GREEN, GREY, ORANGE, RED, new_figure, plain, png, wrapped
from atomfield.finetune.report import Code, Picture, Section, Table, write_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Any]]
COLOURS = (BLUE, ORANGE, GREEN, RED, "#7d5ba6", "#3aa0a0", "#a0763a", GREY)
PLAIN = {
    "step",
    "seconds",
    "learning_rate",
    "gradient_norm",
    "train_loss",
    "atoms_per_second",
    "points_per_second",
    "flops_per_second",
    "fraction_of_peak",
}


def read_rows(file: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file; raises ``InputError`` naming the first that is none. A last line that a kill cut is left
    out."""
    rows: list[dict[str, Any]] = []
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            if number == len(lines):
                break
            raise InputError(f"not JSON ({error})", f"{file}:{number}") from None
    return rows


def write_page(run: Path, out: Path) -> Path:
    """Write ``out`` (``.html``, or ``.png`` for the picture alone) about the run in the folder ``run``."""
    rows, skipped = read_rows(run / "metrics.jsonl"), read_rows(run / "skipped.jsonl")
    if not rows:
        raise InputError("has no lines yet", str(run / "metrics.jsonl"))
    picture = png(draw(rows, skipped))
    if out.suffix == ".png":
        out.write_bytes(picture)
        return out
    config = run / "config.yaml"
    sections = [
        Section("Run", [table(rows, skipped)]),
        Section("Curves", [Picture(picture, "Dashed lines: skipped steps. Times are those of rank 0.")]),
        Section("Skipped steps", [_skipped_table(skipped)] if skipped else []),
        Section("Configuration", [Code(config.read_text())] if config.is_file() else []),
    ]
    return write_report(out, f"Training run {run.resolve().name}", sections)


# ---------------------------------------------------------------------- tables
def table(rows: Rows, skipped: Rows) -> Table:
    """First and last value of what was logged, the best of each validation error, and the rest at a glance."""
    train = [r for r in rows if "train_loss" in r]
    lines: list[tuple[str, str]] = [("steps", f"{rows[-1].get('step', '?')}")]
    if "seconds" in rows[-1]:
        lines.append(("time so far", f"{rows[-1]['seconds'] / 60:.1f} min"))
    if train:
        lines.append(
            ("training loss, first to last", f"{train[0]['train_loss']:.4g} to {train[-1]['train_loss']:.4g}")
        )
    for key in ("atoms_per_second", "points_per_second"):
        values = [r[key] for r in train[1:] if r.get(key)]
        if values:
            lines.append((key.replace("_", " ") + ", median", f"{np.median(values):,.0f}"))
    fractions = [r["fraction_of_peak"] for r in train[1:] if "fraction_of_peak" in r]
    if fractions:
        lines.append(("fraction of peak, median", f"{np.median(fractions):.1%}"))
    phases = [k for k in (train[-1] if train else {}) if k.startswith("time/")]
    if phases:
        shares = {k: float(np.mean([r[k] for r in train if k in r])) for k in phases}
        lines.append(
            ("share of time", ", ".join(f"{k.removeprefix('time/')} {v:.0%}" for k, v in shares.items()))
        )
    for key in dict.fromkeys(k for r in rows for k in r if k.startswith(("valid/", "valid_"))):
        values = [(r[key], r.get("step")) for r in rows if r.get(key) is not None]
        finite = [pair for pair in values if np.isfinite(pair[0])]
        best = ", best {:.4g} at step {}".format(*min(finite)) if finite else ""
        lines.append((key, f"{values[-1][0]:.4g}{best}"))
    causes = Counter(str(r["cause"]) for r in skipped)
    lines.append(("skipped steps", ", ".join(f"{n} {c}" for c, n in causes.items()) or "none"))
    return Table(("what", "value"), lines, text_columns=frozenset({0, 1}))


def _skipped_table(skipped: Rows) -> Table:
    lines = []
    for row in skipped[-30:]:
        micro = row.get("micro_batches", [])
        records = [f"{r['file']} {r['record']}" for m in micro for r in m["records"]]
        where = "; ".join(records[:4]) + (f" and {len(records) - 4} more" if len(records) > 4 else "")
        if row["cause"] == "rollback":
            where = f"back to step {row['to']}"
        lines.append(
            (str(row["step"]), str(row["cause"]), ", ".join(sorted({m["stream"] for m in micro})), where)
        )
    return Table(("step", "cause", "streams", "records"), lines, text_columns=frozenset({1, 2, 3}))


# ---------------------------------------------------------------------- curves
def draw(rows: Rows, skipped: Rows) -> Figure:
    """Six panels about the whole run, then for each stream one of its loss terms and one of its validation errors."""
    train = [r for r in rows if "train_loss" in r] or list(rows)
    terms = _by_stream(k for r in train for k in r if _is_term(k))
    valid = list(dict.fromkeys(k for r in rows for k in r if k.startswith("valid/")))
    errors = _by_stream(k for k in valid if not k.endswith("equivariance_error"))
    lines = -(-(6 + len(terms) + len(errors)) // 3)
    figure = new_figure(13.0, 3.6 * lines)
    panels = list(figure.subplots(lines, 3, squeeze=False).ravel())
    judged = [panels[0], panels[1]]
    _curves(panels.pop(0), train, ["train_loss"], "training loss", log=True)
    _curves(panels.pop(0), train, ["gradient_norm"], "gradient norm before clipping", log=True)
    _curves(panels.pop(0), train, ["learning_rate"], "learning rate")
    _curves(panels.pop(0), train, ["atoms_per_second", "points_per_second"], "throughput, per second")
    _shares(panels.pop(0), train)
    symmetry = [k for k in valid if k.endswith("equivariance_error")]
    _curves(panels.pop(0), rows, symmetry, "equivariance error (relative)", log=True, marker="o")
    for stream in dict.fromkeys((*terms, *errors)):
        of = f"{stream}: " if stream else ""
        if keys := terms.get(stream):
            judged.append(panels[0])
            _curves(panels.pop(0), train, keys, f"{of}loss terms (weighted)", log=True, stream=stream)
        if keys := errors.get(stream):
            _curves(panels.pop(0), rows, keys, f"{of}validation errors", log=True, marker="o", stream=stream)
    for panel in judged:
        for step in {r["step"] for r in skipped if r["cause"] != "rollback"}:
            panel.axvline(step, color=RED, alpha=0.4, linestyle="--", linewidth=0.8)
    for panel in panels:
        panel.axis("off")
    return figure


def _is_term(key: str) -> bool:
    return key not in PLAIN and not key.startswith(("valid", "time/"))


def _by_stream(keys: Iterable[str]) -> dict[str, list[str]]:
    """Stream -> its keys, each once; "" for those of a run without streams."""
    found: dict[str, list[str]] = {}
    for key in dict.fromkeys(keys):
        stream, slash, _ = key.removeprefix("valid/").partition("/")
        found.setdefault(stream if slash else "", []).append(key)
    return found


def _curves(
    axes: Axes,
    rows: Rows,
    keys: Sequence[str],
    title: str,
    log: bool = False,
    marker: str = "",
    stream: str = "",
) -> None:
    """Each of ``keys`` as a curve; beyond eight of them colours come again, dashed and dotted."""
    drawn = False
    styles = [(colour, line) for line in ("-", "--", ":", "-.") for colour in COLOURS]
    for (colour, line), key in zip(itertools.cycle(styles), keys, strict=False):
        points = [
            (r.get("step", n), r[key]) for n, r in enumerate(rows) if isinstance(r.get(key), (int, float))
        ]
        points = [(x, y) for x, y in points if np.isfinite(y) and (y > 0 or not log)]
        if not points or (not log and not any(y for _, y in points)):
            continue
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            linestyle=line,
            label=_label(key, stream),
            linewidth=1.2,
            marker=marker if len(points) < 40 else "",
            markersize=3,
        )
        drawn = True
    axes.set_title(wrapped(title), fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    if drawn:
        axes.set_yscale("log" if log else "linear")
        axes.legend(frameon=False, fontsize=7)
    else:
        _nothing(axes)
    plain(axes)


def _label(key: str, stream: str) -> str:
    name = key.removeprefix("valid/").removeprefix(f"{stream}/" if stream else "")
    return name.replace("_per_", "/").replace("_", " ").removeprefix("field/").removeprefix("patch/")


def _shares(axes: Axes, rows: Rows) -> None:
    """Stacked shares of a step's time."""
    keys = [k for k in dict.fromkeys(k for r in rows for k in r) if k.startswith("time/")]
    steps = [r["step"] for r in rows if keys and keys[0] in r]
    axes.set_title("where the time goes (share of a step)", fontsize=10)
    axes.set_xlabel("step", fontsize=9)
    if not steps:
        return _nothing(axes)
    shares = [[r.get(k, 0.0) for r in rows if keys[0] in r] for k in keys]
    axes.stackplot(steps, shares, labels=[k.removeprefix("time/") for k in keys], colors=COLOURS, alpha=0.85)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=7, loc="lower right")
    plain(axes)


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "nothing logged", ha="center", va="center", color=GREY, transform=axes.transAxes)
    plain(axes)
