"""The journal of an unfinished store: which chunks are done, one line each, synced before the next begins.

A line that was cut short by a kill counts for nothing. A chunk counts only if its shards are there with their sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from .errors import InputError

JOURNAL, LOCK = "journal.jsonl", "lock"
Entry = dict[str, Any]


class Busy(InputError):
    """Another process is writing the same store."""


class Journal:
    """``chunks``: (part, chunk) -> entry of what is done; ``ends``: part -> number of its chunks, where it was read to
    its end. Opening it continues a draft that has the same ``recipe`` and begins anew otherwise.

    Raises :class:`Busy` if another process is writing the draft.
    """

    def __init__(self, draft: Path, recipe: str):
        self.draft = draft
        draft.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(draft / LOCK, draft)
        self.chunks: dict[tuple[int, int], Entry] = {}
        self.ends: dict[int, int] = {}
        lines = self._lines()
        if lines and lines[0] == {"recipe": recipe}:
            for entry in lines[1:]:
                self._recall(entry)
        else:
            self._clear()
            lines = [{"recipe": recipe}]
        kept: list[Entry] = [{"recipe": recipe}, *self.chunks.values()]
        kept += [{"part": part, "chunks": count} for part, count in self.ends.items()]
        beside = draft / f"{JOURNAL}.new"
        beside.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        os.replace(beside, draft / JOURNAL)
        self._file = open(draft / JOURNAL, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)

    def _lines(self) -> list[Entry]:
        path = self.draft / JOURNAL
        if not path.is_file():
            return []
        out = []
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                out.append(json.loads(line))
            except ValueError:
                break
        return out

    def _recall(self, entry: Entry) -> None:
        if "shards" not in entry:
            self.ends[entry["part"]] = entry["chunks"]
        elif all(_is_whole(self.draft / shard["file"], shard) for shard in entry["shards"]):
            self.chunks[entry["part"], entry["chunk"]] = entry

    def _clear(self) -> None:
        for path in self.draft.iterdir():
            if path.name != LOCK:
                path.unlink()

    def add(self, entry: Entry) -> None:
        """Remember a chunk, or the end of a part, and wait until the disk has it."""
        if "shards" in entry:
            self.chunks[entry["part"], entry["chunk"]] = entry
        else:
            self.ends[entry["part"]] = entry["chunks"]
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def is_done(self, part: int) -> bool:
        """Whether nothing of the part is left to do."""
        return part in self.ends and all((part, c) in self.chunks for c in range(self.ends[part]))

    def in_order(self) -> list[Entry]:
        """All chunks, in the order of their records."""
        return [self.chunks[key] for key in sorted(self.chunks)]

    def close(self) -> None:
        self._file.close()
        if self._lock is not None:
            os.close(self._lock)


def _is_whole(path: Path, shard: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != shard["bytes"]:
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == shard["sha256"]


def _locked(path: Path, draft: Path) -> int | None:
    """An open file that no other process has locked; the lock goes with the process. None where there are no such locks."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise Busy(
            "another process is writing here; wait for it, or give another --out", str(draft)
        ) from None
    return descriptor
