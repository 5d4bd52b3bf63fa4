"""Micro-batches: every item once, within every budget, the same for any number of ranks and after any resume; mixtures."""

import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.neighbors import with_edges
from atomfield.data.sampler import Budget, EpochSampler, Plan, pack, shares_of
from atomfield.data.scramble import scrambled
from atomfield.data.store import Store, write_store
from atomfield.data.subset import Joined, Subset, columns_of, edges_of
from tests.data.conftest import crystal, flow, molecule


def as_lists(plan: Plan):
    return [plan[b].tolist() for b in range(len(plan))]


def greedy(order, nodes, edges, budget):
    """The definition, one item after the other."""
    groups: list[list[int]] = []
    for item in order:
        inside = groups[-1] if groups else []
        fits = (
            nodes[[*inside, item]].sum() <= budget.nodes
            and edges[[*inside, item]].sum() <= budget.edges
            and len(inside) < budget.items
        )
        if inside and fits:
            inside.append(item)
        else:
            groups.append([item])
    return groups


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 90)), min_size=1, max_size=60),
    st.integers(1, 60),
    st.integers(1, 150),
    st.integers(1, 9),
)
@settings(max_examples=150, deadline=None)
def test_packing_is_greedy_within_every_budget(sizes, max_nodes, max_edges, max_items):
    nodes, edges = np.array(sizes).T
    order = np.random.default_rng(len(sizes)).permutation(len(sizes))
    budget = Budget(max_nodes, max_edges, max_items)
    assert as_lists(pack(order, nodes, edges, budget)) == greedy(order.tolist(), nodes, edges, budget)
    unlimited = pack(order, nodes, edges, Budget())
    assert as_lists(unlimited) == [order.tolist()]


def sampler(**options):
    rng = np.random.default_rng(1)
    return EpochSampler(
        rng.integers(1, 60, 50), rng.integers(1, 300, 50), Budget(100, 500), seed=5, **options
    )


def test_an_epoch_sees_every_item_once_and_batches_depend_on_the_number_alone():
    first = sampler()
    seen = [first.batch(k).tolist() for k in range(200)]
    length = len(first.plan(0))
    assert sorted(i for b in seen[:length] for i in b) == list(range(50))
    assert seen[:length] != seen[length : 2 * length]
    again = sampler()
    assert again.batch(137).tolist() == seen[137] and again.batch(3).tolist() == seen[3]
    assert [sampler().batch(k).tolist() for k in (199, 0, 64)] == [seen[199], seen[0], seen[64]]


def test_a_run_of_many_short_epochs_resumes_without_waiting(monkeypatch):
    """Of fifty small records an epoch is one micro-batch: finding number 200,000 took minutes, for copies of what was known."""
    sampler = EpochSampler(np.ones(50), np.ones(50), Budget(), seed=0)
    whole = sampler.plan(0)
    monkeypatch.setattr(sampler, "plan", lambda number: whole)
    start = time.process_time()
    assert np.array_equal(sampler.batch(200_000), whole[0])
    assert time.process_time() - start < 20


# ---------------------------------------------------------------------- mixtures
def test_another_thread_may_ask_meanwhile(monkeypatch):
    nodes = np.random.default_rng(0).integers(1, 30, 60)
    alone = EpochSampler(nodes, 10 * nodes, Budget(nodes=64), seed=3)
    expected = [alone.batch(k).tolist() for k in range(200)]
    shared = EpochSampler(nodes, 10 * nodes, Budget(nodes=64), seed=3)
    others = [
        threading.Thread(target=shared.batch, args=(150,)),
        threading.Thread(target=shared.plan, args=(2,)),
    ]

    def interrupted(*sizes):
        """While an epoch is planned, another thread asks for a later one and gets it."""
        if others:
            other = others.pop()
            other.start()
            other.join()
        return pack(*sizes)

    monkeypatch.setattr("atomfield.data.sampler.pack", interrupted)
    assert [shared.batch(k).tolist() for k in range(200)] == expected
    assert not others


def test_shares_follow_the_rule_and_fill_the_epoch():
    sizes = [900, 90, 10]
    assert shares_of(sizes, "natural") == shares_of(sizes, 1.0) == sizes
    assert shares_of(sizes, "balanced") == shares_of(sizes, float("inf")) == [334, 333, 333]
    assert shares_of(sizes, (3.0, 1.0, 0.0)) == [750, 250, 0]
    tempered = shares_of(sizes, 2.0)
    roots = np.sqrt(sizes)
    assert sum(tempered) == 1000 and np.abs(tempered - 1000 * roots / roots.sum()).max() < 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ((1.0,), "1 weights, expected 2"),
        ((1.0, -1.0), "at least 0"),
        ((0.0, 0.0), "not all 0"),
        ((1.0, float("nan")), "at least 0"),
        (0.5, "temperature is 0.5, expected at least 1"),
    ],
)
def test_senseless_mixtures_are_refused(rule, message):
    with pytest.raises(InputError, match=message):
        shares_of([10, 20], rule)


