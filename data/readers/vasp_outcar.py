"""The ionic steps of an ``OUTCAR``, line by line. See :mod:`.vasp` for what the numbers mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance

from .labels import full_tensor, logger
from .parsing import atomic_number
from .text import open_text
from .vasp import Run, Step

_ORDER = "xx-yy-zz-xy-yz-zx"
"""Of the numbers behind ``in kB``."""


def read_steps(path: Path) -> Iterator[tuple[Run, Step]]:
    """``(run, step)`` for each block of positions and forces that has its energy."""
    reader = _Outcar(path)
    with open_text(path, encoding="latin-1") as file:
        for reader.line, text in enumerate(file, start=1):
            step = reader.take(text)
            if step is not None:
                yield reader.run(), step
    if reader.open and reader.done:
        logger.warning(
            "%s: the file ends in the middle of a step; the %d steps before it are read", path, reader.done
        )
    if reader.lost and reader.done:
        logger.warning(
            "%s: %d steps have forces but no free energy (TOTEN), as those of a force field have; they are not read",
            path, reader.lost,
        )  # fmt: skip
    if not reader.done:
        raise InputError(
            "has no block of positions and forces with an energy; is it a whole OUTCAR?", str(path)
        )


class _Outcar:
    """What has been seen so far; a step is complete at ``energy(sigma->0)``, which comes after its forces."""

    def __init__(self, path: Path):
        self.path = path
        self.line = 0
        self.done = 0
        self.open = False
        self.lost = 0
        self._symbols: list[str] = []
        self._counts: list[int] = []
        self._numbers: np.ndarray | None = None
        self._nelm = 0
        self._cell: np.ndarray | None = None
        self._rows: list[str] = []
        self._reading: str = ""
        self._values: dict[str, Any] = {}
        self._positions: np.ndarray | None = None
        self._loops = 0
        self._begin = 0

    def take(self, text: str) -> Step | None:
        """One line; the step that it completes."""
        if self._reading:
            self._block(text)
            return None
        if "direct lattice vectors" in text:
            self._reading, self._rows = "cell", []
        elif "TOTAL-FORCE" in text:
            self.lost += self.open
            self._reading, self._rows, self.open, self._begin = "forces", [], True, self.line
        elif "in kB" in text:
            words = _words(text.split("in kB")[1])
            self._values["stress"] = _stress(words)
        elif "Iteration" in text and text.lstrip().startswith("---"):
            found = re.search(r"Iteration\s+\d+\(\s*(\d+)\)", text)
            self._loops = int(found.group(1)) if found else self._loops
        elif "free  energy   TOTEN" in text:
            self._values["e_fr_energy"] = _floats(text.split("=")[1].split()[:1])
        elif "energy  without entropy" in text and self.open:
            words = re.findall(r"=\s*(\S+)", text)
            for name, word in zip(("e_wo_entrp", "e_0_energy"), words, strict=False):
                self._values[name] = _floats([word])
            return self._finish() if "e_fr_energy" in self._values else None
        else:
            self._header(text)
        return None

    def run(self) -> Run:
        """What all steps share."""
        if self._numbers is None:
            where = Provenance(str(self.path))
            if not self._symbols or len(self._symbols) != len(self._counts):
                raise InputError(
                    f"has {len(self._symbols)} elements (VRHFIN) and {len(self._counts)} counts (ions per type), "
                    "expected as many of both; is the file whole?",
                    where,
                )
            elements = [s for s, n in zip(self._symbols, self._counts, strict=True) for _ in range(n)]
            self._numbers = np.array([atomic_number(s, i, where) for i, s in enumerate(elements)])
        return Run(self._numbers, self._nelm)

    def _header(self, text: str) -> None:
        if "VRHFIN" in text:
            self._symbols.append(text.split("=")[1].split(":")[0].strip() if "=" in text else "")
        elif "ions per type" in text:
            self._counts = [int(w) for w in text.split("=")[-1].split() if w.isdigit()]
        elif text.lstrip().startswith("NELM "):
            found = re.search(r"=\s*(\d+)", text)
            self._nelm = int(found.group(1)) if found else 0

    def _block(self, text: str) -> None:
        """Three rows of a cell, or rows of positions and forces between two rules."""
        if self._reading == "cell":
            self._rows.append(text)
            if len(self._rows) == 3:
                self._cell = np.array([_floats(_words(row)[:3], 3) for row in self._rows])
                self._reading = ""
            return
        if not text.lstrip().startswith("---"):
            self._rows.append(text)
        elif self._rows:
            table = np.array([_floats(_words(row), 6) for row in self._rows])
            self._positions, self._values["forces"] = table[:, :3], table[:, 3:]
            self._reading = ""

    def _finish(self) -> Step:
        step = Step(self._cell, self._positions, False, self._values, self._loops, self._begin)
        self._values, self._positions, self.open, self._loops = {}, None, False, 0
        self.done += 1
        return step


def _stress(words: list[str]) -> np.ndarray:
    return full_tensor(_floats(words, 6), _ORDER)


def _words(text: str) -> list[str]:
    """Numbers of fixed columns may touch: ``-10.5-100.2``."""
    return re.sub(r"(?<=\d)-(?=\d)", " -", text).split()


def _floats(words: list[str], count: int = 0) -> Any:
    """One number or an array; NaN where a field is overflown or missing, so that the record is refused by its number."""
    out = []
    for word in words:
        try:
            out.append(float(word))
        except ValueError:
            out.append(float("nan"))
    if count:
        return np.array((out + [float("nan")] * count)[:count])
    return out[0] if len(out) == 1 else np.array(out)
