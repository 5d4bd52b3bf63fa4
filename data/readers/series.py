"""Tables of time series (``.csv``, ``.tsv``) without space: one point whose quantities evolve.

Asked for by ``--map time=COLUMN``. Other columns of numbers become quantities of the point, the vocabulary's where they have
its name, else under their own; ``--target`` chooses. ``--map group=COLUMN`` makes one record per group of rows. Lines that begin
with ``#`` are comments.
"""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_INPUTS, VOCABULARY, Quantity

from .frame import field_graph, points_frame
from .labels import logger, missing_target
from .options import Outcomes, ReadOptions, attempt
from .text import open_text, plain_suffix

Row = tuple[int, list[str]]
"""Line number (1-based) and cells."""


def read_series(path: Path, options: ReadOptions) -> Outcomes:
    """One record, or one per group."""
    header, rows = _rows(path)
    time = options.map["time"]
    group = options.map.get("group")
    for role, column in (("time", time), ("group", group)):
        if column is not None and column not in header:
            raise InputError(
                f"column {column!r} (for {role}) is not in the table; columns: {', '.join(header)}", str(path)
            )
    names = {options.key(t): t for t in options.targets}
    names |= {key: n for n, key in options.map.items() if n in VOCABULARY}
    missing = [n for key, n in names.items() if key not in header]
    if missing:
        raise InputError(missing_target(missing, header, options), str(path))
    if not options.targets:
        others = [h for h in header if h not in (time, group, *names)]
        numeric = [h for h in others if all(_is_number(cells[header.index(h)]) for _, cells in rows)]
        if len(numeric) < len(others):
            dropped = [h for h in others if h not in numeric]
            logger.warning("%s: not read, since not all cells are numbers: %s", path, ", ".join(dropped))
        names |= {h: h for h in numeric}
    if not names:
        raise InputError(f"no column but {time!r} holds numbers; columns: {', '.join(header)}", str(path))
    for number, (label, part) in enumerate(_groups(rows, header, group).items()):
        where = Provenance(str(path), number, part[0][0])
        yield attempt(where, partial(_record, part, header, names, time, label, options, where))


def _rows(path: Path) -> tuple[list[str], list[Row]]:
    header: list[str] = []
    rows: list[Row] = []
    with open_text(path) as file:
        text = [
            (number, line) for number, line in enumerate(file, 1) if line.strip() and not line.startswith("#")
        ]
    if not text:
        raise InputError("the table has no rows", str(path))
    delimiter = "\t" if plain_suffix(path) == ".tsv" else max(",;\t", key=text[0][1].count)
    try:
        for number, line in text:
            cells = [c.strip() for c in next(csv.reader([line], delimiter=delimiter, strict=True), [])]
            if not header:
                header = cells
            elif len(cells) != len(header):
                raise InputError(
                    f"row has {len(cells)} cells, expected {len(header)} as in the header", f"{path}:{number}"
                )
            else:
                rows.append((number, cells))
    except csv.Error as error:
        raise InputError(f"is not a table ({error})", f"{path}:{number}") from None
    doubled = [h for h in header if header.count(h) > 1]
    if doubled or not rows:
        what = f"column {doubled[0]!r} is there twice; rename one" if doubled else "the table has no rows"
        raise InputError(what, str(path))
    return header, rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _groups(rows: list[Row], header: list[str], column: str | None) -> dict[str, list[Row]]:
    out: dict[str, list[Row]] = {}
    for row in rows:
        out.setdefault("" if column is None else row[1][header.index(column)], []).append(row)
    return out


def _numbers(rows: list[Row], header: list[str], column: str, where: Provenance) -> np.ndarray:
    values = []
    for line, cells in rows:
        text = cells[header.index(column)]
        if not _is_number(text) or not np.isfinite(float(text)):
            raise InputError(
                f"{column!r} is {text[:40]!r}, expected a finite number",
                Provenance(where.file, where.record, line),
            )
        values.append(float(text))
    return np.array(values)


def _record(
    rows: list[Row], header: list[str], names: dict[str, str], time: str, label: str, options: ReadOptions, where: Provenance
) -> Graph:  # fmt: skip
    times = _numbers(rows, header, time, where)
    late = np.flatnonzero(np.diff(times) <= 0)
    if len(late):
        line = rows[int(late[0]) + 1][0]
        raise InputError(
            f"{time!r} is {times[late[0] + 1]:g} after {times[late[0]]:g}, expected increasing times",
            Provenance(where.file, where.record, line),
        )
    quantities, own = {}, {}
    for column, name in names.items():
        known = name in FIELD_INPUTS and VOCABULARY[name].shape == () and VOCABULARY[name].support == "node"
        label_ = name if known or name not in VOCABULARY else f"{name} column"
        if not known:
            own[label_] = Quantity(
                label_, "0e", "node", options.units.get(name, "field"), "column of a table"
            )
        quantities[label_] = torch.from_numpy(_numbers(rows, header, column, where))[:, None]
    stem = Path(where.file).stem
    return field_graph(
        points_frame(np.zeros((1, 3)), 1, where.file), quantities, where, times=times, properties=own, level=options.level,
        dataset=stem, group=f"{stem}/{label}" if label else stem,
    )  # fmt: skip
