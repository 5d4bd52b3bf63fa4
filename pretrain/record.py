"""What a run writes about itself: ``metrics.jsonl`` (the truth), ``skipped.jsonl``, a progress bar on rank 0, and wandb
(offline unless told otherwise)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
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
        self.out, self.main, self.total = out, main, total
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

            # one id for all attempts of a run: they become one run, whichever of them was interrupted
            known = out / "wandb_id"
            if not known.is_file():
                known.write_text(secrets.token_hex(4))
            with self._wandb_may_fail():
                self.wandb = tracker.init(
                    project="atomfield",
                    id=known.read_text(),
                    group=out.name,
                    resume="allow",
                    dir=str(out),
                    mode=wandb,
                    config=config or {},
                    settings=tracker.Settings(silent=True),
                )
                # steps after the last checkpoint come a second time, and wandb's own counter only goes up
                self.wandb.define_metric("*", step_metric="step")

    def advance(self, step: int, note: str = "", total: int | None = None) -> None:
        if self.main:
            self.bar.update(self.task, completed=step, note=note, total=total or self.total)

    def say(self, lines: Iterable[str]) -> None:
        """Sentences for the person, above the bar."""
        if self.main:
            for line in lines:
                self.bar.console.print(line, highlight=False, markup=False)

    def write(self, row: dict[str, Any]) -> None:
        if self.main:
            self.file.write(json.dumps(row) + "\n")
            self.file.flush()
            if self.wandb is not None:
                with self._wandb_may_fail():
                    self.wandb.log(row)
            # no bar is drawn into the log of a cluster
            if "valid_score" in row and not self.bar.console.is_terminal:
                self.say([f"step {row['step']}: validation score {row['valid_score']:.4g}"])

    def skipped(self, row: dict[str, Any]) -> None:
        """A step that was skipped, or a rollback: one line in ``skipped.jsonl``, which is only ever added to."""
        if self.main:
            with (self.out / "skipped.jsonl").open("a") as file:
                file.write(
                    json.dumps({"time": datetime.now(UTC).isoformat(timespec="seconds"), **row}) + "\n"
                )
            self.bar.console.print(f"step {row['step']}: {row['cause']}, see {self.out / 'skipped.jsonl'}")

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self.main:
            self.bar.stop()
            self.file.close()
            if self.wandb is not None:
                with self._wandb_may_fail():
                    self.wandb.finish()

    @contextmanager
    def _wandb_may_fail(self) -> Iterator[None]:
        """A run does not die of its spectator: what wandb raises is said, and the run goes on without it."""
        try:
            yield
        except Exception as error:  # its service, the network and the disk, in classes of their own
            self.wandb = None
            self.say(
                [
                    f"wandb failed and is left out from here on ({type(error).__name__}: {error}); metrics.jsonl goes on"
                ]
            )
