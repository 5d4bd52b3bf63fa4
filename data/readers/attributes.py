"""HDF5 files and their attributes, checked: what is damaged, missing or of another kind raises ``InputError``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The open file. What the library says about damage, here or while the file is being read, becomes an ``InputError``."""
    import h5py

    if path.stat().st_size == 0:
        raise InputError("the file is empty", str(path))
    try:
        file = h5py.File(path, "r")
    except (OSError, RuntimeError) as error:
        raise InputError(f"is not an HDF5 file ({_reason(error)}); is it whole?", str(path)) from None
    try:
        with file:
            yield file
    except (OSError, RuntimeError, KeyError, MemoryError) as error:
        if isinstance(error, KeyError) and "Unable to" not in str(error):
            raise  # a mistake of ours
        raise InputError(f"is damaged or not whole ({_reason(error)})", str(path)) from None


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()).strip("'\"")[:120]


def path_of(data: Any) -> str:
    """The path of a group or array within its file."""
    return str(data.name).lstrip("/")


def attribute(item: Any, name: str, where: Provenance | str) -> Any:
    """An attribute that must be there."""
    if name not in item.attrs:
        raise InputError(f"{item.name if item.name != '/' else 'the file'} has no attribute {name}", where)
    return item.attrs[name]


def flag(item: Any, name: str, place: str) -> bool:
    """A true-or-false attribute."""
    value = np.asarray(attribute(item, name, place))
    if value.size != 1 or value.dtype.kind not in "biu":
        raise InputError(
            f"attribute {name} of {path_of(item)} is {value.tolist()!r}, expected true or false", place
        )
    return bool(value.reshape(-1)[0])


def flags(item: Any, name: str, count: int, place: str) -> tuple[bool, ...]:
    """``count`` true-or-false values."""
    value = np.asarray(attribute(item, name, place)).reshape(-1)
    if value.size != count or value.dtype.kind not in "biu":
        raise InputError(
            f"attribute {name} of {path_of(item)} is {value.tolist()!r}, expected {count} flags", place
        )
    return tuple(bool(v) for v in value)


def whole(value: Any, name: str, place: str) -> int:
    """A whole number."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in "iu":
        raise InputError(f"attribute {name} is {str(value)[:40]!r}, expected a whole number", place)
    return int(array.reshape(-1)[0])


def text_of(value: Any) -> str:
    """One text, whatever HDF5 made of it."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def texts(value: Any) -> list[str]:
    """A list of texts."""
    if isinstance(value, (str, bytes)):
        return [text_of(value)]
    return [text_of(v) for v in np.asarray(value).reshape(-1).tolist()]
