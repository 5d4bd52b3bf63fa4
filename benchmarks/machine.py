"""What a figure was measured on, and how much of the machine was taken by others meanwhile (Linux)."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def description() -> dict[str, Any]:
    """Processor, cores, memory, load averages and the date, for a file of results."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next(
        (x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), platform.machine()
    )
    flags = next((x.split(":", 1)[1].split() for x in lines if x.startswith("flags")), [])
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": model,
        "avx512": "avx512f" in flags,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
    }


def commit(folder: Path) -> str:
    """Of the repository that holds ``folder``, with ``+`` where files differ from it; empty where there is none."""
    ask = lambda *words: subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True)  # noqa: E731
    try:
        head = ask("rev-parse", "--short=12", "HEAD").stdout.strip()
        changed = ask("status", "--porcelain", "--untracked-files=no", "--", "*.py").stdout.strip()
    except OSError:
        return ""
    return head + ("+" if head and changed else "")


def busy_seconds() -> float:
    """Processor seconds that all cores together have not been idle since the machine started; stolen time counts."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """From its making to :meth:`available`: what share of the processor time that was wanted was there to be had."""

    started: float = field(default_factory=time.monotonic)
    busy: float = field(default_factory=busy_seconds)

    def available(self, own_seconds: float, threads: int) -> float:
        """(cores x wall - what others took) / (threads x wall), at most 1; ``own_seconds``: processor time of the measured."""
        wall = max(time.monotonic() - self.started, 1e-9)
        others = max(busy_seconds() - self.busy - own_seconds, 0.0)
        cores = os.cpu_count() or 1
        return max(0.0, min(1.0, (cores * wall - others) / (threads * wall)))
