"""Splits by group: all records of one molecule, composition with prototype, or trajectory go to the same side."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import Literal

logger = logging.getLogger("atomfield")


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


def split_groups(groups: Sequence[str], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """``(kept, held out)`` record numbers, in order, with about ``fraction`` of the records held out by whole groups.

    Falls back to single records, and says so, where there is one group or none (a molecular-dynamics file of one
    molecule). Both sides hold at least one record if there are two or more records and ``fraction`` is above zero.
    """
    count = len(groups)
    if count < 2 or fraction <= 0:
        return list(range(count)), []
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group or f"\0record {i}", []).append(i)
    if len(members) == 1:
        logger.warning("all %d records belong to one group: the split is by record", count)
        members = {f"\0record {i}": [i] for i in range(count)}
    wanted = min(max(1, round(fraction * count)), count - 1)
    held: list[int] = []
    order = sorted(members, key=lambda name: fraction_of(name, seed))
    for name in order:
        if len(held) >= wanted:
            break
        if held and len(held) + len(members[name]) > max(wanted * 1.5, wanted + 1):
            continue  # a group too large for what is left; smaller ones follow
        if len(held) + len(members[name]) == count:
            continue
        held += members[name]
    held.sort()
    chosen = set(held)
    return [i for i in range(count) if i not in chosen], held
