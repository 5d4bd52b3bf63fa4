"""Splits keep groups whole and depend on names alone."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomfield.data.splits import split_groups, split_of


def test_shares_of_split_of() -> None:
    sides = [split_of(f"molecule {i}") for i in range(20_000)]
    assert sides.count("test") / len(sides) == pytest.approx(0.10, abs=0.01)
    assert sides.count("valid") / len(sides) == pytest.approx(0.05, abs=0.01)


def test_split_of_is_fixed() -> None:
    """Stores that were split before stay split the same."""
    names = ("CCO", "c1ccccc1", "NaCl|rocksalt", "flow/17")
    assert [split_of(name, valid=0.3, test=0.3) for name in names] == ["valid", "train", "train", "test"]


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60), st.floats(0.05, 0.5), st.integers(0, 5)
)
def test_groups_are_whole_unless_they_are_few_or_all_too_large(
    groups: list[str], fraction: float, seed: int
) -> None:
    kept, held = split_groups(groups, fraction, seed)
    assert sorted(kept + held) == list(range(len(groups)))
    assert kept
    assert held
    wanted = min(max(1, round(fraction * len(groups))), len(groups) - 1)
    most = max(1.5 * wanted, wanted + 1, len(groups) / 4)
    assert len(held) <= most
    if min(groups.count(g) for g in set(groups)) <= most and len(set(groups)) >= 5:
        assert not {groups[i] for i in kept} & {groups[i] for i in held}
    assert split_groups(groups, fraction, seed) == (kept, held)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sizes", [(900, 100), (500, 500), (400, 350, 250), (250, 250, 250, 250)])
def test_few_groups_are_all_in_training(
    sizes: tuple[int, ...], seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The dynamics of two or three molecules: a tenth of the frames is held out, not all frames of one of them."""
    groups = [f"molecule {k}" for k, size in enumerate(sizes) for _ in range(size)]
    with caplog.at_level(logging.WARNING, logger="atomfield"):
        kept, held = split_groups(groups, 0.1, seed)
    assert len(held) == 100
    assert {groups[i] for i in kept} == set(groups)
    assert f"1000 records belong to {len(sizes)} groups of {min(sizes)} to {max(sizes)}" in caplog.text


@pytest.mark.parametrize("seed", range(6))
def test_one_giant_group_does_not_send_all_others_away(seed: int) -> None:
    groups = ["giant"] * 900 + [f"small {i % 10}" for i in range(100)]
    kept, held = split_groups(groups, 0.1, seed)
    assert {groups[i] for i in held} < set(groups) - {"giant"}
    assert len({groups[i] for i in kept}) >= 7


def test_a_whole_group_of_a_fifth_is_held_out() -> None:
    groups = [f"alloy {i % 5}" for i in range(100)]
    kept, held = split_groups(groups, 0.1, 0)
    assert len(held) == 20
    assert len({groups[i] for i in held}) == 1
    assert len({groups[i] for i in kept}) == 4


def test_one_group_falls_back_to_records(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="atomfield"):
        kept, held = split_groups(["ethanol"] * 100, 0.1, 0)
    assert len(held) == 10
    assert len(kept) == 90
    assert "all 100 records belong to one group" in caplog.text


def test_distinct_groups_give_the_fraction() -> None:
    _, held = split_groups([f"m{i}" for i in range(200)], 0.1, 3)
    assert len(held) == 20
    assert split_groups(["a"], 0.5, 0) == ([0], [])
    assert split_groups(["a", "b"], 0.0, 0) == ([0, 1], [])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("count", "expected"), [(12, 16), (8, 16), (7, 8), (25, 24)])
def test_groups_that_leave_too_few_records_get_company(count: int, expected: int, seed: int) -> None:
    """Conformers by eights: one molecule is not ten records, two are, where they are no more than a quarter."""
    groups = [f"molecule {i // 8}" for i in range(8 * count)]
    share = max(0.1, min(0.2, 10 / len(groups)))
    kept, held = split_groups(groups, share, seed, least=10)
    assert len(held) == expected
    assert not {groups[i] for i in kept} & {groups[i] for i in held}
    assert len(split_groups(groups, share, seed)[1]) == (24 if count == 25 else 8)
