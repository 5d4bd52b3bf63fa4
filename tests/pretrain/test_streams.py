"""Which records are seen: every one once per epoch, the same again after a resume, the same on any number of processes."""

import numpy as np

from atomfield.data.sampler import EpochSampler, pack
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.streams import Stream
from tests.small import waves


def test_packing_keeps_the_budget_and_every_item():
    sizes = np.random.default_rng(0).integers(1, 60, 200)
    groups = pack(list(range(200)), sizes, 100, 7)
    assert sorted(i for g in groups for i in g) == list(range(200))
    assert all(sizes[g].sum() <= 100 and len(g) <= 7 for g in groups)
    assert pack([0], np.array([500]), 100, 7) == [[0]]


def test_an_epoch_sees_every_item_once_and_batches_depend_on_the_number_alone():
    sizes = np.random.default_rng(1).integers(1, 60, 50)
    sampler = EpochSampler(sizes, 100, seed=5)
    seen = [sampler.batch(k) for k in range(200)]
    length = len(sampler.epoch(0))
    assert sorted(i for b in seen[:length] for i in b) == list(range(50))
    assert seen[:length] != seen[length : 2 * length]
    again = EpochSampler(sizes, 100, seed=5)
    assert again.batch(137) == seen[137] and again.batch(3) == seen[3]


def test_pairs_of_a_trajectory_are_consecutive_states_with_step_conditions():
    graphs = waves(2)
    stream = Stream(graphs, Targets("next_step"), cutoff=5.0, max_edges=600, seed=0)
    assert len(stream.items) == 2 * 4
    batch = stream.batch(0)
    item = stream.items[stream.sampler.batch(0)[0]]
    source = graphs[item.record].quantities["concentration"]
    n = graphs[0].num_nodes
    assert np.allclose(batch.quantities["concentration"][:n], source[item.time])
    assert np.allclose(batch.next_quantities["concentration"][:n], source[item.time + 1])
    assert np.isclose(float(batch.conditions["dt"][0]), float(graphs[0].times[1]), rtol=1e-12)
    assert np.isclose(float(batch.conditions["diffusion_number"][0]), 1e-3 * 0.05 * 64)


def test_noise_stays_in_the_plane():
    graphs = waves(1)
    stream = Stream(graphs, Targets("next_step"), cutoff=5.0, max_edges=600, seed=0, noise=0.1)
    batch = stream.batch(0)
    clean = graphs[0].quantities["concentration"][stream.items[stream.sampler.batch(0)[0]].time]
    difference = batch.quantities["concentration"][: graphs[0].num_nodes] - clean
    assert 0.03 < float(difference.std()) < 0.15
