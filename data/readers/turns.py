"""Sharing one file among processes: each reads it all, and builds only the records whose turn is its own.

Finding where a record begins costs little, building it much; so readers need not know of each other, and of none it is asked
more than to build records inside :func:`~atomfield.data.readers.options.attempt`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from atomfield.data.errors import Provenance

Turn = Callable[[Provenance], bool]
_turn: Turn | None = None


@contextmanager
def taking(turn: Turn) -> Iterator[None]:
    """Within it, this process builds the records for which ``turn(where)`` is true."""
    global _turn
    before, _turn = _turn, turn
    try:
        yield
    finally:
        _turn = before


def mine(where: Provenance) -> bool:
    """Whether this process builds the record; always, where no work is shared."""
    return _turn is None or _turn(where)
