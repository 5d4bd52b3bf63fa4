"""What every timed package's process does: it is asked in JSON lines and answers in JSON lines, and lives until told to stop.

Only the standard library and torch, since it runs in environments of other packages. A package gives one function, ``load``, that
makes a :class:`Subject` from a size and a file of structures; ``benchmarks/speed.py`` asks.

Questions come on stdin, answers go to the pipe whose number is the first argument, since packages print what they like to stdout.
Questions: ``{"do": "read", "file", "cutoff"}``, ``{"do": "load", "size", "file", "cutoff"}``, ``{"do": "time", "size", "job",
"seconds"}``, ``{"do": "memory"}``, ``{"do": "free"}``. Networks and batches are on :data:`DEVICE`.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEVICE = os.environ.get("BENCHMARK_DEVICE", "cpu")
"""``cpu`` or ``cuda``, where networks and batches are; the neighbours are found on the CPU."""


@dataclass
class Subject:
    """One network on one batch. ``jobs`` maps ``energy_forces``, ``training_step`` and maybe ``graph`` to a call."""

    jobs: dict[str, Callable[[], Any]]
    atoms: int
    edges: int
    parameters: int
    notes: str = ""
    prepare: dict[str, Callable[[], Any]] = field(default_factory=dict)
    """What to call before a job is timed again, e.g. to switch gradients of the weights off."""
    held_mb: float = 0.0
    """GPU memory that the network and the batch take, where they are new on it."""


Load = Callable[[str, str, float], Subject]
Read = Callable[[str, float], tuple[int, int]]


def serve(
    package: str, versions: Callable[[], dict[str, str]], load: Load, read: Read = lambda file, cutoff: (0, 0)
) -> None:
    """Answer until stdin closes. ``load(size, file, cutoff)`` makes a subject; ``read(file, cutoff)`` finds the neighbours, which
    loads of the same file then need not, and gives the numbers of atoms and edges."""
    answers = os.fdopen(int(sys.argv[1]), "w", buffering=1)
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    hello = {"package": package, "versions": versions(), "threads": torch.get_num_threads()}
    answers.write(json.dumps(hello) + "\n")
    subjects: dict[str, Subject] = {}
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = _answer(question, subjects, load, read)
        except Exception as error:  # the row says so and the others go on
            import traceback

            traceback.print_exc()
            answer = {
                "error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:300]
            }
        if "error" in answer or question["do"] == "free":
            release()
        answers.write(json.dumps(answer) + "\n")


def _answer(question: dict[str, Any], subjects: dict[str, Subject], load: Load, read: Read) -> dict[str, Any]:
    match question["do"]:
        case "read":
            atoms, edges = read(question["file"], question["cutoff"])
            return {"atoms": atoms, "edges": edges}
        case "load":
            subjects.pop(question["size"], None)
            before = allocated_mb()
            subject = load(question["size"], question["file"], question["cutoff"])
            subject.held_mb = allocated_mb() - before
            subjects[question["size"]] = subject
            return {
                "atoms": subject.atoms, "edges": subject.edges, "parameters": subject.parameters,
                "jobs": list(subject.jobs), "notes": subject.notes,
            }  # fmt: skip
        case "time":
            subject, job = subjects[question["size"]], question["job"]
            subject.prepare.get(job, lambda: None)()
            before = allocated_mb(reset=True)
            ms = times(subject.jobs[job], question["seconds"], question["warm"])
            return {"ms": ms, "peak_mb": subject.held_mb + allocated_mb(peak=True) - before}
        case "memory":
            return memory(reset=question["reset"])
        case "free":
            subjects.clear()
            return {}
        case other:
            raise ValueError(f"unknown question {other!r}")


def times(call: Callable[[], Any], seconds: float, warm: int) -> list[float]:
    """Milliseconds of each call, at least one, until ``seconds`` are over; ``warm`` calls before are not counted."""
    for _ in range(warm):
        call()
    synchronize()
    out = []
    end = time.perf_counter() + seconds
    while not out or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        synchronize()
        out.append(1e3 * (time.perf_counter() - start))
    return out


def synchronize() -> None:
    """Wait until the GPU has done what it was told; nothing on the CPU."""
    if DEVICE == "cuda":
        import torch

        torch.cuda.synchronize()


def allocated_mb(*, peak: bool = False, reset: bool = False) -> float:
    """What tensors take of the GPU now, or took at most since the last ``reset``, MB (2^20 bytes); 0 on the CPU."""
    if DEVICE != "cuda":
        return 0.0
    import torch

    if reset:
        torch.cuda.reset_peak_memory_stats()
    return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 2**20


def release() -> None:
    """Give the GPU back what no tensor takes, so that the other packages' processes may have it."""
    gc.collect()
    if DEVICE == "cuda":
        import torch

        torch.cuda.empty_cache()


def memory(*, reset: bool) -> dict[str, float]:
    """Resident and peak resident memory of this process, MB (Linux). ``reset`` starts the peak anew."""
    if reset:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    with open("/proc/self/status") as file:
        rows = dict(row.split(":", 1) for row in file)
    return {
        "resident_mb": int(rows["VmRSS"].split()[0]) / 1024,
        "peak_mb": int(rows["VmHWM"].split()[0]) / 1024,
    }
