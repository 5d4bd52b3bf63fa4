"""The page ``docs/transfer.md``: tables and sentences made of the results of the table ``transfer``."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cells import Cell
from page_text import table, wrapped
from transfer_results import (
    CURVES,
    EVERY,
    OWN,
    ROWS,
    SHIPPED,
    Results,
    collect,
    median_ratio,
    summary,
    verdict,
)
from transfer_tasks import TASKS, WORLDS, TransferTask

from atomfield.finetune.strategy import RATES


@dataclass(frozen=True)
class About:
    """How the cells were made.

    steps: of training in a cell. samples: as written in the columns, the first of them with all seeds. settings: (``scratch``
    or ``pretrained``, kind of task) -> those that differ from the defaults. trials: (the same, task) -> how many were compared.
    notes: Markdown on these checkpoints and trials, a paragraph or list item a line.
    """

    steps: int
    samples: Sequence[str]
    settings: Mapping[tuple[str, str], str]
    trials: Mapping[tuple[str, str], int]
    notes: str = ""


# ---------------------------------------------------------------- tables
def number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


CHANGED = "2026-11-27"
EARLIER_CODE = (
    "finetuning had no coarse graph levels in steady fields then, and kept the weights of the best validation however few "
    "records that had."
)
"""Before the day ``CHANGED``."""


def days_of(results: Results, samples: str) -> str:
    """A sentence on the days of the cells, where any is of earlier code."""
    found = Counter(day for (_, _, n, _), day in results.days.items() if n == samples)
    if not found or min(found) >= CHANGED:
        return ""
    each = ", ".join(f"{count} of {day}" for day, count in sorted(found.items()))
    return f" Cells: {each}. Before {CHANGED} {EARLIER_CODE}"


def spread(values: Sequence[float]) -> str:
    """Median, and the range of the seeds where there are several."""
    if not values:
        return ""
    text = number(statistics.median(values))
    return text if len(values) < 2 else f"{text} ({number(min(values))} to {number(max(values))})"


def steps_text(times: Sequence[float]) -> str:
    """Median; how many seeds never get there."""
    if not times:
        return ""
    never = sum(math.isinf(t) for t in times)
    middle = statistics.median_high(times)
    text = "not reached" if math.isinf(middle) else f"{middle:.0f}"
    return text if not never or math.isinf(middle) else f"{text} ({never} of {len(times)} not)"


def errors_table(results: Results, samples: str, starts: Sequence[str] = ROWS) -> list[str]:
    rows = []
    for task in TASKS:
        trivial = [
            v["trivial"] for (_, t, n, _), v in results.values.items() if (t, n) == (task.name, samples)
        ]
        row = [f"{task.name}, {task.unit}", number(statistics.median(trivial)) if trivial else ""]
        row += [spread(results.errors(r, task.name, samples)) for r in starts]
        for start in starts[1:]:
            ratio = median_ratio(results, start, task.name, samples)
            row.append("" if ratio is None else f"{ratio:.2f}")
        rows.append(row)
    ratios = [f"{start.split()[0]} / scratch" for start in starts[1:]]
    return table(("task", "trivial", *starts, *ratios), rows)


def times_table(results: Results, samples: str, starts: Sequence[str] = ROWS) -> list[str]:
    rows = [[t.name, *(steps_text(results.times(r, t.name, samples)) for r in starts)] for t in TASKS]
    return table(("task", *starts), rows)


def worlds_table(results: Results, samples: str) -> list[str]:
    rows = []
    for task in TASKS:
        ratios = results.ratios(EVERY, task.name, samples, OWN)
        rows.append([task.name, task.world, spread(ratios), verdict(ratios)])
    return table(("task", "world", "all worlds / own world", "the other two worlds"), rows)


def starts_of(results: Results) -> list[str]:
    """The weights that each row started from, by their hash; more than one is a table of mixed origin, and says so."""
    lines = []
    worlds = {t.name: t.world for t in TASKS}
    for row, world in [*((OWN, w) for w in WORLDS), (EVERY, ""), (SHIPPED, "")]:
        found = {
            v["start"]
            for (r, t, _, _), v in results.holding(row).values.items()
            if r == row and world in ("", worlds[t])
        }
        if found:
            mixed = " **(cells of different checkpoints)**" if len(found) > 1 else ""
            lines.append(f"- {row}{f', {world}' if world else ''}: `{'`, `'.join(sorted(found))}`{mixed}")
    return lines


def costs(results: Results) -> str:
    """Processor seconds of the training and of a command's rest."""
    if not results.values:
        return ""
    training = [v["training_processor_s"] for v in results.values.values()]
    rest = [v["processor_s"] - v["training_processor_s"] for v in results.values.values()]
    return (
        f"It took {min(training):.0f} to {max(training):.0f} s of one thread by task and machine, "
        f"{statistics.median(training):.0f} s in the median; imports, reading and the test took "
        f"{statistics.median(rest):.0f} s more."
    )


