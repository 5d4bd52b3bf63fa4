"""Processes that build the chunks of a store together. Each goes through all parts; who first comes to a chunk takes it.

One counter per part says which chunk nobody has taken yet. Nothing else is shared, and what is written does not depend on
who wrote it. Workers end with the process that started them, however that ends.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from typing import Any

from .chunks import Failure, Recipe, build_chunks
from .errors import InputError
from .journal import Journal

logger = logging.getLogger("atomfield")


def build_here(recipe: Recipe, journal: Journal, progress: Callable[[int], None]) -> None:
    """Build what the journal lacks in this process. Raises :class:`Failure`."""
    finished = [part for part in range(len(recipe.parts)) if journal.is_done(part)]
    build_chunks(
        recipe,
        finished,
        lambda part, chunk: (part, chunk) not in journal.chunks,
        lambda: False,
        journal.add,
        progress,
    )


def build_together(recipe: Recipe, journal: Journal, progress: Callable[[int], None], workers: int) -> None:
    """Build what the journal lacks in ``workers`` processes. Raises :class:`Failure`, of several the first in the order of the
    records, and ``InputError`` if a process is killed."""
    context = multiprocessing.get_context("spawn")
    finished = [part for part in range(len(recipe.parts)) if journal.is_done(part)]
    claims, stop = context.Array("q", len(recipe.parts)), context.Event()
    counts = context.Array("q", workers, lock=False)
    pipes: dict[Connection, Any] = {}
    try:
        with _one_thread_each():
            for number in range(workers):
                ours, theirs = context.Pipe(duplex=False)
                work = (
                    recipe,
                    finished,
                    list(journal.chunks),
                    claims,
                    stop,
                    counts,
                    number,
                    theirs,
                    logger.getEffectiveLevel(),
                )
                process = context.Process(target=_work, args=work, daemon=True)
                process.start()
                theirs.close()
                pipes[ours] = process
        failures = _collect(pipes, journal, stop, lambda: progress(sum(counts)))
    finally:
        for process in pipes.values():
            process.kill()
            process.join()
    if failures:
        raise min(failures, key=lambda failure: failure.place)


def lost_worker(exit_code: int | None) -> InputError:
    """What to tell when a process of work that can go on is gone."""
    return InputError(
        f"a worker process was ended from outside (exit code {exit_code}; out of memory?); the same command goes on where it "
        "stopped, fewer --workers need less memory"
    )


def _collect(
    pipes: dict[Connection, Any], journal: Journal, stop: Any, progress: Callable[[], None]
) -> list[Failure]:
    """Take in what the workers send until all are done."""
    failures: list[Failure] = []
    said: set[str] = set()
    open_pipes = set(pipes)
    while open_pipes:
        for ready in wait(open_pipes, timeout=0.2):
            assert isinstance(ready, Connection)
            try:
                kind, content = ready.recv()
            except (EOFError, OSError):
                pipes[ready].join()
                raise lost_worker(pipes[ready].exitcode) from None
            match kind:
                case "entry":
                    journal.add(content)
                case "log":
                    if content not in said:
                        said.add(content)
                        logger.log(*content)
                case "failure":
                    failures.append(Failure(*content))
                    stop.set()
                case "error":
                    raise RuntimeError(f"a worker process failed:\n{content}")
            if kind in ("failure", "done"):
                open_pipes.discard(ready)
        progress()
    return failures


@contextmanager
def _one_thread_each() -> Any:
    """The children read it when they load their libraries."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


class _Sender(logging.Handler):
    """What is logged goes to the process that started this one, which says it once for all workers."""

    def __init__(self, pipe: Connection):
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        self._pipe.send(("log", (record.levelno, record.getMessage())))


def _work(
    recipe: Recipe, finished: list[int], done: list[tuple[int, int]], claims: Any, stop: Any, counts: Any, number: int,
    pipe: Connection, level: int,
) -> None:  # fmt: skip
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logger.addHandler(_Sender(pipe))
    logger.propagate = False
    logger.setLevel(level)
    ready = set(done)

    def claim(part: int, chunk: int) -> bool:
        with claims.get_lock():
            if claims[part] > chunk or stop.is_set():
                return False
            claims[part] = chunk + 1
        return (part, chunk) not in ready

    def count(records: int) -> None:
        counts[number] += records

    try:
        build_chunks(recipe, finished, claim, stop.is_set, lambda entry: pipe.send(("entry", entry)), count)
        pipe.send(("done", None))
    except Failure as failure:
        pipe.send(("failure", failure.args))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
