"""What a run writes about itself: ``metrics.jsonl`` (the truth), a progress bar on rank 0, and wandb
(offline unless told otherwise)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class Record:
    """Opened by every rank, silent on all but the main one."""

    def __init__(
        self,
        out: Path,
        total: int,
        *,
        main: bool,
        title: str,
        wandb: Literal["disabled", "offline", "online"] = "disabled",
        config: dict[str, Any] | None = None,
        start: int = 0,
    ):
        self.main, self.total = main, total
        self.wandb: Any = None
        if not main:
            return
        self.file = (out / "metrics.jsonl").open("a")
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self.task = self.bar.add_task(title, total=total, completed=start, note="")
        self.bar.start()
        if wandb != "disabled":
            import wandb as tracker

            self.wandb = tracker.init(
                project="atomfield",
                dir=str(out),
                mode=wandb,
                config=config or {},
                settings=tracker.Settings(silent=True),
            )

    def advance(self, step: int, note: str = "", total: int | None = None) -> None:
        if self.main:
            self.bar.update(self.task, completed=step, note=note, total=total or self.total)

    def write(self, row: dict[str, Any]) -> None:
        if self.main:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            if self.wandb is not None:
                self.wandb.log(row, step=row.get("step"))

    def close(self) -> None:
        if self.main:
            self.bar.stop()
            self.file.close()
            if self.wandb is not None:
                self.wandb.finish()
