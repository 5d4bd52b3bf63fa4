"""Runs of a larger command that are finished: where it goes on after an interruption, it does not train them again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from .config import FinetuneConfig
from .parts import Parts
from .resume import differences, digest, given

FINISHED = "finished.json"


def asked_of(config: FinetuneConfig, parts: Parts) -> dict[str, Any]:
    """What decides the metrics of a run, as JSON."""
    return {
        "given": given(config, parts),
        "test": digest(parts.test),
        "trials": config.search,
        "control": config.control,
        "uncertainty": config.uncertainty,
    }


def known(out: Path, asked: dict[str, Any], console: Console) -> Any:
    """What was remembered of the run in ``out``, which is said; None where it was asked for something else, and where there is
    nothing."""
    file = out / FINISHED
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if not _same(kept["asked"], asked):
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    console.print(
        f"{out}: finished before, nothing is trained again (remove {file} to train it anew)",
        highlight=False,
        markup=False,
    )
    return kept["found"]


def _same(before: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether what was asked for before is the same, by what an older version knew of it."""
    rest = [{k: v for k, v in one.items() if k != "given"} for one in (before, asked)]
    return rest[0] == rest[1] and not differences(before["given"], asked["given"])


def remember(out: Path, asked: dict[str, Any], found: Any) -> None:
    """``found``: JSON."""
    draft = out / f"{FINISHED}.tmp"
    draft.write_text(json.dumps({"asked": asked, "found": found}, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, out / FINISHED)


def forget(out: Path) -> None:
    """The run in ``out`` is trained anew the next time."""
    (out / FINISHED).unlink(missing_ok=True)
