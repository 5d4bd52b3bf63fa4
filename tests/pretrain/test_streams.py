"""What a stream makes of the records that the sampler chose."""

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.loader import Loader
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.streams import Batches, Stream
from tests.small import morse_clusters, waves


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


def test_atoms_and_fields_in_one_stream_are_refused():
    with pytest.raises(InputError, match="of atoms and field, expected one kind"):
        Stream(
            [*waves(1), *morse_clusters(1)],
            Targets("supervised"),
            cutoff=5.0,
            max_edges=600,
            seed=0,
            name="both",
        )


def test_kept_and_fresh_edges_give_the_same_batches(monkeypatch):
    options = {"cutoff": 5.0, "max_edges": 60, "seed": 0}
    kept = Stream(morse_clusters(9), Targets("supervised"), **options)
    monkeypatch.setattr("atomfield.pretrain.streams.CACHE_EDGES", 0)
    fresh = Stream(morse_clusters(9), Targets("supervised"), **options)
    for number in range(6):
        a, b = kept.batch(number), fresh.batch(number)
        assert torch.equal(a.edge_index, b.edge_index) and torch.equal(a.positions, b.positions)


def test_a_record_that_cannot_be_read_is_named():
    stream = Stream(morse_clusters(3), Targets("supervised"), cutoff=5.0, max_edges=20, seed=0, name="pes")
    del stream.graphs[2]
    with pytest.raises(InputError, match=r"^pes: record 2 \(time 0\) could not be made ready: IndexError"):
        [stream.batch(number) for number in range(3)]


def test_worker_processes_make_what_the_thread_makes():
    streams = (
        Stream(morse_clusters(5), Targets("supervised"), cutoff=5.0, max_edges=60, seed=0),
        Stream(waves(2), Targets("next_step"), cutoff=5.0, max_edges=600, seed=0, noise=0.1),
    )
    keys = [(0, 0), (1, 0), (1, 5), (0, 7), (1, 6)]
    with Loader(Batches(streams), keys, workers=2) as processes, Loader(Batches(streams), keys) as thread:
        for a, b in zip(processes, thread, strict=True):
            assert torch.equal(a.edge_index, b.edge_index) and torch.equal(a.positions, b.positions)
            for name in a.quantities:
                assert torch.equal(a.quantities[name], b.quantities[name])