def settings_table(about: About) -> list[str]:
    """A row per kind of task and start."""
    defaults = {
        "scratch": f"defaults (learning_rate={RATES['scratch']:g})",
        "pretrained": f"defaults (strategy=full,learning_rate={RATES['full']:g})",
    }
    rows = []
    for kind in dict.fromkeys(t.kind for t in TASKS):
        names = [t.name for t in TASKS if t.kind == kind]
        for start, default in defaults.items():
            tried = [f"{about.trials[start, n]} on {n}" for n in names if (start, n) in about.trials]
            text = about.settings.get((start, kind))
            rows.append(
                [", ".join(names), start, f"`{text}`" if text else default, ", ".join(tried) or "none"]
            )
    return table(("tasks", "start", "settings", "trials"), rows)


def described(task: TransferTask) -> str:
    return f"- **{task.name}** ({task.world}, {task.unit}): {task.about}."


# ---------------------------------------------------------------- page
def write_page(cells: Sequence[Cell], folder: Path, docs: Path, about: About) -> None:
    """``docs/transfer.md`` and its pictures in ``docs/images``: ratios to scratch; errors by the number of samples, where a task
    has results at two numbers or more."""
    from transfer_plots import draw_curves, draw_ratios, save

    results = collect(cells, folder)
    (docs / "transfer.md").write_text(page(results, about))
    if results.values:
        (docs / "images").mkdir(exist_ok=True)
        save(draw_ratios(results, about.samples[0]), docs / "images" / "transfer_ratios.png")
    if has_curve(results, about.samples):
        save(draw_curves(results, about.samples), docs / "images" / "transfer_curves.png")


def has_curve(results: Results, samples: Sequence[str]) -> bool:
    return any(sum(results.has(n, t.name) for n in samples) > 1 for t in TASKS)


def page(results: Results, about: About) -> str:
    """Markdown."""
    lines = [
        *opening(results, about.steps),
        *first_sections(results, about.samples[0]),
        *curve_section(results, about.samples),
        *closing(results, about),
    ]
    return wrapped(lines).rstrip() + "\n"


def opening(results: Results, steps: int) -> list[str]:
    return [
        "# Does pretraining pay?",
        "",
        "    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data",
        f"    python benchmarks/table.py transfer --checkpoints CKPTS --steps {steps}",
        "",
        f"The second command makes this page. {results.finished} of {results.wanted} cells are finished, {results.failed} "
        "failed.",
        "",
        f"Four starts of the same network are finetuned on the same records for {steps} steps, the same compute: random weights "
        "(scratch), a checkpoint pretrained on the task's own world (molecules, crystals or fields), one pretrained on "
        "all three for as many steps, and the shipped model, which went on from that one. No record of a task was in "
        "pretraining, not even one to train on. Test records never train and are the same for all; validation records (a "
        f"fifth of the training samples, ten at least) are those of the seed. {costs(results)}",
    ]  # fmt: skip


