"""What is known of each record without reading it, by the name of a column."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

TEXTS = ("world", "level", "dataset", "group", "formula", "id")
_OF_ITS_OWN = ("group", "formula", "id")
"""Texts that differ from record to record: a hundred bytes each, so they are not kept."""
OF_ALL = ("elements",)
"""Columns with one row for all records."""


class Columns(Mapping[str, Any]):
    """Columns that are made when they are first asked for. ``makers``: name -> the function that makes it."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]):
        self._makers = dict(makers)
        self._kept: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name in self._kept:
            return self._kept[name]
        column = self._makers[name]()
        if name not in _OF_ITS_OWN:
            self._kept[name] = column
        return column

    def forget(self) -> None:
        """Give back the memory of what was made; it is made again when it is asked for."""
        self._kept.clear()

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

    def of(self, numbers: np.ndarray) -> Columns:
        """The columns of records ``numbers``."""
        return Columns({name: partial(self._rows, name, numbers) for name in self._makers})

    def _rows(self, name: str, numbers: np.ndarray) -> Any:
        column = self[name]
        if name in OF_ALL:
            return column
        return column[numbers] if isinstance(column, np.ndarray) else [column[n] for n in numbers.tolist()]
