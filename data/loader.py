"""Batches made ahead of the training step, in the order asked for, by a thread or by worker processes.

What comes out depends on the keys alone, so any number of workers gives the same batches in the same order. Key number ``i`` goes
to worker ``i % workers``; a thread of this process per worker waits for its results and keeps a few ready.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from .errors import InputError
from .graph import GraphBatch

Key = TypeVar("Key")


class Loader(Iterator[GraphBatch], Generic[Key]):
    """``make(key)`` for each of ``keys``, some of them ahead of time. Use it in a ``with``: leaving it ends its workers.

    workers: 0, one thread of this process makes the batches; n, so many processes do (``make`` is then sent to each: it must be
    an object of a module, not a local function). ahead: batches kept ready per worker.
    pin: put them into page-locked memory, from which a copy to a GPU runs beside the computation.
    ``waited`` is the time in seconds that ``next`` has spent waiting so far.

    Raises what ``make`` raised, at the batch that it belongs to: ``InputError`` as it was, anything else as ``RuntimeError`` with
    the worker's traceback. ``InputError`` if a worker process dies.
    """

    def __init__(
        self,
        make: Callable[[Key], GraphBatch],
        keys: Iterable[Key],
        *,
        workers: int = 0,
        ahead: int = 2,
        pin: bool = False,
    ):
        assert workers >= 0 and ahead >= 1, "workers >= 0 and ahead >= 1"
        self.waited = 0.0
        self._stop = threading.Event()
        self._turn = 0
        self._queues: list[queue.Queue[Any]] = []
        self._processes: list[_Process] = []
        self._threads: list[threading.Thread] = []
        # tee keeps only what the slowest worker has not taken yet
        for number, own in enumerate(_dealt(keys, max(1, workers))):
            produce: Callable[[Key], GraphBatch] = make
            if workers:
                self._processes.append(_Process(make))
                produce = self._processes[-1].ask
            self._queues.append(queue.Queue(maxsize=ahead))
            self._threads.append(
                threading.Thread(
                    target=self._fill,
                    args=(own, produce, self._queues[-1], pin),
                    name=f"data-{number}",
                    daemon=True,
                )
            )
        for thread in self._threads:
            thread.start()

    def _fill(
        self, keys: Iterator[Key], produce: Callable[[Key], GraphBatch], ready: queue.Queue[Any], pin: bool
    ) -> None:
        try:
            for key in keys:
                batch = produce(key)
                self._offer(ready, batch.pinned() if pin else batch)
                if self._stop.is_set():
                    return
            self._offer(ready, StopIteration())
        except BaseException as error:  # handed to the one who asks for this batch
            self._offer(ready, error)

    def _offer(self, ready: queue.Queue[Any], thing: Any) -> None:
        while not self._stop.is_set():
            try:
                return ready.put(thing, timeout=0.1)
            except queue.Full:
                continue

    def __next__(self) -> GraphBatch:
        if self._stop.is_set():
            raise StopIteration
        began = time.perf_counter()
        thing = self._taken(self._queues[self._turn % len(self._queues)])
        self.waited += time.perf_counter() - began
        self._turn += 1
        if isinstance(thing, GraphBatch):
            return thing
        self.close()
        if isinstance(thing, (InputError, StopIteration, RuntimeError)):
            raise thing
        raise RuntimeError(f"a batch could not be made: {type(thing).__name__}: {thing}") from thing

    def _taken(self, ready: queue.Queue[Any]) -> Any:
        """The next of ``ready``. The wait ends every second: Python's handlers run in the main thread, which does not wake for a
        signal that the system gave to another one."""
        while True:
            try:
                return ready.get(timeout=1.0)
            except queue.Empty:
                continue

    def close(self) -> None:
        """End the workers, whatever they are doing."""
        self._stop.set()
        for process in self._processes:
            process.process.kill()
        for thread in self._threads:
            thread.join(5)
        for process in self._processes:
            process.process.join(5)
            process.connection.close()

    def __enter__(self) -> Loader[Key]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _dealt(keys: Iterable[Key], workers: int) -> list[Iterator[Key]]:
    """``keys`` dealt to ``workers`` like cards; several threads may draw at once."""
    if workers == 1:
        return [iter(keys)]
    lock, hands = threading.Lock(), itertools.tee(keys, workers)

    def hand(number: int) -> Iterator[Key]:
        place = itertools.islice(hands[number], number, None, workers)
        while True:
            with lock:  # the copies of tee share their source
                try:
                    key = next(place)
                except StopIteration:
                    return
            yield key

    return [hand(number) for number in range(workers)]


# ---------------------------------------------------------------------- processes
class _Process:
    """One worker process that answers one key at a time."""

    def __init__(self, make: Callable[[Any], GraphBatch]):
        import multiprocessing

        context = multiprocessing.get_context("spawn")  # a fork of a process with OpenMP threads may hang
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, key: Any) -> GraphBatch:
        try:
            self.connection.send(key)
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(1)
            raise InputError(
                f"a data worker ended by itself (exit code {self.process.exitcode}), most often because memory ran out; "
                "use fewer workers"
            ) from None
        match kind:
            case "batch":
                return GraphBatch(**content).mapped(torch.from_numpy)
            case "input":
                raise InputError(*content)
            case _:
                raise RuntimeError(f"a batch could not be made; in the worker:\n{content}")


def _serve(connection: Connection, make: Callable[[Any], GraphBatch]) -> None:
    """The life of a worker: it ends with its parent, and leaves signals to it: clusters send theirs to all processes of a job,
    and the parent needs its batches until it has saved."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    torch.set_num_threads(1)
    while True:
        try:
            key = connection.recv()
        except (EOFError, OSError):
            return
        try:
            # as arrays, which travel as bytes: each tensor would take a file handle
            answer: tuple[str, Any] = ("batch", make(key).mapped(Tensor.numpy).parts())
        except InputError as error:
            answer = ("input", (error.message, error.where))
        except Exception:
            answer = ("bug", traceback.format_exc())
        try:
            connection.send(answer)
        except OSError:
            return
