"""A pretraining run that ends by time alone, in a process of its own: no validation or checkpoint before its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

UNTIL_THE_TIME = {
    "steps": 1_000_000, "save_every": 1_000_000, "validate_every": 1_000_000, "device": "cpu", "wandb": "disabled",
    "zero_stage": 0,
}  # fmt: skip


def timed_pretraining(settings: dict[str, Any]) -> dict[str, Any]:
    """Run ``atomfield pretrain`` with ``settings``, whose ``out`` and ``max_time`` (s) must be given; returns the last row of its
    record (``step``, ``seconds``, errors)."""
    out = Path(settings["out"])
    out.mkdir(parents=True, exist_ok=True)
    (out / "given.yaml").write_text(yaml.safe_dump({**settings, **UNTIL_THE_TIME}, sort_keys=False))
    subprocess.run([sys.executable, "-m", "atomfield", "pretrain", str(out / "given.yaml")], check=True)
    return json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])
