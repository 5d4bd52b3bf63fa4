"""Runs of a larger command that are finished: where it goes on after an interruption, it does not train them again."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from rich.console import Console

from .config import FinetuneConfig
from .parts import Parts
from .resume import digest, given

FINISHED = "finished.json"


def settings_of(config: FinetuneConfig, parts: Parts) -> str:
    """A digest of what decides the weights of a run: settings, the checkpoint that it starts from, and the content of its
    training and validation records."""
    return hashlib.sha256(json.dumps(given(config, parts), sort_keys=True).encode()).hexdigest()


def asked_of(config: FinetuneConfig, parts: Parts) -> dict[str, Any]:
    """What decides the metrics of a run, as JSON."""
    return {
        "settings": settings_of(config, parts),
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
        if kept["asked"] != asked:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    console.print(
        f"{out}: finished before, nothing is trained again (remove {file} to train it anew)",
        highlight=False,
        markup=False,
    )
    return kept["found"]


def remember(out: Path, asked: dict[str, Any], found: Any) -> None:
    """``found``: JSON."""
    draft = out / f"{FINISHED}.tmp"
    draft.write_text(json.dumps({"asked": asked, "found": found}, indent=1) + "\n", encoding="utf-8")
    os.replace(draft, out / FINISHED)


def forget(out: Path) -> None:
    """The run in ``out`` is trained anew the next time."""
    (out / FINISHED).unlink(missing_ok=True)
