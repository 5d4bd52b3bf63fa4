"""The page ``docs/transfer.md``: tables and sentences made of the results of the table ``transfer``."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from cells import Cell
from markdown import table, wrapped
from transfer_results import EVERY, OWN, SCRATCH, Results, collect, median_ratio, summary, verdict
from transfer_tasks import TASKS, WORLDS, TransferTask


# ---------------------------------------------------------------- tables
def number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def spread(values: Sequence[float]) -> str:
    """Median, and the range of the seeds where there are several."""
    if not values:
        return ""
    text = number(statistics.median(values))
    return text if len(values) < 2 else f"{text} ({number(min(values))} to {number(max(values))})"


def seconds_text(times: Sequence[float]) -> str:
    """Median; how many seeds never get there."""
    if not times:
        return ""
    never = sum(math.isinf(t) for t in times)
    middle = statistics.median_high(times)
    text = "not reached" if math.isinf(middle) else f"{middle:.0f}"
    return text if not never or math.isinf(middle) else f"{text} ({never} of {len(times)} not)"


def errors_table(results: Results, samples: str) -> list[str]:
    rows = []
    for task in TASKS:
        trivial = [
            v["trivial"] for (_, t, n, _), v in results.values.items() if (t, n) == (task.name, samples)
        ]
        row = [f"{task.name}, {task.unit}", number(statistics.median(trivial)) if trivial else ""]
        row += [spread(results.errors(r, task.name, samples)) for r in (SCRATCH, OWN, EVERY)]
        for start in (OWN, EVERY):
            ratio = median_ratio(results, start, task.name, samples)
            row.append("" if ratio is None else f"{ratio:.2f}")
        rows.append(row)
    return table(
        ("task", "trivial", "scratch", "own world", "all worlds", "own / scratch", "all / scratch"), rows
    )


def times_table(results: Results, samples: str) -> list[str]:
    rows = [
        [t.name, *(seconds_text(results.times(r, t.name, samples)) for r in (SCRATCH, OWN, EVERY))]
        for t in TASKS
    ]
    return table(("task", "scratch", "own world", "all worlds"), rows)


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
    for row, world in [(OWN, w) for w in WORLDS] + [(EVERY, "")]:
        found = {
            v["start"] for (r, t, _, _), v in results.values.items() if r == row and world in ("", worlds[t])
        }
        if found:
            mixed = " **(cells of different checkpoints)**" if len(found) > 1 else ""
            lines.append(f"- {row}{f', {world}' if world else ''}: `{'`, `'.join(sorted(found))}`{mixed}")
    return lines


def costs(results: Results) -> str:
    """Processor seconds of a command beside its training, and steps."""
    if not results.values:
        return ""
    training = [v["training_processor_s"] for v in results.values.values()]
    rest = [v["processor_s"] - v["training_processor_s"] for v in results.values.values()]
    steps = [v["steps"] for v in results.values.values()]
    return (
        f"A cell trained for {statistics.median(training):.0f} s of processor time on one thread, {min(steps):.0f} to "
        f"{max(steps):.0f} steps by the task; imports, reading and the test took {statistics.median(rest):.0f} s more in "
        "the median."
    )


def described(task: TransferTask) -> str:
    return f"- **{task.name}** ({task.world}, {task.unit}): {task.about}."


# ---------------------------------------------------------------- page
def write_page(
    cells: Sequence[Cell],
    folder: Path,
    docs: Path,
    samples: Sequence[str],
    settings: Mapping[tuple[str, str], str],
) -> None:
    """``docs/transfer.md`` with its two pictures in ``docs/images``."""
    from transfer_plots import draw_curves, draw_ratios, save

    results = collect(cells, folder)
    (docs / "transfer.md").write_text(page(results, samples, settings))
    if results.values:
        (docs / "images").mkdir(exist_ok=True)
        save(draw_ratios(results, samples[0]), docs / "images" / "transfer_ratios.png")
        save(draw_curves(results, samples), docs / "images" / "transfer_curves.png")


def page(results: Results, samples: Sequence[str], settings: Mapping[tuple[str, str], str]) -> str:
    """Markdown; ``samples`` as written in the columns, the first of them with all seeds."""
    lines = [
        *opening(results),
        *first_sections(results, samples[0]),
        *curve_section(results, samples),
        *closing(results, settings),
    ]
    return wrapped(lines).rstrip() + "\n"


def opening(results: Results) -> list[str]:
    return [
        "# Does pretraining pay?",
        "",
        "    python benchmarks/transfer.py data --data DIR --cache runs/transfer/data",
        "    python benchmarks/table.py transfer --checkpoints CKPTS",
        "",
        f"The second command makes this page. {results.finished} of {results.wanted} cells are finished, {results.failed} "
        f"failed; {results.busy} ran while others used the machine, too. Training is counted in processor time, so that "
        "costs a cell little.",
        "",
        "Three starts of the same network are finetuned on the same records for the same processor time: random weights "
        "(scratch), a checkpoint pretrained on the task's own world (molecules, crystals or fields), and one pretrained "
        "on all three. No record of a task was in pretraining, not even one to train on. Test records never train and "
        "are the same for all; validation records (a fifth of the training samples, ten at least) are those of the seed. "
        f"{costs(results)}",
    ]  # fmt: skip


def first_sections(results: Results, samples: str) -> list[str]:
    """Errors, time and worlds at the number of samples that has all seeds."""
    return [
        "",
        f"## Errors with {samples} samples",
        "",
        "Median and range over seeds. Trivial: the mean, zero forces, or persistence of a field that evolves. Ratios are "
        "medians of error / error from scratch with the same records.",
        "",
        *errors_table(results, samples),
        "",
        f"- **All worlds against scratch: {summary(results, EVERY, samples)}.**",
        f"- Own world against scratch: {summary(results, OWN, samples)}.",
        "",
        *picture(results, "Errors relative to training from scratch", "transfer_ratios.png"),
        "## Time to the scratch error",
        "",
        "Seconds of training until the validation error is first at or below the least that the run from scratch reached.",
        "",
        *times_table(results, samples),
        "",
        "## Do the worlds help each other?",
        "",
        "Error from the checkpoint of all worlds over error from that of the task's own world. A verdict is given where "
        "all seeds agree.",
        "",
        *worlds_table(results, samples),
    ]  # fmt: skip


def picture(results: Results, text: str, name: str) -> list[str]:
    return [f"![{text}](images/{name})", ""] if results.values else []


def curve_section(results: Results, samples: Sequence[str]) -> list[str]:
    lines = [
        "",
        "## More and fewer samples",
        "",
        *picture(results, "Errors by the number of samples", "transfer_curves.png"),
    ]
    for n in samples[1:]:
        if any(key[2] == n for key in results.values):
            lines += [f"### {n} samples", "", *errors_table(results, n), ""]
            lines += [f"All worlds against scratch: {summary(results, EVERY, n)}.", ""]
    return lines


def closing(results: Results, settings: Mapping[tuple[str, str], str]) -> list[str]:
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
        "neither trained on nor tested on, with as many trials from scratch as from a checkpoint:",
        "",
        *(f"- {start}, {kind}: `{text}`" for (start, kind), text in settings.items()),
        "",
        "Checkpoints, by the first digits of the sha256 of their weights:",
        "",
        *starts_of(results),
    ]  # fmt: skip
