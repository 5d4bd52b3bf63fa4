"""A progress bar that counts, with a note, on a terminal; nothing elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[..., None]
"""``advance(note="", amount=1)``: called after each piece of work."""


@contextmanager
def counted(title: str, total: int, shown: bool = False, console: Console | None = None) -> Iterator[Advance]:
    """A bar of ``total`` pieces while the block runs; yields the function that advances it."""
    if not shown:
        yield lambda note="", amount=1: None
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
        yield lambda note="", amount=1: bar.update(task, advance=amount, note=note)