@pytest.mark.parametrize("rule", ["balanced", 2.0, (1.0, 5.0, 2.0)])
def test_items_of_a_data_set_are_seen_equally_often(rule):
    parts = np.repeat([0, 1, 2], [41, 7, 2])
    mixed = EpochSampler(np.ones(50), np.ones(50), Budget(items=4), seed=3, parts=parts, mixture=rule)
    seen = np.zeros(50, dtype=int)
    for epoch in range(9):
        items = mixed.plan(epoch).items
        assert np.bincount(parts[items], minlength=3).tolist() == shares_of([41, 7, 2], rule)
        seen += np.bincount(items, minlength=50)
    for part in range(3):
        assert np.ptp(seen[parts == part]) <= 1
    again = EpochSampler(np.ones(50), np.ones(50), Budget(items=4), seed=3, parts=parts, mixture=rule)
    assert again.batch(101).tolist() == mixed.batch(101).tolist()


def test_two_million_items_are_planned_in_seconds_and_bounded_memory():
    rng = np.random.default_rng(0)
    nodes = rng.integers(2, 60, 2_000_000)
    tracemalloc.start()
    began = time.process_time()
    plan = EpochSampler(nodes, nodes * 20, Budget(2048, 30_000), seed=0).plan(0)
    spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent < 20 and peak < 400e6
    assert len(plan.items) == 2_000_000 and nodes[plan[7]].sum() <= 2048


# ---------------------------------------------------------------------- planned in pieces
@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 1000, 65_537])
def test_a_scramble_is_a_permutation_that_its_key_decides(length):
    places = np.arange(length)
    found = scrambled(places, length, (5, 0))
    assert sorted(found.tolist()) == places.tolist()
    assert scrambled(found[:3] * 0 + places[:3], length, (5, 0)).tolist() == found[:3].tolist()
    if length > 50:
        other = scrambled(places, length, (5, 1))
        assert (other == found).mean() < 0.1
        # neighbours are no longer neighbours, and every part of the range is met in each tenth
        assert abs(np.corrcoef(places, found)[0, 1]) < 4 / length**0.5
        assert abs(np.corrcoef(found[:-1], found[1:])[0, 1]) < 4 / length**0.5
        tenths = np.histogram2d(places, found, bins=5)[0]
        chi = ((tenths - length / 25) ** 2 / (length / 25)).sum()
        assert chi < 50


@pytest.fixture
def in_pieces(monkeypatch):
    """As if a hundred items were many."""
    monkeypatch.setattr("atomfield.data.sampler.WHOLE", 100)
    monkeypatch.setattr("atomfield.data.sampler.PIECE", 64)


def test_an_epoch_in_pieces_sees_every_item_once(in_pieces):
    rng = np.random.default_rng(1)
    nodes, edges = rng.integers(1, 60, 500), rng.integers(1, 300, 500)
    first = EpochSampler(nodes, edges, Budget(100, 500), seed=5)
    assert first.pieces == 8
    lengths = [len(first.plan(piece)) for piece in range(24)]
    seen = [first.batch(k).tolist() for k in range(sum(lengths))]
    ends = np.cumsum(lengths)[7::8].tolist()
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        assert sorted(i for b in seen[start:end] for i in b) == list(range(500))
    assert seen[: ends[0]] != seen[ends[0] : ends[1]]
    assert all(nodes[b].sum() <= 100 and edges[b].sum() <= 500 for b in seen)
    assert first.micro_batches_per_epoch == pytest.approx(ends[0], rel=0.15)
    again = EpochSampler(nodes, edges, Budget(100, 500), seed=5)
    assert [again.batch(k).tolist() for k in (300, 2, 77)] == [seen[300], seen[2], seen[77]]


@pytest.mark.parametrize("rule", ["natural", "balanced", 2.0, (1.0, 5.0, 2.0)])
def test_mixtures_in_pieces_see_items_of_a_data_set_equally_often(in_pieces, rule):
    parts = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [310, 75, 15]))
    mixed = EpochSampler(np.ones(400), np.ones(400), Budget(items=4), seed=3, parts=parts, mixture=rule)
    seen = np.zeros(400, dtype=int)
    for epoch in range(6):
        items = np.concatenate([mixed.plan(epoch * mixed.pieces + p).items for p in range(mixed.pieces)])
        assert np.bincount(parts[items], minlength=3).tolist() == shares_of([310, 75, 15], rule)
        seen += np.bincount(items, minlength=400)
    for part in range(3):
        assert np.ptp(seen[parts == part]) <= 1


