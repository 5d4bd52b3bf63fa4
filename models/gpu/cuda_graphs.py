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
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """Where work is recorded. torch's own stream for that belongs to the GPU that was the current one when it was made, so that
    a graph of another GPU would be empty; each further stream takes workspaces for matrix products that are never given back."""
    return torch.cuda.Stream(device)


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
            stream, now = _stream_of(self.device), torch.cuda.current_stream()
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
            try:
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=_stream_of(self.device), capture_error_mode="thread_local"
                ):
                    run()
            finally:  # torch leaves its stream in use where a recording was refused
                torch.cuda.set_stream(now)

        def replay() -> None:
            with torch.cuda.device(self.device):
                graph.replay()

        return replay
