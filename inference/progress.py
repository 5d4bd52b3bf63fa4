"""A progress bar that counts, with a note, on a terminal; nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[str], None]
"""Called after each piece of work, with a note (may be empty)."""


@contextmanager
def counted(title: str, total: int, shown: bool = False, console: Console | None = None) -> Iterator[Advance]:
    """A bar of ``total`` pieces while the block runs; yields the function that advances it by one."""
    if not shown:
        yield lambda note: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=total, note="")
        yield lambda note: bar.update(task, advance=1, note=note)
