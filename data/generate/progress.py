"""How far a long piece of work is: a bar on a terminal, else a line now and then, with the rate and the time that is left."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class ChunkProgress:
    """Chunks of like cost that are done one by one. ``title``, ``done`` of ``total`` chunks were done before."""

    def __init__(self, title: str, total: int, done: int = 0, *, shown: bool = True):
        self._title, self._total, self._done, self._before = title, total, done, done
        self._records, self._begun, self._said, self._shown = 0, time.monotonic(), time.monotonic(), shown
        self._stack = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> ChunkProgress:
        if self._shown and sys.stderr.isatty():
            columns = (TextColumn("{task.description}"), BarColumn())
            self._bar = self._stack.enter_context(Progress(*columns, console=Console(stderr=True)))
            self._bar.add_task(self._text(), total=self._total, completed=self._done)
        elif self._shown and self._done:
            print(f"{self._title}: goes on after {self._done} of {self._total} chunks", file=sys.stderr)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def advance(self, records: int) -> None:
        """One more chunk is done, which gave ``records``."""
        self._done += 1
        self._records += records
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], advance=1, description=self._text())
        elif self._shown and (time.monotonic() - self._said > _EVERY or self._done == self._total):
            self._said = time.monotonic()
            print(self._text(), file=sys.stderr, flush=True)

    def _text(self) -> str:
        passed = time.monotonic() - self._begun
        new = self._done - self._before
        left = f"{(self._total - self._done) * passed / new / 60:.1f} min left" if new else "just begun"
        return (
            f"{self._title}: {self._done}/{self._total} chunks, {self._records} records now, "
            f"{self._records / max(passed, 1e-3):.1f} records/s, {left}"
        )
