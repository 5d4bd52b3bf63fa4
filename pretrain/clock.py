"""Where the time of a step goes: loader, forward, backward, communication, optimizer.

Phases may be nested; time counts for the innermost one only, so that they add up to the whole. A GPU works beside the program, so
there the phases are separated by waiting for it, on the steps that are written to ``metrics.jsonl`` alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

PHASES = ("loader", "forward", "backward", "communication", "optimizer")
COLLECTIVES = (
    "all_reduce",
    "all_reduce_coalesced",
    "reduce",
    "reduce_scatter_tensor",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_coalesced",
    "broadcast",
)


class Clock:
    """Seconds per phase since the last :meth:`read`."""

    def __init__(self, device: str = "cpu"):
        self.on_gpu = device.startswith("cuda")
        self.exact = not self.on_gpu
        """Whether phases are measured now; on a GPU the loop sets it for the steps that are logged."""
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._inside: list[str] = []
        self._since = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if not self.exact:
            yield
            return
        self._switch()
        self._inside.append(name)
        try:
            yield
        finally:
            self._switch()
            self._inside.pop()

    def _switch(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()
        now = time.perf_counter()
        if self._inside:
            self._seconds[self._inside[-1]] += now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds per phase since the last reading."""
        out, self._seconds = self._seconds, dict.fromkeys(PHASES, 0.0)
        return out

    def watch(self, backend: Any) -> None:
        """Count the collectives of DeepSpeed's ``backend`` as communication, whichever phase they fall into: ZeRO reduces within
        the backward pass and gathers weights within the optimiser's step."""
        for name in COLLECTIVES:
            if hasattr(backend, name):
                setattr(backend, name, self._timed(getattr(backend, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **options: Any) -> Any:
            with self.phase("communication"):
                return call(*given, **options)

        return timed


class Throughput:
    """Nodes, operations and seconds of the steps since the last reading, skipped ones left out. ``peak``: operations per second
    of all ranks."""

    def __init__(self, peak: float) -> None:
        self.peak = peak
        self._forget()

    def _forget(self) -> None:
        self.atoms = self.points = 0
        self.work = self.seconds = 0.0

    def add(self, atoms: int, points: int, work: float, seconds: float) -> None:
        """One step, over all ranks."""
        self.atoms, self.points = self.atoms + atoms, self.points + points
        self.work, self.seconds = self.work + work, self.seconds + seconds

    def read(self, clock: Clock) -> dict[str, float]:
        """``atoms_per_second``, ``points_per_second``, ``flops_per_second``, ``fraction_of_peak``, and ``time/PHASE``: fractions
        of what this rank measured."""
        phases = clock.read()
        seconds = max(self.seconds, 1e-9)
        measured = max(sum(phases.values()), 1e-9)
        whole = measured if clock.on_gpu else max(seconds, measured)
        out = {"atoms_per_second": self.atoms / seconds, "points_per_second": self.points / seconds}
        out |= {"flops_per_second": self.work / seconds, "fraction_of_peak": self.work / seconds / self.peak}
        out |= {f"time/{name}": value / whole for name, value in phases.items()}
        self._forget()
        return out
