"""Predictions for any number of records in bounded memory, by several processes or GPUs, going on after a kill.

Each process takes the next part (:class:`.parts.Parts`), decodes its records, packs them by edges and writes the part. What is
written depends on nothing but the model, the records and the options: not on the number of processes, nor on interruptions.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.readers import BadRecord
from atomfield.data.store import Store, is_store, write_store
from atomfield.data.subset import Subset
from atomfield.data.workers import lost_worker

from .interleaved import predict_interleaved
from .levels import with_level
from .parts import Parts
from .predict import Prediction, described, probabilities
from .progress import counted
from .unseen import refuse_unseen

if TYPE_CHECKING:
    from rich.console import Console

    from atomfield.models.network import AtomFieldNet


@dataclass(frozen=True)
class Work:
    """What every process is told. checkpoint: folder; source: a store, or records in memory; level: of all answers, "" for the
    one of each record."""

    checkpoint: Path
    device: str
    dtype: torch.dtype | None
    source: Sequence[Graph]
    parts: Parts
    forces: bool
    coverage: float | None
    skip_bad: bool
    max_edges: int
    level: str = ""


def predict_many(
    work: Work, *, workers: int = 1, progress: bool = False, console: Console | None = None
) -> tuple[int, list[BadRecord]]:
    """Write ``work.parts.out``; returns the number of records in it and what was refused.

    Raises ``InputError`` for a record that cannot be answered (an element that training never showed, an energy that
    is no number)
    unless ``skip_bad``; what was finished is kept, and the same call goes on from it.
    """
    if workers < 1:
        raise InputError(f"workers is {workers}, expected at least 1", "--workers")
    missing = work.parts.prepare()
    total = work.parts.num_records
    with counted("predicting", total, progress, console) as advance:

        def done(count: int) -> None:
            advance("", count)

        done(total - sum(len(work.parts.records(n)) for n in missing))
        if workers == 1 or len(missing) <= 1:
            net = _network(work, 0) if missing else None
            for number in missing:
                assert net is not None
                do_part(work, net, number)
                done(len(work.parts.records(number)))
        else:
            _together(_shared(work), missing, min(workers, len(missing)), done)
    bad = work.parts.bad()
    refuse_nothing_left(bad, total)
    return work.parts.join(), bad


def refuse_nothing_left(bad: Sequence[BadRecord], num_records: int) -> None:
    """Raise ``InputError`` where all records were refused, with the reason of the first."""
    if bad and len(bad) == num_records:
        raise InputError(
            f"all {num_records} records were refused, the first: {bad[0].where}: {bad[0].message}"
        )


def _shared(work: Work) -> Work:
    """With the records where every process can read them: those in memory become a store beside the parts."""
    if isinstance(work.source, (Store, Subset)):
        return work
    folder = work.parts.folder / "source"
    if not is_store(folder):
        write_store(work.source, folder)
    return replace(work, source=Store(folder))


def identity_of(source: Sequence[Graph]) -> str:
    """A hash that tells one source from another."""
    digest = hashlib.sha256()
    match source:
        case Store():
            digest.update(source.index["content"].encode())
        case Subset():
            digest.update(identity_of(source.whole).encode() + source.numbers.tobytes())
        case _:
            for graph in source:
                held = sorted(graph.quantities.items())
                for values in (graph.positions, graph.species, graph.cell, graph.pbc, *(v for _, v in held)):
                    digest.update(values.contiguous().numpy().tobytes())
                told = (graph.level, sorted(graph.conditions.items()), [n for n, _ in held], graph.id)
                digest.update(repr((*told, graph.provenance)).encode())
    return digest.hexdigest()


def do_part(work: Work, net: AtomFieldNet, number: int) -> None:
    """Predict and write one part."""
    records = ((record, work.source[record]) for record in work.parts.records(number))
    answers = answered(
        net,
        records,
        level=work.level,
        forces=work.forces,
        coverage=work.coverage,
        max_edges=work.max_edges,
        skip_bad=work.skip_bad,
    )
    work.parts.write(number, *answers, classes=net.config.class_names)


Answers = tuple[list[int], list[Graph], list[Prediction], list[BadRecord]]
"""Numbers of the records that were answered, the records as a file of predictions needs them, their predictions, and what was
refused."""


def answered(
    net: AtomFieldNet,
    records: Iterable[tuple[int, Graph]],
    *,
    level: str = "",
    forces: bool = True,
    coverage: float | None = None,
    max_edges: int = 60_000,
    skip_bad: bool = False,
    progress: bool = False,
    interleave: int = 1,
) -> Answers:
    """Predictions of numbered records, ``level`` for those that name none ("" for the one of each record). Of classes they are
    probabilities. interleave: of grids that are so many times finer than those of training, see :mod:`.interleaved`.

    Raises ``InputError`` for a record that cannot be answered, unless ``skip_bad``."""
    chosen: list[int] = []
    graphs: list[Graph] = []
    bad: list[BadRecord] = []

    def refuse(error: InputError, record: int) -> None:
        if not skip_bad:
            raise error
        where = error.where if isinstance(error.where, Provenance) else Provenance("<input>", record)
        bad.append(BadRecord(where, error.message))

    for record, graph in records:
        try:
            graph = with_level(net, graph.changed(level=level or graph.level), record)
            if graph.world != "field":
                where = graph.provenance if graph.provenance.file else Provenance("<input>", record)
                refuse_unseen(net, graph.species, graph.level, where)
        except InputError as error:
            refuse(error, record)
            continue
        chosen.append(record)
        graphs.append(graph)
    predictions = predict_interleaved(
        net, graphs, interleave, forces=forces, coverage=coverage, max_edges=max_edges, progress=progress
    )
    predictions = probabilities(net.config.properties, predictions)
    keep = []
    for k, (record, graph) in enumerate(zip(chosen, graphs, strict=True)):
        wrong = _not_a_number(predictions[k]) if graph.world != "field" else ""
        if wrong:
            refuse(InputError(f"the predicted {wrong} is not a finite number", graph.provenance), record)
        else:
            keep.append(k)
    known = [described(graphs[k], net.config) for k in keep]
    return [chosen[k] for k in keep], known, [predictions[k] for k in keep], bad


def _not_a_number(prediction: Prediction) -> str:
    return next((name for name, value in prediction.items() if not np.isfinite(value).all()), "")


def _network(work: Work, worker: int) -> AtomFieldNet:
    from atomfield.models.checkpoint import load

    device = work.device
    if device == "cuda" and torch.cuda.device_count() > 1:
        device = f"cuda:{worker % torch.cuda.device_count()}"
    return load(work.checkpoint, device, work.dtype)


# ---------------------------------------------------------------- several processes
def _together(work: Work, missing: list[int], workers: int, done: Callable[[int], None]) -> None:
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)
    waiting = list(reversed(missing))
    processes: dict[Connection, Any] = {}
    try:
        for worker in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, worker, threads, theirs), daemon=True)
            process.start()
            theirs.close()
            processes[ours] = process
            ours.send(waiting.pop() if waiting else None)
        alive = set(processes)
        while alive:
            for ready in wait(alive):
                assert isinstance(ready, Connection)
                try:
                    kind, content = ready.recv()
                except (EOFError, OSError):
                    processes[ready].join()
                    raise lost_worker(processes[ready].exitcode) from None
                match kind:
                    case "done":
                        done(len(work.parts.records(content)))
                        ready.send(waiting.pop() if waiting else None)
                    case "end":
                        alive.discard(ready)
                    case "refused":
                        raise InputError(*content)
                    case _:
                        raise RuntimeError(f"a worker process failed:\n{content}")
    finally:
        for process in processes.values():
            process.kill()
            process.join()


def _serve(work: Work, worker: int, threads: int, pipe: Connection) -> None:
    """One process: parts until None comes. It ends with the process that started it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    try:
        net = _network(work, worker)
        while (number := pipe.recv()) is not None:
            do_part(work, net, number)
            pipe.send(("done", number))
        pipe.send(("end", None))
    except InputError as error:
        pipe.send(("refused", (error.message, error.where)))
    except BaseException:
        pipe.send(("error", traceback.format_exc()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
