"""Which device a run takes, what it says where that fails, and who compiles first."""

from __future__ import annotations

import pytest
import torch

from atomfield.data.errors import InputError, RunError
from atomfield.pretrain import failures, processes, ranks, run
from atomfield.pretrain.config import LossWeights, PretrainConfig
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.streams import Stream
from tests.models.gpu_cases import a_network
from tests.small import morse_clusters, small_network, waves

STREAM = {"source": "starter/molecules"}


@pytest.fixture
def two_gpus(monkeypatch):
    chosen: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_each_process_takes_the_gpu_of_its_rank(two_gpus, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert processes.pick_device("auto") == processes.pick_device("cuda") == "cuda:1"
    assert two_gpus == [1, 1], "messages would go through the first GPU for all"
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="at most 2 processes per node"):
        processes.pick_device("cuda")


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processes.pick_device("auto") == "cpu"
    with pytest.raises(InputError, match="finds no GPU; use --device cpu"):
        processes.pick_device("cuda")


def test_a_full_memory_says_what_to_lower(tmp_path):
    config = PretrainConfig(out=tmp_path, streams=[{**STREAM, "max_edges": 123}])
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
    said = failures.memory_full(config, "cuda:0", full)
    assert "the memory of cuda:0 is full (CUDA out of memory. Tried to allocate 2 GiB.)" in said
    assert "max_edges (the largest is 123), or set recompute: true" in said and "cuda_graphs: false" in said
    without = config.model_copy(update={"cuda_graphs": False})
    assert "cuda_graphs" not in failures.memory_full(without, "cuda:0", full) + failures.memory_full(
        config, "cpu", full
    )


def test_compile_that_changes_nothing_is_said():
    atoms = Stream(morse_clusters(4), Targets("supervised"), cutoff=5.0, max_edges=100, seed=0)
    fields = Stream(waves(2), Targets("next_step"), cutoff=5.0, max_edges=2000, seed=0)
    net = a_network().compile_passes()
    assert not run.compile_note(net, [fields, atoms], "cuda:0")
    assert "processors have kernels" in run.compile_note(net, [atoms], "cpu")
    assert "no stream is of these" in run.compile_note(net, [fields], "cuda:0")
    net.backbone.recompute = True
    assert "a network with recompute" in run.compile_note(net, [atoms], "cuda:0")
    assert not run.compile_note(net.compile_passes(False), [atoms], "cpu")


def test_the_first_rank_of_a_node_goes_first_and_its_failure_is_everybodys(monkeypatch):
    told: list[bool] = []
    monkeypatch.setattr(ranks, "any_rank", lambda flag: told.append(flag) or any(told))

    def fails() -> None:
        raise ValueError("no compiler")

    monkeypatch.setenv("LOCAL_RANK", "0")
    ranks.first_on_node(lambda: None)
    assert told == [False]
    with pytest.raises(ValueError, match="no compiler"):
        ranks.first_on_node(fails)
    assert told == [False, True]
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(RunError, match="first rank of a node"):
        ranks.first_on_node(fails)


def test_first_passes_change_nothing(monkeypatch):
    forked = []
    fork = torch.random.fork_rng
    monkeypatch.setattr(
        torch.random, "fork_rng", lambda devices=None: forked.append(devices) or fork(devices)
    )
    net = small_network()
    streams = [
        Stream(morse_clusters(4), Targets("supervised"), cutoff=5.0, max_edges=100, seed=0, name="atoms"),
        Stream(waves(2), Targets("next_step"), cutoff=5.0, max_edges=2000, seed=0, name="fields"),
    ]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    run.first_passes(net, streams, LossWeights(), "cpu")
    assert torch.equal(torch.rand(2), expected)
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert None not in forked, "every rank would be warned of all GPUs"


def test_a_port_that_is_taken_is_named(monkeypatch):
    """Gloo's error was told as that of a rank that had died."""
    for key, value in {
        "RANK": "0",
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "node1",
        "MASTER_PORT": "29500",
    }.items():
        monkeypatch.setenv(key, value)
    taken = RuntimeError(
        "The server socket has failed to listen on any local network address. port: 29500, EADDRINUSE"
    )
    assert (
        "port 29500 of node1 is taken by another program: give another one (MASTER_PORT"
        in processes.no_meeting(9.0, taken)
    )
    said = processes.no_meeting(9.0, RuntimeError("wait timeout after 9000ms\nmore"))
    assert "rank 0 of 2 did not find the others at node1:29500 within 9 s (wait timeout after 9000ms)" in said
