"""The finetunings of the quickstart: two at a time, each on half of the cores, so that all have the same time and threads."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from .quickstart_tasks import Task

FINETUNE_SECONDS = 35
AT_ONCE = 2


@dataclass(frozen=True)
class Finetuning:
    """One run: ``kind`` names where it begins, ``start`` is what ``--from`` takes, ``data`` holds the parts of the task."""

    task: Task
    kind: str
    start: str
    data: Path
    out: Path

    def arguments(self, seed: int, device: str) -> list[str]:
        """What follows ``atomfield``."""
        parts = [word for part in ("train", "valid", "test") for word in (f"--{part}", str(self.data / part))]
        return ["finetune", "--from", self.start, *parts, "--target", self.task.target, "--out", str(self.out),
                "--max-time", f"{FINETUNE_SECONDS}s", "--seed", str(seed), "--device", device]  # fmt: skip

    @property
    def log(self) -> Path:
        return self.out.with_name(f"{self.out.name}.log")


def finetune_all(runs: Sequence[Finetuning], seed: int, device: str, console: Console) -> list[str]:
    """Run them in order, two at a time; one of both shows its progress, the other writes a log. Returns the commands.

    Raises ``InputError`` where one was refused, ``RuntimeError`` where one failed; the others are ended then.
    """
    threads = max(1, (os.cpu_count() or 1) // AT_ONCE)
    console.print(
        f"[bold]2/3 Finetune[/bold] held-out tasks: {len(runs)} runs of {FINETUNE_SECONDS} s, {AT_ONCE} at a time"
    )
    waiting, shown = list(runs), []
    running: dict[subprocess.Popen[bytes], Finetuning] = {}
    watched: subprocess.Popen[bytes] | None = None
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                run = waiting.pop(0)
                arguments = run.arguments(seed, device)
                shown.append(f"atomfield {shlex.join(arguments)}")
                console.print(f"{run.task.title}, {run.kind}\n$ {shown[-1]}", highlight=False, soft_wrap=True)
                process = _started(arguments, None if watched is None else run.log, threads)
                watched = watched or process
                running[process] = run
            time.sleep(0.2)
            for process in [p for p in running if p.poll() is not None]:
                run = running.pop(process)
                where = "the lines above" if process is watched else str(run.log)
                watched = None if process is watched else watched
                if process.returncode == 2:
                    raise InputError(f"the finetuning {run.kind} of {run.task.name} was refused, see {where}")
                if process.returncode:
                    raise RuntimeError(f"the finetuning {run.kind} of {run.task.name} failed, see {where}")
    finally:
        for process in running:
            process.kill()
            process.wait()
    return shown


def environment(threads: int) -> dict[str, str]:
    """Of a stage: so many threads, and no warnings of libraries."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}


def _started(arguments: Sequence[str], log: Path | None, threads: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "atomfield", *arguments]
    if log is None:
        return subprocess.Popen(command, env=environment(threads))
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        return subprocess.Popen(command, env=environment(threads), stdout=file, stderr=subprocess.STDOUT)
