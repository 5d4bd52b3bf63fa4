"""A cell of a big table, its file, and the order in which cells are filled."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One number of a table, or several: what ``command`` writes as JSON to the path that replaces ``{result}`` in it.

    ``{work}`` is replaced by an empty folder of the cell's own. threads: what the command uses, to tell whether the machine had
    them free. limit_s: seconds after which the command is ended and the cell has failed.
    """

    row: str
    column: str
    seed: int
    command: tuple[str, ...]
    threads: int
    limit_s: float
    environment: dict[str, str] = field(default_factory=dict)
    stage: int = 0
    """All cells of a lower stage come before those of a higher one."""

    @property
    def name(self) -> str:
        """Of its files."""
        return re.sub(r"[^A-Za-z0-9_.+-]", "-", f"{self.row}__{self.column}__{self.seed}")


def in_order(cells: list[Cell]) -> list[Cell]:
    """Within a stage the first seed of every row and column, then the second of each, and so on."""
    seen: dict[tuple[str, str], int] = {}
    ranks = []
    for cell in cells:
        place = (cell.row, cell.column)
        seen[place] = rank = seen.get(place, -1) + 1
        ranks.append((cell.stage, rank))
    return [cell for _, cell in sorted(zip(ranks, cells, strict=True), key=lambda pair: pair[0])]


def read(folder: Path, cell: Cell) -> dict[str, Any] | None:
    """The cell's record, or None where it has not been run."""
    path = folder / f"{cell.name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def write(folder: Path, cell: Cell, record: dict[str, Any]) -> None:
    """Whole or not at all, also when the machine stops."""
    draft = folder / f".{cell.name}.{os.getpid()}.tmp"
    with draft.open("w") as file:
        file.write(json.dumps(record, indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / f"{cell.name}.json")


def state(record: dict[str, Any] | None) -> str:
    """``open``, ``failed``, ``busy`` (finished while the machine was busy with something else) or ``done``."""
    if record is None:
        return "open"
    if record.get("failure"):
        return "failed"
    return "busy" if record["busy"] else "done"
