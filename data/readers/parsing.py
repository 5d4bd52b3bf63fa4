"""What a parser that is not ours, or a number in a text, runs into, as one line that names the place."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from atomfield.data.errors import InputError, Provenance


@contextmanager
def parsed(what: str, where: Provenance | str) -> Iterator[None]:
    """Within it, any exception of a parser becomes ``InputError``: ``file: {what} (reason)``. Its warnings are not printed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{what} (it asks for more memory than there is)", where) from None
    except Exception as error:  # parsers let through whatever a wrong file runs them into
        reason = " ".join(str(error).split())[:160]
        kind = type(error).__name__
        raise InputError(f"{what} ({kind}{': ' + reason if reason else ''})", where) from None


def floats(words: Sequence[str], count: int, what: str, where: Provenance) -> list[float]:
    """``count`` finite numbers of a line. Raises ``InputError``, also for the stars of an overflown Fortran field."""
    if len(words) < count:
        raise InputError(f"{what} has {len(words)} numbers, expected {count}", where)
    try:
        numbers = [float(w) for w in words[:count]]
    except ValueError:
        wrong = next(w for w in words[:count] if not is_number(w))
        raise InputError(f"{what} has {wrong[:30]!r}, expected a number", where) from None
    if not np.isfinite(numbers).all():
        raise InputError(f"{what} is {words[:count]}, expected finite numbers", where)
    return numbers


def is_number(text: str) -> bool:
    """Whether ``float`` takes it."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def atomic_number(symbol: object, atom: int, where: Provenance) -> int:
    """1 to 118 from a symbol (``Si``, ``SI``, ``b"Si"``, ``D``) or a number. Raises ``InputError`` that names the atom."""
    from ase.data import atomic_numbers

    text = symbol.decode("ascii", "replace") if isinstance(symbol, bytes) else str(symbol)
    text = text.strip()
    isotopes = {"D": 1, "T": 1}
    number = int(text) if text.isdecimal() else isotopes.get(text) or atomic_numbers.get(text.capitalize(), 0)
    if not 1 <= number <= 118:
        raise InputError(f"element of atom {atom} is {text[:20]!r}, expected a chemical symbol", where)
    return number
