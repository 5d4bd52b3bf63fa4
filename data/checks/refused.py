"""Records that a reader refused: a table by reason, and how many of them are too many."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from atomfield.data.errors import InputError, Provenance
from atomfield.data.readers.options import BadRecord

from .findings import Finding

MAX_BAD = 0.01
"""Share of records that may be skipped without being asked for."""


class Refused(Protocol):
    """What a reader gives for a record that is wrong: ``readers.BadRecord``."""

    @property
    def where(self) -> object: ...
    @property
    def message(self) -> str: ...
    @property
    def gap(self) -> str: ...


def reason_of(message: str) -> str:
    """The message without its numbers and quoted values, so that equal reasons are equal texts."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "'...'", message.split(";")[0])
    text = re.sub(r"\[[^\]]*\]", "[...]", text)
    return re.sub(r"[-+]?\b\d+(\.\d+)?(e[-+]?\d+)?\b", "#", text)


def check_refused(bad: Sequence[Refused], where: str) -> list[Finding]:
    """One finding per reason, most frequent first; every record is named as ``file:line (record n): reason``."""
    reasons: dict[str, list[Refused]] = defaultdict(list)
    for one in bad:
        reasons[reason_of(one.message)].append(one)
    return [
        Finding(
            "labels" if records[0].gap else "refused",
            "note" if records[0].gap else "refused",
            where,
            reason,
            "",
            tuple(f"{b.where}: {b.message}" for b in records),
            len(records),
        )
        for reason, records in sorted(reasons.items(), key=lambda item: -len(item[1]))
    ]


def listed_bad(store: Path) -> list[BadRecord]:
    """What was left out when a store was made."""
    file = store / "bad_records.json"
    if not file.is_file():
        return []
    return [
        BadRecord(Provenance(one["where"]), one["message"], one.get("gap", ""))
        for one in json.loads(file.read_text(encoding="utf-8"))
    ]


def check_share(bad: Sequence[Refused], num_good: int, max_bad: float, where: str) -> None:
    """Raise ``InputError`` where more than the share ``max_bad`` of all records was skipped. Records that only lack a label do
    not count."""
    bad = [one for one in bad if not one.gap]
    total = num_good + len(bad)
    if total and len(bad) > max_bad * total:
        most = check_refused(bad, where)[0]
        raise InputError(
            f"skipped {len(bad)} of {total} records ({len(bad) / total:.1%}), more than --max-bad {max_bad:g} allows; most often "
            f"({most.count}): {most.records[0]}; allow it with --max-bad {min(1.0, _up(len(bad) / total)):g}",
            where,
        )


def _up(share: float) -> float:
    return int(share * 100 + 1) / 100
