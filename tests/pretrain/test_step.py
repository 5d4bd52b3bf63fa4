"""The training step: the gradient depends neither on packing nor on accumulation; a loss that is not finite changes nothing."""

import pytest
import torch

from atomfield.data.graph import collate
from atomfield.models.network import graphs_to_batch
from atomfield.pretrain.config import LossWeights, OptimizerConfig
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.step import MicroBatch, NonFiniteLoss, training_step
from atomfield.pretrain.streams import Stream
from tests.small import morse_clusters, small_network, waves

PES = Targets("supervised", ("energy", "forces"))


def gradients(packing):
    net = small_network().double()
    graphs = morse_clusters(6)
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    engine.step = lambda: None  # keep the gradients
    micro = [MicroBatch(graphs_to_batch(net.config, [graphs[i] for i in part]), PES) for part in packing]
    report = training_step(engine, net, micro, LossWeights())
    return report, {k: p.grad for k, p in net.named_parameters() if p.grad is not None}


def test_packing_does_not_change_the_gradient():
    whole, expected = gradients([[0, 1, 2, 3, 4, 5]])
    cut, found = gradients([[3, 1], [0], [5, 4, 2]])
    assert whole.keys() == cut.keys() == {"energy", "forces"}
    for key in whole:
        assert cut[key] == pytest.approx(whole[key], rel=1e-10)
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, rtol=1e-8, atol=1e-12), name


def test_a_missing_label_adds_nothing():
    net = small_network().double()
    with_forces, without = morse_clusters(2)
    del without.quantities["forces"]
    batch = graphs_to_batch(net.config, [with_forces, without])
    assert torch.isnan(batch.quantities["forces"][5:]).all()
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    both = training_step(engine, net, [MicroBatch(batch, PES)], LossWeights())
    net = small_network().double()
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    alone = training_step(
        engine, net, [MicroBatch(graphs_to_batch(net.config, [with_forces]), PES)], LossWeights()
    )
    assert both["forces"] == pytest.approx(alone["forces"], rel=1e-12)


def test_a_loss_that_is_not_finite_stops_before_the_update():
    net = small_network()
    batch = graphs_to_batch(net.config, morse_clusters(1))
    batch.positions[0] = batch.positions[1]  # a zero-length edge
    before = {k: v.clone() for k, v in net.state_dict().items()}
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    with pytest.raises(NonFiniteLoss, match="not finite"):
        training_step(engine, net, [MicroBatch(batch, PES)], LossWeights())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_every_objective_learns():
    net = small_network(perturb=0.0)
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    streams = [
        Stream(morse_clusters(8), Targets("supervised"), cutoff=5.0, max_edges=200, seed=0, name="pes"),
        Stream(waves(4), Targets("next_step"), cutoff=5.0, max_edges=2000, seed=0, name="field"),
    ]
    with torch.no_grad():
        net.atom_head.reference[0, [1, 6]] = -6.0
    first = last = {}
    for step in range(80):
        micro = [MicroBatch(s.batch(step), s.targets, 1.0, s.name) for s in streams]
        last = training_step(engine, net, micro, LossWeights())
        first = first or last
    for key in ("pes/forces", "field/field/concentration"):
        assert last[key] < 0.6 * first[key], (key, first[key], last[key])


def test_denoising_predicts_the_noise_that_was_added():
    quiet = morse_clusters(4)
    for graph in quiet:
        graph.quantities["forces"] *= 0
    stream = Stream(quiet, Targets("denoise", noise=0.1), cutoff=5.0, max_edges=200, seed=3, noise=0.1)
    batch = stream.batch(0)
    clean = collate([quiet[stream.items[k].record] for k in stream.sampler.batch(0)])
    assert torch.allclose(batch.positions - clean.positions, batch.quantities["displacement_noise"])
    assert torch.equal(batch.positions, stream.batch(0).positions)


def test_graphs_that_lack_a_state_leave_the_gradient_finite():
    moving, still = waves(2)
    still.quantities["temperature"] = still.quantities.pop("concentration")
    net = small_network()
    batch = collate([moving.pair(0), still.pair(1)])
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    engine.step = lambda: None
    report = training_step(engine, net, [MicroBatch(batch, Targets("next_step"))], LossWeights())
    assert report.keys() == {"field/concentration", "field/temperature"}
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
