"""Work through a list of jobs with a progress bar, in this process or several; results come in the order of the jobs."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from rich.progress import track

Job = TypeVar("Job")
Out = TypeVar("Out")


def each(
    function: Callable[[Job], Out],
    jobs: Sequence[Job],
    *,
    num_processes: int,
    title: str,
    progress: bool = True,
) -> Iterator[Out]:
    """``function(job)`` for every job, in order: the result does not depend on ``num_processes``.

    ``function`` must be defined at the top of a module. Processes are spawned and use one thread each.
    """
    yield from track(
        _results(function, jobs, num_processes),
        total=len(jobs),
        description=f"{title:28s}",
        disable=not progress,
    )


def _results(function: Callable[[Job], Out], jobs: Sequence[Job], num_processes: int) -> Iterable[Out]:
    if num_processes <= 1 or len(jobs) < 2:
        yield from map(function, jobs)
        return
    with one_thread_each(), multiprocessing.get_context("spawn").Pool(num_processes) as pool:
        yield from pool.imap(function, jobs, chunksize=max(1, min(16, len(jobs) // (8 * num_processes))))


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that are started here use one thread each: they read it when they load their libraries."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
