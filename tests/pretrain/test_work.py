"""Operations of a step by objective, the measured peak, and what a run says of both."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atomfield.data.graph import collate
from atomfield.data.neighbors import with_edges
from atomfield.models.network import graphs_to_batch
from atomfield.models.operations import Operations
from atomfield.pretrain.clock import Clock, Throughput
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.work import peak_of, work_of
from tests.small import morse_clusters, small_network, waves


def test_passes_by_objective():
    net = small_network()
    one = Operations.of(net.config)
    atoms = graphs_to_batch(net.config, morse_clusters(3))
    passes = one.forward(atoms)
    assert work_of(one, atoms, Targets("supervised")) == 6 * passes
    assert work_of(one, atoms, Targets("supervised", direct=True)) == 3 * passes
    assert work_of(one, atoms, Targets("supervised", ("energy",))) == 3 * passes
    assert work_of(one, atoms, Targets("denoise", noise=0.1)) == 3 * passes
    flow = collate([with_edges(g, 5.0).snapshot(0) for g in waves(2)])
    rollout = replace(flow, earlier=(flow, flow))
    assert work_of(one, rollout, Targets("next_step")) == (3 + 2) * one.forward(flow)


def test_throughput_is_a_fraction_of_the_peak():
    throughput = Throughput(peak=1e9)
    throughput.add(10, 0, 2e8, 1.0)
    throughput.add(30, 5, 4e8, 1.0)
    found = throughput.read(Clock())
    assert found["flops_per_second"] == 3e8 and found["fraction_of_peak"] == pytest.approx(0.3)
    assert throughput.read(Clock())["flops_per_second"] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_peak_is_a_positive_number(dtype):
    assert 1e6 < peak_of("cpu", dtype) < 1e15
