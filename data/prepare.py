"""Sources become a store: in parallel, in bounded memory, and so that a kill at any moment loses only unfinished chunks.

The store is drafted in ``.NAME.partial`` beside it, with a journal of the chunks that are done (:mod:`.journal`). The same
call goes on from there and ends with the same bytes as one that nobody disturbed, for any number of workers (:mod:`.workers`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .chunks import Failure, Recipe, Watch
from .errors import InputError, Provenance
from .excluding import identities_of
from .journal import JOURNAL, LOCK, Entry, Journal
from .parts import Part, parts_of, stamps
from .readers.options import BadRecord, ReadOptions
from .shards import Form, write_synced
from .store import index_of, is_store, read_index, refuse_occupied
from .tally import Tally
from .workers import build_here, build_together

logger = logging.getLogger("atomfield")

_BYTES_PER_WORKER = 16 * 2**20


@dataclass(frozen=True)
class Prepared:
    """index: of the whole store. bad: records that were skipped now, in order. findings: what the watches found, one for each
    chunk in the order of the records. new_records: how many were written; 0 where the store had been complete already.
    """

    index: dict[str, Any]
    bad: list[BadRecord]
    findings: list[Any]
    new_records: int
    left_out: dict[str, int] = field(default_factory=dict)
    """Source given as ``without`` -> how many records of it were left out now."""


def prepare(
    sources: Sequence[str],
    out: str | Path,
    options: ReadOptions | None = None,
    *,
    workers: int = 1,
    append: bool = False,
    without: Sequence[str] = (),
    form: Form = "arrow",
    chunk_records: int = 2000,
    watch: Callable[[], Watch] | None = None,
    progress: Callable[[int], None] = lambda records: None,
) -> Prepared:
    """Read ``sources`` (files, folders, stores) and write one store.

    workers: processes; with more than one, a script that calls this needs ``if __name__ == "__main__":``. append: add to the
    store ``out``. without: sources whose molecules and crystals are left out (:mod:`.excluding`). watch: makes the object that
    sees the records of one chunk (:class:`~.chunks.Watch`). progress: is told from time to time how many records were read.

    If the last call was killed, this one goes on from what it had finished; if it had finished all, nothing is done. Raises
    ``InputError`` for a record or file that is wrong (the first one, in the order of the sources), for an ``out`` that holds
    something else, and if another process is at it.
    """
    out, options = Path(out), options or ReadOptions()
    made = _made_from(sources, options, form, chunk_records, watch, without)
    base = _base(out, made, append)
    if base is not None and made in base.get("made_from", ()):
        _sweep(out)
        return Prepared(base, [], [], 0)
    if base is not None:
        form = base["form"]
    excluded = identities_of(without)
    parts = parts_of(sources, options.targets, chunk_records)
    draft = out.parent / f".{out.name}.partial"
    journal = Journal(draft, _digest([made, base["content"] if base else ""]))
    try:
        prefix = f"shard-added{len(base['made_from']):03d}-" if base else "shard-"
        recipe = Recipe(tuple(parts), options, draft, prefix, form, chunk_records, watch, excluded)
        if journal.chunks:
            logger.warning("goes on after %d chunks that were done before", len(journal.chunks))
        _build(recipe, journal, progress, workers)
        _refuse(sources, parts, journal.in_order(), options)
        return _finish(out, draft, journal, base, made, form)
    finally:
        journal.close()
        if draft.exists() and not journal.chunks:
            shutil.rmtree(draft)


def workers_for(sources: Sequence[str]) -> int:
    """As many processes as the sources keep busy: one where starting them would take longer than reading."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    size = sum(stamp[1] for stamp in stamps(sources))
    return max(1, min(cores, size // _BYTES_PER_WORKER))


def _made_from(
    sources: Sequence[str],
    options: ReadOptions,
    form: Form,
    chunk_records: int,
    watch: Any,
    without: Sequence[str],
) -> str:
    """One sha256 for the files and everything else that decides what the store holds."""
    chosen = {name: value for name, value in asdict(options).items() if name != "on_bad"}
    content = [list(sources), stamps(sources), chosen, form, chunk_records, repr(watch)]
    return _digest([*content, list(without), stamps(without)] if without else content)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _base(out: Path, made: str, append: bool) -> dict[str, Any] | None:
    """The index of the store that is there, if it is to be appended to or was made by this very call."""
    if is_store(out):
        index = read_index(out)
        if append and "content" not in index:
            raise InputError(
                "is a store of an older format, which cannot be appended to; prepare it anew", str(out)
            )
        if append or made in index.get("made_from", ()):
            return {"made_from": [], **index}
    elif append:
        raise InputError(
            "is not a store, so nothing can be appended; leave out --append to make one", str(out)
        )
    refuse_occupied(out)
    return None


def _build(recipe: Recipe, journal: Journal, progress: Callable[[int], None], workers: int) -> None:
    count = 0

    def counted(records: int) -> None:
        nonlocal count
        count += records
        progress(count)

    try:
        if workers > 1:
            build_together(recipe, journal, progress, workers)
        else:
            build_here(recipe, journal, counted)
    except Failure as failure:
        raise InputError(failure.message, failure.where) from None


def _refuse(
    sources: Sequence[str], parts: Sequence[Part], entries: list[Entry], options: ReadOptions
) -> None:
    """What is wrong with a source as a whole: nothing in it, only bad records, no value of a target."""
    for number, source in enumerate(sources):
        its = [entry for entry in entries if parts[entry["part"]].source == number]
        bad = [_bad(one) for entry in its for one in entry["bad"]]
        wrong = [one for one in bad if not one.gap]
        if wrong and options.on_bad == "raise":
            raise InputError(f"{wrong[0].message}; skip such records with --on-bad skip", wrong[0].where)
        if not any(entry["tally"]["num_records"] for entry in its):
            if bad and not wrong:
                raise InputError(bad[0].message, bad[0].where)
            why = (
                f"all {len(bad)} records were refused, the first: {bad[0].where}: {bad[0].message}"
                if bad
                else "all its records are in what --without names"
                if any(entry["left_out"] for entry in its)
                else "no records found"
            )
            raise InputError(why, source)
        held = {name for entry in its for name in entry["tally"]["quantities"]}
        missing = [target for target in options.targets if target not in held]
        if missing:
            raise InputError(f"no record has a value of {', '.join(map(repr, missing))}", source)
    if lacking := options.nowhere({name for entry in entries for name in entry["tally"]["quantities"]}):
        raise InputError(lacking, ", ".join(sources))  # a key may be that of one source and not of another


def _bad(entry: Entry) -> BadRecord:
    return BadRecord(Provenance(**entry["where"]), entry["message"], entry.get("gap", ""))


def _finish(
    out: Path, draft: Path, journal: Journal, base: dict[str, Any] | None, made: str, form: Form
) -> Prepared:
    """Index and bad records; then the draft becomes the store, or its shards move into the one that is there."""
    entries = journal.in_order()
    tally, shards = Tally(), list(base["shards"]) if base else []
    if base is not None:
        tally.merge(base)
    before = tally.num_records
    for entry in entries:
        tally.merge(entry["tally"])
        shards += entry["shards"]
    index = index_of(tally, shards, form)
    bad = [_bad(one) for entry in entries for one in entry["bad"]]
    listed = _listed_before(out, base) + [b.listed() for b in bad]
    index["num_bad_records"] = len(listed)
    index["made_from"] = [*(base["made_from"] if base else ()), made]
    new = {shard["file"] for entry in entries for shard in entry["shards"]}
    if base is not None:
        for name in new:
            os.replace(draft / name, out / name)
        _write_ends(out, index, listed)
        shutil.rmtree(draft)
    else:
        for path in draft.iterdir():
            if path.name not in new and path.name not in (JOURNAL, LOCK):
                path.unlink()
        _write_ends(draft, index, listed)
        if out.exists():
            shutil.rmtree(out)
        os.rename(draft, out)
        _sweep(out)
    left_out: Counter[str] = Counter()
    for entry in entries:
        left_out.update(entry["left_out"])
    findings = [entry["findings"] for entry in entries]
    return Prepared(index, bad, findings, tally.num_records - before, dict(left_out))


def _listed_before(out: Path, base: dict[str, Any] | None) -> list[dict[str, str]]:
    if base is None or not base["num_bad_records"]:
        return []
    return json.loads((out / "bad_records.json").read_text())[: base["num_bad_records"]]


def _write_ends(folder: Path, index: dict[str, Any], bad: list[dict[str, str]]) -> None:
    """``bad_records.json`` and then, in one step, the index that counts."""
    contents = {"bad_records.json": bad} if bad else {}
    for name, content in {**contents, "index.json": index}.items():
        write_synced(folder / f"{name}.new", json.dumps(content, indent=1).encode())
        os.replace(folder / f"{name}.new", folder / name)


def _sweep(out: Path) -> None:
    """Take away what only an unfinished store needs."""
    for name in (JOURNAL, LOCK):
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out.parent / f".{out.name}.partial", ignore_errors=True)