def first_sections(results: Results, samples: str) -> list[str]:
    """Errors, time and worlds at the number of samples that has all seeds."""
    worlds = results.holding(EVERY)
    other = worlds is not results
    return [
        "",
        f"## Errors with {samples} samples",
        "",
        "Median and range over seeds. Trivial: the mean, zero forces, or persistence of a field that evolves. Ratios are "
        "medians of error / error from scratch with the same records.",
        "",
        *errors_table(results, samples, CURVES if other else ROWS),
        "",
        f"- **The shipped model against scratch: {summary(results, SHIPPED, samples)}.**",
        *([] if other else against(results, samples)),
        "",
        *picture(results, "Errors relative to training from scratch", "transfer_ratios.png"),
        "## Steps to the scratch error",
        "",
        "Steps of training until the validation error is first at or below the least that the run from scratch reached.",
        "",
        *times_table(results, samples, CURVES if other else ROWS),
        "",
        "## Do the worlds help each other?",
        "",
        *(earlier_errors(worlds, samples) if other else []),
        "Error from the checkpoint of all worlds over error from that of the task's own world. A verdict is given where "
        "all seeds agree.",
        "",
        *worlds_table(worlds, samples),
    ]  # fmt: skip


def against(results: Results, samples: str) -> list[str]:
    return [
        f"- All worlds against scratch: {summary(results, EVERY, samples)}.",
        f"- Own world against scratch: {summary(results, OWN, samples)}.",
    ]


def earlier_errors(earlier: Results, samples: str) -> list[str]:
    """Of a run that is whole in itself: its ratios are to its own cells from scratch."""
    return [
        f"The checkpoints of one world and of all were compared on 26 November 2026; {EARLIER_CODE} All cells of that run, "
        "from scratch and shipped among them (`benchmarks/results/transfer/earlier`):",
        "",
        *errors_table(earlier, samples),
        "",
        *against(earlier, samples),
        f"- The shipped model against scratch: {summary(earlier, SHIPPED, samples)}.",
        "",
    ]  # fmt: skip


def picture(results: Results, text: str, name: str) -> list[str]:
    return [f"![{text}](images/{name})", ""] if results.values else []


def curve_section(results: Results, samples: Sequence[str]) -> list[str]:
    """The picture and a table for each further number of samples, or which numbers are not run."""
    lines = ["", "## More and fewer samples", ""]
    if has_curve(results, samples):
        lines += picture(results, "Errors by the number of samples", "transfer_curves.png")
    for n in samples[1:]:
        if results.has(n):
            lines += [f"### {n} samples", "", *errors_table(results, n, CURVES), ""]
            said = f"The shipped model against scratch: {summary(results, SHIPPED, n)}."
            lines += [said + days_of(results, n), ""]
    absent = [n for n in samples[1:] if not results.has(n)]
    return [*lines, f"Not run: the tasks with {' or '.join(absent)} samples.", ""] if absent else lines


def closing(results: Results, about: About) -> list[str]:
    return [
        "## The tasks",
        "",
        *(described(t) for t in TASKS),
        "",
        "A sample is a structure with its labels, or a pair of successive states of a field. Parts are nested: the 10 "
        "samples are among the 50. What of a training pool is also in the test records, by structure, was taken out (3 "
        "frames of silicon). Test sets are capped, as the list says, so that a cell stays short.",
        "",
        "## Settings",
        "",
        "Defaults of `atomfield finetune`, except for what the table `transfer_settings` chose on records that are "
        "neither trained on nor tested on. Both pretrained starts have the same settings. Trials: how many settings that "
        "table compared.",
        "",
        *settings_table(about),
        "",
        "## The checkpoints",
        "",
        "By the first digits of the sha256 of their weights:",
        "",
        *starts_of(results),
        "",
        *about.notes.splitlines(),
    ]  # fmt: skip
