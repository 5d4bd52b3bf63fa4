"""Generated data become a store in chunks, so that a kill at any moment loses only the chunks that were being made.

A chunk is a small frozen description (a dataclass of plain values), ``make(chunk)`` its graphs and counts: a function at the
top of a module, whose result depends on the chunk alone. What is done lies in ``.NAME.partial`` beside the store with a
journal; the same call goes on from there, and the store has the same bytes for any number of processes and any interruption.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, TypeVar

from ..errors import InputError, Provenance
from ..graph import Graph
from ..journal import Entry, Journal
from ..quantities import Quantity
from ..schema import decode
from ..shards import Form, Shard, ShardWriter, write_synced
from ..store import is_store, read_index, refuse_occupied, write_store
from ..tally import Tally
from .parallel import one_thread_each
from .progress import ChunkProgress

Chunk = TypeVar("Chunk", bound=Hashable)
REPORT = "report.json"
Counts = dict[str, dict[str, int]]
"""Heading -> name -> count, for example ``{"dropped": {"not converged": 3}}``; added up over chunks."""


@dataclass(frozen=True)
class Made:
    """What one chunk gives: its graphs (their provenance is set when they are stored) and counts for the report."""

    graphs: list[Graph]
    counts: Counts = field(default_factory=dict)


def build_store(
    out: Path,
    chunks: Sequence[Chunk],
    make: Callable[[Chunk], Made],
    *,
    recipe: Any,
    source: str,
    report: dict[str, Any] | None = None,
    num_processes: int = 1,
    form: Form = "arrow",
    progress: bool = True,
) -> dict[str, Any]:
    """Make all ``chunks`` and write one store with a ``report.json``: ``report`` and the added counts, which is returned.

    recipe: JSON of what else decides the result (seed, sizes, versions); a draft of another recipe is begun anew. source: what
    provenance names, for example ``atomfield.data.generate/molecules``. num_processes: 0 works in this process.

    A finished store of the same recipe is left as it is. Raises ``InputError`` for an ``out`` that holds something else, while
    another process is at it, if a worker is killed from outside, and if no chunk gives a graph.
    """
    made_from = _digest([recipe, source, form, [repr(chunk) for chunk in chunks]])
    if is_store(out) and read_index(out).get("made_from") == [made_from]:
        return json.loads((out / REPORT).read_text())
    refuse_occupied(out)
    journal = Journal(out.parent / f".{out.name}.partial", made_from)
    try:
        todo = [number for number in range(len(chunks)) if (0, number) not in journal.chunks]
        title, done = source.rpartition("/")[2], len(chunks) - len(todo)
        with ChunkProgress(title, len(chunks), done, shown=progress) as shown:
            work = [(number, chunks[number]) for number in todo]
            for entry in _entries(work, make, journal.draft, num_processes):
                journal.add(entry)
                shown.advance(entry["tally"]["num_records"])
        _finish(out, journal, made_from, source, report or {}, form)
    finally:
        journal.close()
    shutil.rmtree(journal.draft)
    return json.loads((out / REPORT).read_text())


# ---------------------------------------------------------------------- make
def _one_thread() -> AbstractContextManager[object]:
    """As in processes of their own: sums over several threads differ in their last bits, and then so would the store."""
    if util.find_spec("threadpoolctl") is None:  # part of the extra that has the quantum chemistry
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1)


def _entries(
    todo: list[tuple[int, Chunk]], make: Callable[[Chunk], Made], draft: Path, num_processes: int
) -> Iterator[Entry]:
    """The journal's entry of each chunk as it is done."""
    if num_processes < 1:
        for number, chunk in todo:
            with _one_thread():
                entry = _draft_chunk(make, draft, number, chunk)
            yield entry
        return
    if not todo:
        return
    context = multiprocessing.get_context("spawn")
    with one_thread_each(), ProcessPoolExecutor(num_processes, context, _begin) as pool:
        waiting = iter(todo)
        running: set[Future[Entry]] = set()
        try:
            while True:
                for number, chunk in waiting:
                    running.add(pool.submit(_draft_chunk, make, draft, number, chunk))
                    if len(running) > num_processes:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise InputError(
                "a worker process was ended from outside (out of memory?); the same command goes on where it stopped, "
                "fewer --jobs need less memory"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin() -> None:
    """A worker ends with the process that started it, however that ends; an interrupt is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _draft_chunk(make: Callable[[Chunk], Made], draft: Path, number: int, chunk: Chunk) -> Entry:
    """Make one chunk and write its shards. The process is in their names: one that outlives a kill disturbs nobody."""
    made = make(chunk)
    writer, tally = ShardWriter(draft, f"chunk-{number:06d}-{os.getpid()}-", "arrow", 10_000), Tally()
    for graph in made.graphs:
        tally.add(graph)
        writer.add(graph)
    writer.flush()
    return {
        "part": 0,
        "chunk": number,
        "shards": writer.entries,
        "tally": tally.summary(),
        "counts": made.counts,
    }


# ---------------------------------------------------------------------- finish
def _finish(
    out: Path, journal: Journal, made_from: str, source: str, report: dict[str, Any], form: Form
) -> None:
    """The chunks in order become the shards of one store."""
    entries = journal.in_order()
    whole = out.parent / f".{out.name}.whole"
    shutil.rmtree(whole, ignore_errors=True)
    index = write_store(_stamped(journal.draft, entries, source), whole, form=form)
    index["made_from"] = [made_from]
    counted = {**report, **added(entry["counts"] for entry in entries)}
    write_synced(whole / REPORT, (json.dumps(counted, indent=1) + "\n").encode())
    write_synced(whole / "index.json", json.dumps(index, indent=1).encode())
    if out.exists():
        shutil.rmtree(out)
    os.rename(whole, out)


def _stamped(draft: Path, entries: list[Entry], source: str) -> Iterator[Graph]:
    """All graphs in order, with their provenance: the generator, the number in the store, our licence."""
    number = 0
    for entry in entries:
        properties = {name: Quantity(name=name, **q) for name, q in entry["tally"]["properties"].items()}
        for listed in entry["shards"]:
            shard = Shard(draft / listed["file"], listed)
            for row in range(shard.rows):
                graph = decode(partial(_value, shard, row), shard.names, properties)
                yield graph.changed(provenance=Provenance(source, number, licence="Apache-2.0"))
                number += 1


def _value(shard: Shard, row: int, column: str) -> Any:
    return shard.value(column, row)


def added(counts: Iterable[Counts]) -> Counts:
    """Counts of several chunks (or stores) as one, names in alphabetical order."""
    total: dict[str, Counter[str]] = {}
    for one in counts:
        for heading, names in one.items():
            total.setdefault(heading, Counter()).update(names)
    return {heading: dict(sorted(total[heading].items())) for heading in sorted(total)}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
