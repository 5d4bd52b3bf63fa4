"""A progress bar for reading that takes long: on a terminal only, and only after two seconds."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")
_PATIENCE = 2.0


def counted(items: Sequence[Item], title: str) -> Iterator[Item]:
    """The items, with a bar on the terminal while they are consumed."""
    if not sys.stderr.isatty() or multiprocessing.parent_process() is not None:
        yield from items
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    task = bar.add_task(title, total=len(items))
    begun, shown = time.monotonic(), False
    try:
        for i, item in enumerate(items):
            if not shown and time.monotonic() - begun > _PATIENCE:
                bar.start()
                shown = True
            if shown:
                bar.update(task, completed=i)
            yield item
    finally:
        if shown:
            bar.stop()
