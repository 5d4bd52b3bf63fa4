"""SRC of the command line: a store or its part (``STORE:train``), the packaged starter corpus, a file or a folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .graph import Graph
from .partition import part_of
from .store import Store, is_store

if TYPE_CHECKING:
    from .readers import BadRecord, ReadOptions

logger = logging.getLogger("atomfield")

_STARTER = Path(__file__).parent / "starter"


def open_source(
    source: str | Path, options: ReadOptions | None = None, bad: list[BadRecord] | None = None
) -> Sequence[Graph]:
    """A :class:`~atomfield.data.store.Store` where ``source`` is one (or ``starter/NAME``), else all graphs that the file or
    folder holds: a list, or, if they are large, a store that is made once and kept (:mod:`.cache`). ``options.level`` goes before
    the levels that the records of a store have; units and keys of files do not concern it.

    Raises ``InputError`` if nothing is there, nothing can be read, or a wanted target is in no record.
    """
    from .readers import ReadOptions, read

    options = options or ReadOptions()
    text, part = split_part(source)
    folder = store_folder(text)
    if folder is not None:
        held_store = Store(folder)
        for target in options.targets:
            if target not in held_store.index["quantities"]:
                held = ", ".join(held_store.index["quantities"]) or "none"
                raise InputError(f"target {target!r} is not in the store; it holds {held}", str(source))
        if options.units:
            logger.warning(
                "%s: --units is ignored: a store has been in eV, angstrom and their combinations since it was prepared",
                source,
            )
        if options.map:
            logger.warning(
                "%s: --map is ignored: the names of a store are those that it was prepared with, and its numbers its own",
                source,
            )
        chosen = part_of(held_store, folder, part) if part else held_store
        return AtLevel(chosen, options.level) if options.level else chosen
    from .cache import cached_store, is_large

    if is_large(source):
        store = cached_store(source, options, bad)
        if store is not None:
            return store
    graphs = list(read(source, options, bad))
    if not graphs:
        raise InputError("no record could be read", str(source))
    return graphs


class AtLevel(Sequence[Graph]):
    """The records of ``source`` as of one level of theory or solver, whatever level they have themselves."""

    def __init__(self, source: Sequence[Graph], level: str):
        self.source, self.level = source, level

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i):
        if isinstance(i, slice):
            return [g.changed(level=self.level) for g in self.source[i]]
        return self.source[i].changed(level=self.level)


def split_part(source: str | Path) -> tuple[str, str]:
    """``STORE:train`` -> the store and the name of its part; a source without a part, or whose name has the colon, as it is."""
    text = str(source)
    base, colon, name = text.rpartition(":")
    if colon and base and not Path(text).exists() and (is_store(base) or base.startswith("starter/")):
        return base, name
    return text, ""


def store_folder(source: str | Path) -> Path | None:
    """The folder of the store that ``source`` names, or None if it names files."""
    if is_store(source):
        return Path(source)
    parts = Path(source).parts
    if parts[:1] == ("starter",) and not Path(source).exists():
        folder = _STARTER.joinpath(*parts[1:])
        if is_store(folder):
            return folder
        held = sorted(p.name for p in _STARTER.iterdir() if is_store(p))
        names = ", ".join(f"starter/{n}" for n in held) or "nothing"
        raise InputError(f"the starter corpus has no such part; it has {names}", str(source))
    return None
