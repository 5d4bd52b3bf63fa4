"""Work on a GPU, recorded once and started again in a single call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Protocol

import torch

_one_at_a_time = threading.Lock()
"""Of all threads: torch records one graph at a time in a process, and on one stream for each GPU here."""


@lru_cache(maxsize=64)
def _streams_of(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.Stream]:
    """Where work is done before it is recorded, and where it is recorded.

    torch's own stream for recording belongs to the GPU that was the current one when it was made, so that a graph of another GPU
    would be empty. No new ones each time, since the first matrix product on a stream takes memory for good; and not one for both,
    since graphs use that memory, which another thread may replay meanwhile.
    """
    return torch.cuda.Stream(device), torch.cuda.Stream(device)


def reason(error: RuntimeError) -> str:
    """What went wrong in a recording, in one line: torch often says no more than that something did before."""
    said = str(error.__context__ or error).splitlines()
    return said[0] if said else type(error).__name__


class Recorder(Protocol):
    """Where the work of a function is recorded. ``warm``: before it is."""

    def warm(self, run: Callable[[], None]) -> None: ...

    def record(self, run: Callable[[], None]) -> Callable[[], None]: ...


class CudaGraphs:
    """CUDA graphs of one device that share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._pool = device, torch.cuda.graph_pool_handle()

    def warm(self, run: Callable[[], None]) -> None:
        """Kernels are compiled and workspaces taken, beside the stream that is in use."""
        with _one_at_a_time, torch.cuda.device(self.device), torch.random.fork_rng([self.device]):
            (stream, _), now = _streams_of(self.device), torch.cuda.current_stream()
            stream.wait_stream(now)
            try:
                with torch.cuda.stream(stream):
                    for _ in range(2):
                        run()
            finally:  # after an error too: what is freed then may still be read there
                now.wait_stream(stream)

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """What replays ``run`` on the same memory. (Other threads may go on using the GPU meanwhile.)"""
        with _one_at_a_time, torch.cuda.device(self.device):
            graph, now = torch.cuda.CUDAGraph(), torch.cuda.current_stream()
            _, stream = _streams_of(self.device)
            try:
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"
                ):
                    run()
            finally:  # torch leaves its stream in use where a recording was refused
                torch.cuda.set_stream(now)

        def replay() -> None:
            with torch.cuda.device(self.device):
                graph.replay()

        return replay
