"""The one error that a user's own input may raise, and how it names the place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Provenance:
    """Where a record came from: file path, record number (0-based), line (1-based) and licence, if known."""

    file: str = ""
    record: int | None = None
    line: int | None = None
    licence: str = ""

    def __str__(self) -> str:
        place = self.file or "<memory>"
        if self.line is not None:
            place += f":{self.line}"
        if self.record is not None:
            place += f" (record {self.record})"
        return place


class InputError(ValueError):
    """A mistake in what the user gave: says where, what was found, what was expected and what to do.

    The command line prints it as one line and exits with code 2; libraries see a ``ValueError``.
    """

    def __init__(self, message: str, where: Provenance | str | None = None):
        self.where = where
        self.message = message = _printable(message)
        super().__init__(f"{where}: {message}" if where else message)


class NoLabelError(InputError):
    """A record with nothing wrong but that it has no label of any target. ``absent``: it lacks the very keys, which a wrong name
    of a target looks like, too."""

    def __init__(self, message: str, where: Provenance | str | None = None, absent: bool = False):
        super().__init__(message, where)
        self.absent = absent


def _printable(text: str) -> str:
    """One line: what a file put into a message (a line break, a control character) is shown as Python would write it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class RunError(RuntimeError):
    """A run that cannot go on through no mistake in the input: says what happened and what is left to go on from.

    The command line prints it as one line and exits with ``code``.
    """

    code = 1


class Interrupted(RunError):
    """A run that was asked to end and has saved; the same command continues it. 75 is ``EX_TEMPFAIL``: try again later."""

    code = 75
