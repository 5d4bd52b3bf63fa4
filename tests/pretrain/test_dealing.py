"""A step's micro-batches dealt by cost: each of them once, for any number of ranks, and no rank with much more than another."""

import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomfield.data.errors import InputError
from atomfield.data.source import open_source
from atomfield.data.store import write_store
from atomfield.data.subset import grid_axes_of
from atomfield.pretrain.dealing import check_micro_batches, freely, in_rounds, shares
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.streams import Stream
from tests.small import waves

COSTS = st.lists(st.integers(1, 1000), min_size=12, max_size=12)


@pytest.fixture(scope="module")
def streams():
    """Molecules and flows of the starter corpus, four micro-batches each, as long as each other at most."""
    common = {"cutoff": 5.0, "seed": 0, "micro_batches": 4}
    return [
        Stream(
            open_source("starter/molecules"), Targets("supervised"), max_edges=2000, name="atoms", **common
        ),
        Stream(open_source("starter/fields"), Targets("next_step"), max_edges=4700, name="flows", **common),
    ]


def imbalance(streams, dealt):
    """The largest share over the mean share."""
    loads = [sum(streams[which].cost(number) for which, number in share) for share in dealt]
    return max(loads) / statistics.fmean(loads)


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_any_number_of_ranks_computes_the_same_step(streams, ranks, alike):
    for step in (0, 7, 300):
        dealt = shares(streams, step, ranks, alike=alike)
        assert dealt == shares(streams, step, ranks, alike=alike)
        wanted = [(which, number) for which in (0, 1) for number in range(4 * step, 4 * step + 4)]
        assert sorted(key for share in dealt for key in share) == wanted and len(dealt) == ranks
        assert all(share == sorted(share) and share for share in dealt)
        if alike:
            assert {tuple(sum(w == which for w, _ in share) for which in (0, 1)) for share in dealt} == {
                (4 // ranks, 4 // ranks)
            }


@pytest.mark.parametrize("ranks", [2, 4])
def test_shares_are_more_equal_than_those_dealt_by_number(streams, ranks):
    by_number, alike, free = [], [], []
    for step in range(60):
        everything = [(w, 4 * step + k) for w in (0, 1) for k in range(4)]
        by_number.append(imbalance(streams, [everything[rank::ranks] for rank in range(ranks)]))
        alike.append(imbalance(streams, shares(streams, step, ranks, alike=True)))
        free.append(imbalance(streams, shares(streams, step, ranks, alike=False)))
    before, rounds, now = map(statistics.fmean, (by_number, alike, free))
    assert now - 1 < 0.6 * (before - 1) and now <= rounds < before, (before, rounds, now)


@given(COSTS, st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_no_free_share_is_above_the_bound(costs, ranks):
    hands = freely({(0, k): float(c) for k, c in enumerate(costs)}, ranks)
    loads = [sum(costs[k] for _, k in hand) for hand in hands]
    assert all(hands) and sum(map(len, hands)) == 12
    # the costliest first: the last to arrive at the fullest rank came when that one had no more than the mean
    assert max(loads) <= sum(costs) / ranks + (1 - 1 / ranks) * max(costs)


@given(COSTS, COSTS, st.sampled_from([1, 2, 3, 4, 6, 12]))
@settings(max_examples=60, deadline=None)
def test_rounds_give_as_many_of_each_stream_and_differ_by_less_than_the_costliest(first, second, ranks):
    own = [{(w, k): float(c) for k, c in enumerate(costs)} for w, costs in enumerate((first, second))]
    hands = in_rounds(own, ranks)
    assert {tuple(sum(w == which for w, _ in hand) for which in (0, 1)) for hand in hands} == {
        (12 // ranks, 12 // ranks)
    }
    loads = [sum(own[w][w, k] for w, k in hand) for hand in hands]
    assert max(loads) - min(loads) <= max(first + second)


def test_a_longer_rollout_costs_more():
    graphs = waves(4)
    common = {"cutoff": 5.0, "max_edges": 520, "seed": 0, "micro_batches": 2}
    one = Stream(graphs, Targets("next_step"), **common)
    three = Stream(graphs, Targets("next_step"), rollout=3, **common)
    numbers = range(40)
    price = one.price.of(64, 512, 2 * 64)
    ratios = {round(three.cost(n) / price, 3) for n in numbers}
    assert ratios == {1.0, 1.4, 1.8} and all(one.cost(n) == price for n in numbers)
    assert [three.cost(n) for n in numbers[::2]] == [three.cost(n) for n in numbers[1::2]]


def test_points_of_a_grid_cost_more_than_scattered_ones_where_there_are_fourier_layers(tmp_path):
    def scattered_points(graphs):
        return [replace(g, grid_shape=None, edges={"knn": g.edges["grid"]}) for g in graphs]

    grids = waves(4)
    points, fewer = scattered_points(grids), scattered_points(waves(4, num_points=7))
    write_store(iter([*grids, *fewer]), tmp_path / "both")
    assert grid_axes_of(open_source(str(tmp_path / "both"))).tolist() == [2] * 4 + [0] * 4
    common = {"targets": Targets("next_step"), "cutoff": 5.0, "max_edges": 520, "seed": 0}
    on_grids, scattered, plain = (
        Stream(g, fourier=f, **common).cost(0) for g, f in ((grids, True), (points, True), (grids, False))
    )
    assert scattered == plain and 1.2 * plain < on_grids < 2 * plain


def test_what_cannot_be_dealt_is_refused():
    check_micro_batches([("a", 1), ("b", 3)], 4, 1)
    with pytest.raises(
        InputError, match="4 micro-batches in all, expected at least one for each of the 5 processes"
    ):
        check_micro_batches([("a", 1), ("b", 3)], 5, 0)
    with pytest.raises(
        InputError, match="stream 'b' has 3 micro-batches per step, expected a multiple of the 2"
    ):
        check_micro_batches([("a", 2), ("b", 3)], 2, 2)
