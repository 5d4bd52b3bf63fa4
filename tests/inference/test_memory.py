"""What is said where memory does not suffice, against what a pass really takes."""

from __future__ import annotations

import copy
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from ase.build import bulk

from atomfield.data.errors import InputError
from atomfield.inference import memory
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.memory import available_bytes, explained, is_out_of_memory, kept_bytes
from atomfield.models.gpu import CompiledPass
from atomfield.models.network import AtomFieldNet
from tests.small import small_network


@pytest.fixture(scope="module")
def network() -> AtomFieldNet:
    return small_network(cutoff=4.0)


def batch_of(net: AtomFieldNet, repeats: int):
    atoms = bulk("C", cubic=True).repeat(repeats)
    atoms.rattle(0.05, seed=0)
    return AtomFieldCalculator(net).pairs.batch(atoms, "")


def test_a_piece_tells_the_whole(network: AtomFieldNet) -> None:
    """Extrapolated from 64 atoms, and measured on all 216: within a tenth."""
    batch = batch_of(network, 3)
    small = kept_bytes(network, batch, True)
    memory.PROBE, before = batch.num_nodes, memory.PROBE
    try:
        whole = kept_bytes(network, batch, True)
    finally:
        memory.PROBE = before
    assert small == pytest.approx(whole, rel=0.1)
    assert small > 100 * batch.num_edges


def test_the_error_says_what_fits(network: AtomFieldNet, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(network, 3)
    needed = kept_bytes(network, batch, False) * memory.PEAK
    monkeypatch.setattr(memory, "available_bytes", lambda device: needed / 4)
    with (
        pytest.raises(InputError, match=r"out of memory: 216 atoms .* about 5[3-5] atoms like these"),
        explained(network, batch, False),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(RuntimeError, match="else"), explained(network, batch, False):
        raise RuntimeError("something else")
    monkeypatch.setattr(memory, "LARGE", 100)  # weighed before it runs
    with pytest.raises(InputError, match="out of memory"), explained(network, batch, False):
        raise AssertionError("never reached")
    with explained(
        network, batch, False, held=batch.num_edges
    ):  # a step of dynamics: as many as there was room for
        pass
    with pytest.raises(InputError, match="out of memory"), explained(network, batch, False, held=100):
        raise AssertionError("never reached")
    assert available_bytes(torch.device("cpu")) > 0
    assert is_out_of_memory(
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
    )
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))


SCRIPT = """
import os, resource, torch
from ase.build import bulk
from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from tests.small import small_network
from atomfield.inference import memory
torch.set_num_threads(1)
memory.LARGE = 10**9  # not weighed before: the allocator itself fails
atoms = bulk("C", cubic=True).repeat(7)
calc = AtomFieldCalculator(small_network(cutoff=4.0, channels=48))
small = bulk("C", cubic=True).repeat(2)
small.calc = calc
small.get_forces()
{first}
used = 1024 * int(dict(r.split(":", 1) for r in open("/proc/self/status"))["VmData"].split()[0])
resource.setrlimit(resource.RLIMIT_DATA, (used + {megabytes} * 2**20,) * 2)
atoms.calc = calc
try:
    atoms.get_forces()
except InputError as error:
    print(error, flush=True)
    os._exit(0)  # vesin on its own, under such a limit, leaves a heap that is freed twice when the process ends
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of a process on Linux")
@pytest.mark.parametrize(
    ("first", "megabytes", "said"),
    [
        ("calc.pairs.batch(atoms, '')", 30, "would fit"),
        ("", 4, "the pairs of 2744 atoms do not fit"),
    ],
)
def test_a_process_with_little_memory_says_so(first: str, megabytes: int, said: str) -> None:
    """In the pass, whose pairs are known, and in the search for pairs."""
    script = SCRIPT.format(first=first, megabytes=megabytes)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "out of memory: " in done.stdout
    assert said in done.stdout


class _Held:
    """Memory that a failed pass still holds."""


def test_what_a_failed_pass_held_counts_as_free(
    network: AtomFieldNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive: list[bool] = []
    seen: list[weakref.ref[_Held]] = []

    def fails() -> None:
        held = _Held()
        seen.append(weakref.ref(held))
        raise RuntimeError("CUDA error: out of memory")

    def available(device: torch.device) -> float:
        alive.append(seen[0]() is not None)
        return 1e6

    batch = batch_of(network, 2)
    monkeypatch.setattr(memory, "available_bytes", available)
    with pytest.raises(InputError, match="would fit"), explained(network, batch, False):
        fails()
    assert alive == [False]


def test_a_compiled_network_is_weighed_as_a_plain_one(network: AtomFieldNet) -> None:
    net = copy.deepcopy(network)
    net.fused = False
    batch = batch_of(net, 2)
    expected = kept_bytes(net, batch, True)
    net.compiled = CompiledPass(net, backend=None)
    assert kept_bytes(net, batch, True) == expected
    assert net.compiled is not None and not net.compiled._known
