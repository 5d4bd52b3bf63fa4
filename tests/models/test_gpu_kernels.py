"""The passes on GPUs, as far as a CPU can try them."""

import os
import subprocess
import sys
import types
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from atomfield.inference.export import traced
from atomfield.models.gpu import text
from atomfield.models.gpu.captured import CapturedPass, fits, padded, room_for
from atomfield.models.gpu.traced import CompiledPass
from atomfield.models.heads import Answers

from .gpu_cases import a_batch, a_network, assert_alike, plain, trained


def test_kernels_in_tritons_interpreter():
    pytest.importorskip("triton", reason="needs triton (its interpreter; no GPU)")
    file = Path(__file__).with_name("interpreted_kernels.py")
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        str(file),
    ]
    done = subprocess.run(
        words, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "11 passed" in done.stdout, done.stdout[-500:]


def test_padding_changes_nothing():
    net = a_network()
    batch = a_batch(net.config, (3, 2))
    filled, _ = padded(batch, net.level_index(batch), batch.num_edges + 50, net.config.cutoff)
    assert filled.num_edges == batch.num_edges + 50
    with torch.no_grad():
        expected, found = net(batch, stress=True), net(filled, stress=True)
    for name, value in expected.items():
        assert torch.equal(found[name][: len(value)], value)
        assert bool(found[name].isfinite().all())


def test_what_was_recorded_serves_its_own_batch_and_hardly_fewer_edges():
    """Recorded anew at each step it would cost more than it saves."""
    for edges in range(1, 5000):
        assert fits(room_for(edges), edges)
        assert fits(room_for(edges), edges - edges // 4)
    assert not fits(room_for(1000), 1.2 * 1000)
    assert not fits(room_for(10_000), 4000)


def test_a_compiled_pass_sees_one_kind_of_batch():
    net = plain(a_network(correlation=2))
    batch = a_batch(net.config, (3,))
    with torch.no_grad():
        expected = net(batch, stress=True)
        net.compiled = CompiledPass(net, backend=None)
        found = CapturedPass(net)(batch, net.level_index(batch), stress=True, answers=Answers())
    assert_alike([found[n] for n in expected], list(expected.values()))
    assert [kind.one_graph for kind in net.compiled._known] == [False], "as when it is recorded, padded"


def test_one_traced_graph_serves_all_sizes():
    net = a_network(correlation=2)
    run = CompiledPass(plain(net), backend=None)
    pass_of = lambda b: run(b, net.level_index(b), stress=True, answers=Answers())  # noqa: E731
    batches = [
        a_batch(net.config, sizes, seed, levels)
        for seed, (sizes, levels) in enumerate([((2, 3), ()), ((4, 1, 3), ()), ((3,), ()), ((2,), ("b",))])
    ]
    for batch in batches:
        assert run.serves(batch)
        assert_alike(trained(net, pass_of, batch), trained(net, lambda b: net(b, stress=True), batch))
    assert len(run._known) == 2, "a graph for each kind of call, not for each size"


def test_tracing_leaves_alone_what_it_would_not_see():
    net = a_network()
    batch = a_batch(net.config, (2,))
    for name in ("fragment_charge", "hidden", "given_forces"):
        assert not CompiledPass(net).serves(replace(batch, quantities={name: torch.zeros(2)}))
    net.backbone.recompute = True
    assert CompiledPass(net).hindrance() == "recompute" and not CompiledPass(net).serves(batch)


def test_batches_with_labels_are_traced():
    """As those of a training are; whether a stress is wanted makes no graph of its own there."""
    net = a_network(correlation=2)
    run = CompiledPass(plain(net), backend=None)
    bare = a_batch(net.config, (2, 3), levels=("a", "b"))
    labels = {"energy": torch.zeros(2), "forces": torch.zeros(5, 3), "charges": torch.zeros(5)}
    batch, level_G = replace(bare, quantities=labels), net.level_index(bare)
    assert run.serves(batch)
    for stress in (False, True):
        found = run(batch, level_G, stress=stress, answers=Answers())
        assert ("stress" in found) is stress
    one = replace(batch, levels=["a", "a"])
    run(one, net.level_index(one), stress=False, answers=Answers())
    assert len(run._known) == 1


def test_a_direct_stage_is_traced_as_well():
    net = plain(a_network(correlation=2, auxiliary=("direct",)))
    batch = a_batch(net.config, (2, 3), levels=("a", "b"))

    def gradients() -> list[torch.Tensor]:
        net.zero_grad()
        out = net(batch, direct=True, properties=False)
        (out["forces"].square().sum() + out["energy"].sum()).backward()
        return [out["forces"].detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)]

    expected = gradients()
    net.compiled = CompiledPass(net, backend=None)
    assert_alike(gradients(), expected)
    with torch.no_grad():
        net(batch, direct=True)
        net(batch)
    assert sorted((kind.derived, kind.training) for kind in net.compiled._known) == [
        (False, False), (False, True), (True, False),
    ]  # fmt: skip


def test_a_network_takes_its_compiled_pass_for_labelled_batches():
    net = plain(a_network(correlation=2))
    batch = replace(a_batch(net.config, (2, 3)), quantities={"energy": torch.zeros(2)})
    expected = trained(net, lambda b: net(b, stress=True), batch)
    net.compiled = CompiledPass(net, backend=None)
    assert_alike(trained(net, lambda b: net(b, stress=True), batch), expected)
    assert len(net.compiled._known) == 1


@pytest.mark.parametrize(
    ("capability", "compiler", "runs"), [((6, 1), "cc", False), ((9, 0), None, False), ((9, 0), "cc", True)]
)
def test_a_gpu_that_triton_cannot_build_for_runs_in_eager_mode(
    monkeypatch, caplog, capability, compiler, runs
):
    class OnGpu:
        is_cuda, device = True, torch.device("cuda", 0)

    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(text, "_triton_is_there", lambda: True)
    monkeypatch.setattr(text, "compiler", lambda: compiler)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old card")
    text._triton_can_build.cache_clear()
    try:
        assert text.runs_on(OnGpu()) is runs
    finally:
        text._triton_can_build.cache_clear()
    assert ("slower" in caplog.text) is not runs


def test_a_pass_that_cannot_be_recorded_is_made_plainly(monkeypatch, caplog):
    def fails(*_):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr("atomfield.models.gpu.captured._Recorded", fails)
    net = a_network()
    batch = a_batch(net.config, (3, 2))
    run = CapturedPass(net)
    with torch.no_grad():
        level_G = net.level_index(batch)
        found = [run(batch, level_G, stress=True, answers=Answers()) for _ in range(3)]
        expected = net(batch, stress=True)
    for out in found:
        assert_alike([out["energy"], out["forces"]], [expected["energy"], expected["forces"]])
    assert caplog.text.count("could not be recorded") >= 1
    assert run._refused


def test_a_recording_that_ran_out_of_memory_holds_none_of_it(monkeypatch):
    """The pass that is made plainly instead needs it."""
    held = []

    def fails(*_):
        large = torch.zeros(3)
        held.append(weakref.ref(large))
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("atomfield.models.gpu.captured._Recorded", fails)
    net = a_network()
    batch = a_batch(net.config, (3, 2))
    seen = []
    monkeypatch.setattr(net, "conservative", lambda *_, **__: seen.append([ref() for ref in held]) or {})
    run = CapturedPass(net)
    with torch.no_grad():
        for _ in range(2):
            run(batch, net.level_index(batch), stress=False, answers=Answers())
    assert seen == [[], [None]]


def test_passes_of_lower_precision_are_not_recorded():
    """What was recorded would go on with it where it is asked for no more."""
    net = a_network()
    batch = a_batch(net.config, (3, 2))
    on_card = types.SimpleNamespace(is_cuda=True, device=torch.device("cuda", 0), dtype=torch.float64)
    there = replace(batch, positions=on_card)
    with torch.no_grad():
        assert CapturedPass(net).serves(there)
        torch.set_autocast_enabled("cuda", True)
        try:
            assert not CapturedPass(net).serves(there)
        finally:
            torch.set_autocast_enabled("cuda", False)


def test_memory_of_a_recording_goes_before_another_one_is_made(monkeypatch):
    made, left = [], []

    class Recorded:
        def __init__(self, net, key, *_):
            left.append([ref() for ref in made])
            self.key = key
            made.append(weakref.ref(self))

        def fits(self, edges: int) -> bool:
            return edges == 1

        def __call__(self, *_):
            return {}

    monkeypatch.setattr("atomfield.models.gpu.captured._Recorded", Recorded)
    net = a_network()
    batch, run = a_batch(net.config, (3, 2)), CapturedPass(net)
    with torch.no_grad():
        for _ in range(3):
            run(batch, net.level_index(batch), stress=False, answers=Answers())
    assert left == [[], [None]]


def test_an_exported_pass_has_none_of_our_operations(monkeypatch):
    """It runs where this package is not: on a GPU too nothing but torch's own operations is traced."""
    for name in ("convolution.convolution_available", "backbone.products_available", "gpu.rows.runs_on"):
        monkeypatch.setattr(f"atomfield.models.{name}", lambda *_: True)
    graph, _ = traced(a_network(correlation=2), "")
    assert not [n for n in graph.graph.nodes if "atomfield" in str(n.target)]