def test_of_a_hundred_million_items_one_piece_is_planned_at_a_time(monkeypatch):
    """Ten million stand for them here: time and memory of a plan are those of a piece."""
    nodes = np.full(10_000_000, 20, dtype=np.int32)
    sampled = EpochSampler(nodes, nodes, Budget(2048), seed=0)
    tracemalloc.start()
    began = time.process_time()
    plan = sampled.plan(sampled.pieces - 1)
    spent, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert spent < 10 and peak < 200e6
    assert len(plan.items) == 10_000_000 - (sampled.pieces - 1) * 2**20


# ---------------------------------------------------------------------- parts of a store
def test_a_part_of_a_store_is_planned_without_reading_it(tmp_path, monkeypatch):
    graphs = [*(molecule(i) for i in range(6)), *(crystal(i) for i in range(3)), flow(0), flow(1)]
    write_store(graphs, tmp_path / "store", shard_records=4)
    part = Subset(Store(tmp_path / "store"), [9, 0, 7, 10])
    assert [g.world for g in part] == ["field", "molecule", "crystal", "field"]
    assert torch.equal(part[1].positions, graphs[0].positions) and len(part[1:3]) == 2
    reads = []
    original = Store.__getitem__
    monkeypatch.setattr(Store, "__getitem__", lambda self, i: reads.append(i) or original(self, i))
    columns = columns_of(part)
    assert columns["num_nodes"].tolist() == [48, graphs[0].num_nodes, 4, 48]
    assert columns["num_times"].tolist() == [3, 1, 1, 3] and columns["group"][1] == "molecule 0"
    assert reads == []
    counted = [with_edges(g, 5.0).num_edges for g in part]  # of so few records all are counted
    assert reads.clear() is None and edges_of(part).tolist() == [max(n, 1) for n in counted]
    assert sorted(reads) == [0, 7, 9]
    listed = columns_of([graphs[0], graphs[9]])
    assert listed["num_times"].tolist() == [1, 3]


@pytest.mark.parametrize("cutoff", [5.0, 7.0])
def test_edges_of_a_store_are_estimated_from_volumes_and_few_records(tmp_path, monkeypatch, cutoff):
    """Crystals of densities that differ fourfold, and clusters."""
    rng = np.random.default_rng(0)

    def solid(k):
        side = 3.0 * rng.uniform(0.9, 1.4)
        places = np.stack(np.meshgrid(*[np.arange(2.0)] * 3, indexing="ij"), -1).reshape(-1, 3) * side
        return Graph(
            torch.from_numpy(places + rng.normal(scale=0.1, size=(8, 3))),
            torch.full((8,), 14),
            "crystal",
            cell=torch.eye(3, dtype=torch.float64) * 2 * side,
            pbc=torch.ones(3, dtype=torch.bool),
            quantities={"energy": torch.tensor(0.0, dtype=torch.float64)},
            dataset="solids",
        )

    graphs = [*(solid(k) for k in range(300)), *(molecule(k) for k in range(100))]
    write_store(graphs, tmp_path / "store")
    true = np.array([with_edges(g, cutoff).num_edges for g in graphs])
    reads = []
    original = Store.__getitem__
    monkeypatch.setattr(Store, "__getitem__", lambda self, i: reads.append(i) or original(self, i))
    found = edges_of(Store(tmp_path / "store"), cutoff)
    assert len(reads) <= 128 and len(set(reads)) == len(reads)
    assert found[:300].sum() == pytest.approx(true[:300].sum(), rel=0.05)
    assert found[300:].sum() == pytest.approx(true[300:].sum(), rel=0.15)  # a handful of edges each
    assert np.quantile(np.abs(np.log(found[:300] / true[:300])), 0.9) < 0.5
    assert np.corrcoef(found[:300], true[:300])[0, 1] > 0.9


def test_joined_sets_are_one_after_the_other(tmp_path):
    graphs = [molecule(i) for i in range(5)]
    write_store(graphs, tmp_path / "store")
    joined = Joined([Subset(Store(tmp_path / "store"), [4, 2]), graphs[:2], [flow(0)]])
    expected = [graphs[4], graphs[2], graphs[0], graphs[1], flow(0)]
    assert [g.group for g in joined] == [g.group for g in expected] and joined[-1].world == "field"
    assert joined.parts.tolist() == [0, 0, 1, 1, 2]
    assert columns_of(joined)["num_nodes"].tolist() == [g.num_nodes for g in expected]
    assert [g.group for g in joined[1:4]] == [g.group for g in expected[1:4]]
    assert edges_of(joined)[-1] == flow(0).num_edges
