"""Files become graphs: one reader per kind of file, chosen by suffix and content; see :func:`read`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .files import outcomes_of
from .options import ABSENT_FROM_THE_START, BadRecord, ReadOptions

__all__ = ["BadRecord", "ReadOptions", "read"]

logger = logging.getLogger("atomfield")


def read(
    source: str | Path, options: ReadOptions | None = None, bad: list[BadRecord] | None = None
) -> Iterator[Graph]:
    """All graphs of a file or folder, in order.

    A record that is wrong raises ``InputError`` with file, line and record, or, with ``on_bad="skip"``, is appended to
    ``bad`` (without a list: logged). A record without a label of any target is left out and appended to ``bad`` in either case.
    A file that as a whole cannot be read, or that holds no value of a target, always raises.
    """
    options = options or ReadOptions()
    seen: set[str] = set()
    count = refused = 0
    first: BadRecord | None = None
    for outcome in outcomes_of(Path(source), options):
        if isinstance(outcome, BadRecord):
            if (options.on_bad == "raise" and not outcome.gap) or (
                outcome.gap == "absent" and not count and refused >= ABSENT_FROM_THE_START
            ):
                raise InputError(_with_advice(outcome.message), outcome.where)
            refused += 1
            first = first or outcome
            if bad is None and not outcome.gap:
                logger.warning("%s: %s; skipped", outcome.where, outcome.message)
            elif bad is not None:
                bad.append(outcome)
            continue
        count += 1
        seen.update(outcome.quantities)
        yield outcome
    if first and not count and first.gap:
        raise InputError(first.message, first.where)
    if not count:
        why = (
            f"all {refused} records were refused, the first: {first.where}: {first.message}"
            if first
            else "no records found"
        )
        raise InputError(why, str(source))
    if lacking := options.nowhere(seen):
        raise InputError(lacking, Provenance(str(source)))


def _with_advice(message: str) -> str:
    return message if "--" in message else f"{message}; skip such records with --on-bad skip"
