"""Marks of the training records beside a finetuned model (``data/checks/seen.py``): an evaluation on them says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from atomfield.data.checks.seen import Seen
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.models import checkpoint

from .config import FinetuneConfig

FILE = "trained_on.json"


def write(folder: Path, config: FinetuneConfig, train: Sequence[Graph]) -> None:
    """Into the folder of a checkpoint, with what its own start was finetuned on."""
    afresh = config.start == "scratch" or config.strategy == "scratch"
    seen = [Seen.of(train, config.target), *([] if afresh else read(checkpoint.find(config.start)))]
    listed = [{"by": s.by, "records": s.records, "whole": s.whole, "marks": sorted(s.marks)} for s in seen]
    (folder / FILE).write_text(json.dumps({"trained_on": listed}) + "\n", encoding="utf-8")


def read(folder: Path) -> list[Seen]:
    """Nothing where the checkpoint has none; raises ``InputError`` for a file that is none of ours."""
    file = folder / FILE
    if not file.is_file():
        return []
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))["trained_on"]
        return [Seen(s["by"], s["records"], s["whole"], frozenset(s["marks"])) for s in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"is damaged ({error!r}), expected marks of training records; remove it to do without", str(file)
        ) from error


def note(folder: str | Path, graphs: Sequence[Graph]) -> str:
    """A sentence where the checkpoint in ``folder`` was trained on some of ``graphs``, or empty."""
    found = [(*seen.among(graphs), seen.by) for seen in read(checkpoint.find(folder))]
    count, compared, by = max(found, default=(0, 0, "structure"))
    if not count:
        return ""
    which = "records" if compared == len(graphs) else f"records that can be compared (of {len(graphs)})"
    return (
        f"{count} of {compared} {which} have the {by} of a record that this checkpoint was trained on: "
        "their errors say nothing about new records"
    )
