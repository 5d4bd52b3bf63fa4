"""The recorder of CUDA graphs beside a stand-in for ``torch.cuda``, which keeps the books that matter and computes nothing."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
import torch

from atomfield.models.gpu import cuda_graphs
from atomfield.models.gpu.cuda_graphs import CudaGraphs, reason

FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


class Stream:
    def __init__(self, device: torch.device):
        self.device, self.waited_for = device, []

    def wait_stream(self, other: Stream) -> None:
        self.waited_for.append(other)


class Card:
    """What torch does: its graph's context leaves its stream in use where the graph cannot be ended."""

    def __init__(self) -> None:
        self.main = self.current = Stream(FIRST)
        self.recorded_on: list[Stream] = []
        self.at_once = self.most_at_once = 0
        self.refuses = False

    @contextmanager
    def stream(self, stream: Stream):
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def set_stream(self, stream: Stream) -> None:
        self.current = stream

    @contextmanager
    def graph(self, graph, *, pool, stream=None, capture_error_mode):
        assert capture_error_mode == "thread_local"
        before, self.current = self.current, stream
        self.recorded_on.append(stream)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            self.at_once -= 1
            if self.refuses:
                raise RuntimeError("operation failed due to a previous error during capture")
        self.current = before


@pytest.fixture
def card(monkeypatch) -> Card:
    card = Card()
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device=FIRST: Stream(device))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: card.current)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    for name in ("stream", "set_stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, getattr(card, name))
    cuda_graphs._streams_of.cache_clear()
    yield card
    cuda_graphs._streams_of.cache_clear()


def test_a_recording_that_fails_leaves_the_stream_that_was_in_use(card):
    card.refuses = True

    def fails() -> None:
        raise RuntimeError("cannot copy from the host\nmore")

    with pytest.raises(RuntimeError, match="during capture") as found:
        CudaGraphs(FIRST).record(fails)
    assert card.current is card.main
    assert reason(found.value) == "cannot copy from the host"
    assert reason(NotImplementedError()) == "NotImplementedError"


def test_work_is_recorded_on_a_streams_of_its_own_gpu(card):
    """On another one's the graph would be empty, and a replay would leave the answers of the first pass in place."""
    for device in (FIRST, SECOND, FIRST):
        graphs = CudaGraphs(device)
        graphs.warm(lambda: None)
        graphs.record(lambda: None)
    assert [stream.device for stream in card.recorded_on] == [FIRST, SECOND, FIRST]
    assert card.recorded_on[0] is card.recorded_on[2], "each further stream takes memory for good"
    assert card.main.waited_for[0] not in card.recorded_on, "graphs use what belongs to their stream"
    assert card.current is card.main


def test_what_goes_wrong_before_a_recording_is_waited_for(card):
    """What the work reads is freed then, and given to others."""

    def fails() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaGraphs(FIRST).warm(fails)
    assert [stream.device for stream in card.main.waited_for] == [FIRST]
    assert card.current is card.main


def test_one_thread_records_at_a_time(card):
    threads = [
        threading.Thread(target=CudaGraphs(FIRST).record, args=(lambda: time.sleep(0.05),)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(card.recorded_on) == 3 and card.most_at_once == 1
