"""The README of a finetuned checkpoint: what it predicts, from which data under which licence, how well, how it was made."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ase.data import chemical_symbols

from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_STATES
from atomfield.inference.silent import silent

from .report import number, versions

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

    from .config import FinetuneConfig
    from .parts import Parts
    from .tasks import Task

MOST_FILES = 8


def card(
    config: FinetuneConfig,
    net: AtomFieldNet,
    task: Task,
    parts: Parts,
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Markdown with the front matter that the Hugging Face Hub reads; ``metrics`` of the evaluation once there are any."""
    origin = "random weights" if config.start == "scratch" else f"the checkpoint `{Path(config.start).name}`"
    training = sys.argv[1:2] == ["finetune"]
    command = shlex.join(["atomfield", *sys.argv[1:]]) if training else "atomfield finetune config.yaml"
    return "\n".join(
        [
            "---",
            "library_name: atomfield",
            "license: apache-2.0",
            "---",
            f"# AtomField: {', '.join(task.names)}",
            "",
            f"Finetuned from {origin} on {len(parts.train)} records ({len(parts.valid)} for validation), seed {config.seed}. "
            f"{sum(p.numel() for p in net.parameters()):,} parameters; levels: {', '.join(net.config.levels)}.",
            "",
            "```python",
            "import atomfield",
            'model = atomfield.load("path/to/this/folder")',
            "```",
            "",
            "## What it predicts",
            "",
            *_predicts(net, task),
            "",
            "## How well",
            "",
            *_results(task, parts, metrics or {}),
            "",
            "## Data",
            "",
            *_data(parts.train),
            "",
            "The licence above is that of the code and the weights; what the licences of the data ask of models made from them "
            "holds too.",
            "",
            "## What it is not for",
            "",
            *_limits(net, task, parts.train),
            "",
            "## How it was made",
            "",
            f"`{command}`",
            "",
            ", ".join(versions()) + ".",
            "",
        ]
    )


def _predicts(net: AtomFieldNet, task: Task) -> list[str]:
    own = {p.name: p for p in net.config.properties}
    lines = []
    for name in task.names:
        prop = own.get(name)
        if prop is None:
            lines.append(f"- `{name}`")
            continue
        what = prop.kind if prop.kind != "regression" else f"irreps {prop.irreps}"
        where = "per atom" if prop.support == "node" else f"per structure, {prop.pooling} over atoms"
        lines.append(f"- `{name}`: {what}, {where}" + (f", {prop.unit}" if prop.unit else ""))
        if prop.classes:
            lines[-1] += f"; classes {', '.join(prop.classes)}"
        if prop.trees is not None:
            seen = "descriptors of the chemical graph" if prop.trees.descriptors else "fixed features"
            lines[-1] += f"; {prop.trees.count} decision trees on {seen}, so it has no derivative"
    about = net.config.uncertainty
    if about is not None and about.targets:
        units = ", ".join(f"{n} ({k})" for n, k in zip(about.targets, about.calibration_units, strict=True))
        lines += [
            "",
            f"Intervals are conformal, calibrated on independent validation {about.unit_kind}: {units}.",
        ]
    return lines


def _results(task: Task, parts: Parts, metrics: Mapping[str, float]) -> list[str]:
    """The error of each target beside its trivial baseline."""
    what = "validation records, which also chose the weights" if parts.test_is_valid else "test records"
    rows = []
    for key, value in metrics.items():
        ours = any(key.startswith(f"{n}_") for n in task.names)
        if not ours or key.endswith(("_ci_low", "_ci_high", "_without_overlap")):
            continue
        trivial = metrics.get(f"baseline_{key}", metrics.get(f"baseline_persistence_{key}"))
        shown = "" if trivial is None else number(trivial)
        rows.append(f"| {key} | {number(value)} | {shown} |")
    if not rows:
        return ["Not evaluated yet."]
    head = ["| measure | model | trivial baseline |", "|---|---|---|"]
    return [f"On {len(parts.test)} {what} (`docs/evaluation.md` defines each measure).", "", *head, *rows]


def _data(train: Sequence[Graph]) -> list[str]:
    files = Counter(g.provenance.file or "memory" for g in train)
    licences = Counter(g.provenance.licence or "not stated" for g in train)
    lines = [f"- `{Path(f).name}`: {n} training records" for f, n in files.most_common(MOST_FILES)]
    if len(files) > MOST_FILES:
        lines.append(f"- and {len(files) - MOST_FILES} more files")
    lines.append(f"- licence: {', '.join(f'{name} ({n} records)' for name, n in licences.most_common(5))}")
    return lines


def _limits(net: AtomFieldNet, task: Task, train: Sequence[Graph]) -> list[str]:
    lines = []
    if task.world == "atoms":
        known = sorted({z for g in train for z in g.species.tolist()})
        lines.append(
            f"- Elements other than {', '.join(chemical_symbols[z] for z in known)}, and charges or spins that the data lacks."
        )
        if mute := sorted(silent(net)):
            lines.append(f"- {', '.join(mute)}: it says nothing of these, which the targets do not teach.")
    elif given := sorted(
        {n for g in train for n in g.quantities if n in FIELD_STATES and n not in task.names}
    ):
        lines.append(
            f"- {', '.join(given)}: an input that a rollout has to be given at every step, no prediction."
        )
    lines.append(
        "- Records unlike the training data: `ood_score` is above 1 there, and intervals may be too narrow."
    )
    if len(net.config.levels) > 1:
        lines.append("- Other levels than the one it was finetuned on, whose answers may have moved.")
    return lines
