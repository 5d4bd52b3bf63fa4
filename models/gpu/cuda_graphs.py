"""Work on a GPU, recorded once and started again in a single call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class Recorder(Protocol):
    """Where the work of a function is recorded. ``warm``: before it is."""

    def warm(self, run: Callable[[], None]) -> None: ...

    def record(self, run: Callable[[], None]) -> Callable[[], None]: ...


class CudaGraphs:
    """CUDA graphs of one device that share one pool of memory."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._pool = device, torch.cuda.graph_pool_handle()

    def warm(self, run: Callable[[], None]) -> None:
        """Kernels are compiled and workspaces taken, beside the stream that is in use."""
        with torch.cuda.device(self._device), torch.random.fork_rng([self._device]):
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    run()
            torch.cuda.current_stream().wait_stream(stream)

    def record(self, run: Callable[[], None]) -> Callable[[], None]:
        """What replays ``run`` on the same memory. (Other threads may go on using the GPU meanwhile.)"""
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.device(self._device),
            torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"),
        ):
            run()

        def replay() -> None:
            with torch.cuda.device(self._device):
                graph.replay()

        return replay
