"""The work of one process of ``prepare``: it reads the parts, builds the chunks that are its own and writes their shards.

A chunk is a range of record numbers of a part, so what a shard holds depends on the sources alone, not on who writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .copying import copied
from .errors import InputError, Provenance
from .excluding import Excluded
from .graph import Graph
from .parts import Part
from .readers.options import ABSENT_FROM_THE_START, BadRecord, Passed, ReadOptions
from .readers.turns import taking
from .shards import Form, ShardWriter
from .tally import Tally


class Watch(Protocol):
    """Sees every record of one chunk, in order, on its way into the store: one is made for each chunk."""

    def see(self, graph: Graph) -> None:
        """Look at a record. An ``InputError`` refuses it, as a bad record of the file."""

    def findings(self) -> Any:
        """What was seen, as JSON; called once, after the last record of the chunk."""


@dataclass(frozen=True)
class Recipe:
    """How parts become shards. ``watch``: a class at the top of a module, or a partial of one, that makes a :class:`Watch`."""

    parts: tuple[Part, ...]
    options: ReadOptions
    draft: Path
    prefix: str
    form: Form
    chunk_records: int
    watch: Callable[[], Watch] | None
    excluded: dict[str, str] = field(default_factory=dict)
    """Identities of records to leave out -> the source that has them, see :mod:`.excluding`."""


class _Chunk:
    """One chunk while it is built."""

    def __init__(self, recipe: Recipe, part: int, number: int):
        self.part, self.number = part, number
        self._writer = ShardWriter(
            recipe.draft, f"{recipe.prefix}{part:05d}-{number:05d}-", recipe.form, recipe.chunk_records
        )
        self._tally = Tally()
        self._bad: list[dict[str, Any]] = []
        self._watch = recipe.watch() if recipe.watch is not None else None
        self._on_bad = recipe.options.on_bad
        self._excluded = Excluded(recipe.excluded)

    def add(self, outcome: Graph | BadRecord) -> None:
        if isinstance(outcome, BadRecord):
            self._refuse(outcome)
            return
        try:
            if self._excluded.has(outcome):
                return
            if self._watch is not None:
                self._watch.see(outcome)
            self._tally.add(outcome)
        except InputError as error:
            self._refuse(BadRecord(outcome.provenance, error.message))
            return
        self._writer.add(outcome)

    def copy(self, part: Part) -> int:
        """Take the rows of a store as they lie; how many, 0 where that cannot be done."""
        if part.rows is None or self._watch is not None or self._excluded.identities:
            return 0
        found = copied(part.store(), *part.rows)
        if found is None:
            return 0
        table, self._tally = found
        self._writer.write(table)
        return table.num_rows

    def _refuse(self, bad: BadRecord) -> None:
        if bad.gap == "absent" and not self._tally.num_records and len(self._bad) >= ABSENT_FROM_THE_START:
            raise InputError(bad.message, bad.where)
        if self._on_bad == "raise" and not bad.gap:
            advice = "" if "--" in bad.message else "; skip such records with --on-bad skip"
            raise InputError(f"{bad.message}{advice}", bad.where)
        self._bad.append({"where": asdict(bad.where), "message": bad.message, "gap": bad.gap})

    def entry(self) -> dict[str, Any]:
        self._writer.flush()
        return {
            "part": self.part,
            "chunk": self.number,
            "shards": self._writer.entries,
            "tally": self._tally.summary(),
            "bad": self._bad,
            "left_out": dict(self._excluded.counts),
            "findings": self._watch.findings() if self._watch is not None else None,
        }


class Failure(Exception):
    """What is wrong with the input, and the chunk where it was met: of several, the first in the order of records counts."""

    def __init__(self, place: tuple[int, int, int], message: str, where: Provenance | str | None):
        super().__init__(place, message, where)  # its arguments let it travel between processes
        self.place, self.message, self.where = place, message, where


def build_chunks(
    recipe: Recipe,
    finished: Sequence[int],
    claim: Callable[[int, int], bool],
    stopped: Callable[[], bool],
    report: Callable[[dict[str, Any]], None],
    progress: Callable[[int], None],
) -> None:
    """Go through all parts but the ``finished`` ones and ``report`` each chunk that ``claim(part, chunk)`` grants, and the end
    of each part. Raises :class:`Failure` where the input is wrong."""
    skip = set(finished)
    for number, part in enumerate(recipe.parts):
        if stopped():
            return
        if number in skip or not (part.shared or claim(number, 0)):
            continue
        _Reader(recipe, number, claim, stopped, report, progress).run()


class _Reader:
    """One pass over one part."""

    def __init__(self, recipe: Recipe, part: int, claim: Callable[[int, int], bool], stopped: Callable[[], bool],
                 report: Callable[[dict[str, Any]], None], progress: Callable[[int], None]):  # fmt: skip
        self._recipe, self._part, self._shared = recipe, part, recipe.parts[part].shared
        self._claim, self._stopped, self._report, self._progress = claim, stopped, report, progress
        self._granted: dict[int, bool] = {} if self._shared else {0: True}
        self._latest = 0
        self._record = -1

    def run(self) -> None:
        whole = _Chunk(self._recipe, self._part, 0)
        if copied_records := whole.copy(self._recipe.parts[self._part]):
            self._progress(copied_records)
            self._report(whole.entry())
            self._report({"part": self._part, "chunks": 1})
            return
        chunk: _Chunk | None = None
        try:
            with taking(self._turn):
                for outcome in self._recipe.parts[self._part].outcomes(self._recipe.options):
                    number = self._number(outcome)
                    if chunk is not None and chunk.number != number:
                        self._report(chunk.entry())
                        chunk = None
                        if self._stopped() and not any(
                            self._granted[c] for c in self._granted if c >= number
                        ):
                            return
                    if not self._mine(number):
                        continue
                    assert not isinstance(outcome, Passed), "records of a file must come in order"
                    chunk = chunk or _Chunk(self._recipe, self._part, number)
                    chunk.add(outcome)
                    self._progress(1)
        except InputError as error:
            raise Failure((self._part, self._latest, self._record), error.message, error.where) from None
        if chunk is not None:
            self._report(chunk.entry())
        elif not self._shared:
            self._report(_Chunk(self._recipe, self._part, 0).entry())
        self._report(
            {"part": self._part, "chunks": self._latest + 1 if self._record >= 0 or not self._shared else 0}
        )

    def _number(self, outcome: Graph | BadRecord) -> int:
        """The chunk of a record; one without a number goes with the record before it."""
        where = outcome.provenance if isinstance(outcome, Graph) else outcome.where
        self._record = max(self._record, where.record if where.record is not None else 0)
        if self._shared:
            self._latest = max(self._latest, self._record // self._recipe.chunk_records)
        return self._latest

    def _turn(self, where: Provenance) -> bool:
        return not self._shared or self._mine((where.record or 0) // self._recipe.chunk_records)

    def _mine(self, chunk: int) -> bool:
        granted = self._granted.get(chunk)
        if granted is None:
            granted = self._granted[chunk] = self._claim(self._part, chunk)
        return granted
