"""One run at a time in a folder: a second one would remove what the first is about to commit."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atomfield.data.errors import InputError


@contextmanager
def alone_in(out: Path, *, main: bool) -> Iterator[None]:
    """Hold ``out`` for this process, which is the ``main`` one of its run, until the block or the process ends, however it does.
    Raises ``InputError`` if another run holds it. Where the file system has no locks nothing is held."""
    if not main:
        yield
        return
    with (out / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "another run is writing into this folder; wait for it, or give another `out`", str(out)
            ) from None
        except OSError:
            pass
        yield
