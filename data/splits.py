"""Splits by group: all records of one molecule, composition with prototype, or trajectory go to the same side."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Literal

logger = logging.getLogger("atomfield")

FEWEST_GROUPS = 5
"""Of fewer groups none is held out whole: a model that is to know two molecules must be shown both."""
MOST_OF_ALL = 0.25
"""Share of all records up to which one whole group is held out where every group is larger than what was asked for."""
MOST_GROUPS = 1 / 3
"""Share of the groups that are held out at most, where no larger share of the records is asked for."""


def fraction_of(group: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but the group's name and the seed."""
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_of(
    group: str, *, valid: float = 0.05, test: float = 0.10, seed: int = 0
) -> Literal["train", "valid", "test"]:
    """The side of one group. The same name is on the same side in every corpus, machine and order of reading."""
    place = fraction_of(group, seed)
    if place < test:
        return "test"
    return "valid" if place < test + valid else "train"


def split_groups(
    groups: Sequence[str], fraction: float, seed: int, blocks: Sequence[str] = (), least: int = 0
) -> tuple[list[int], list[int]]:
    """``(kept, held out)`` record numbers, in order, with about ``fraction`` of the records held out by whole groups.

    A group that is larger than one and a half times what is asked for stays in training. Where all are, the smallest is held out
    if it has at most a quarter of the records. Else, and where there are fewer than five groups (the dynamics of one molecule, or
    of two), the split is by ``blocks``, the names of smaller groups, or without them by single records, which is said. Where
    whole groups make up fewer than ``least`` records and than what is asked for, more are taken, up to a quarter of the records.
    Both sides hold at least one record if there are two or more records and ``fraction`` is above zero.
    """
    count = len(groups)
    if count < 2 or fraction <= 0:
        return list(range(count)), []
    members = _members(groups)
    wanted = min(max(1, round(fraction * count)), count - 1)
    held = _whole_groups(members, wanted, count, seed, least) if len(members) >= FEWEST_GROUPS else []
    if not held and len(set(blocks)) >= FEWEST_GROUPS:
        held = _whole_groups(_members(blocks), wanted, count, seed, least)
    if not held:
        if len(members) == 1:
            logger.warning("all %d records belong to one group: the split is by record", count)
        elif len(members) < count:
            logger.warning(
                "%d records belong to %d groups of %d to %d, too few or too large to hold out %d records by whole groups: the "
                "split is by record", count, len(members), *_extremes(members), wanted,
            )  # fmt: skip
        held = _whole_groups({f"\0record {i}": [i] for i in range(count)}, wanted, count, seed)
    held.sort()
    chosen = set(held)
    return [i for i in range(count) if i not in chosen], held


def _members(groups: Sequence[str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group or f"\0record {i}", []).append(i)
    return members


def _extremes(members: dict[str, list[int]]) -> tuple[int, int]:
    sizes = [len(its) for its in members.values()]
    return min(sizes), max(sizes)


def _whole_groups(
    members: dict[str, list[int]], wanted: int, count: int, seed: int, least: int = 0
) -> list[int]:
    """Records of whole groups, about ``wanted`` of ``count``; empty where every group is too large."""
    held: list[int] = []
    left: list[str] = []
    most_groups = max(1.0, max(MOST_GROUPS, wanted / count) * len(members))
    taken = 0
    order = sorted(members, key=lambda name: fraction_of(name, seed))
    for name in order:
        if len(held) >= wanted or taken + 1 > most_groups:
            break
        total = len(held) + len(members[name])
        if total > max(wanted * 1.5, wanted + 1):
            left.append(name)  # too large for what is left; smaller ones may follow
        elif total < count:
            held += members[name]
            taken += 1
    for name in sorted(left, key=lambda name: len(members[name])):
        if 0 < len(held) < min(least, wanted) and len(held) + len(members[name]) <= MOST_OF_ALL * count:
            held += members[name]
    if held:
        return held
    smallest = min(order, key=lambda name: len(members[name]))
    return list(members[smallest]) if len(members[smallest]) <= MOST_OF_ALL * count else []
