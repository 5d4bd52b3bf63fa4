"""Every structure of a source relaxed in batches, in parts on disk: after a kill the same call goes on with what is missing.

Parts are those of predictions (:mod:`.parts`); beside each stands its piece of the table. At the end both are joined:
``relaxed.extxyz`` and ``relaxed.csv``, in the order of the source.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atomfield.data.graph import Graph

from .parts import Parts
from .together import relax_many

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

CHUNK = 500
"""Structures of a part."""
COLUMNS = ("index", "energy_eV", "fmax_eV_per_A", "steps", "converged", "failure")


def relax_file(
    net: AtomFieldNet,
    graphs: Sequence[Graph],
    folder: Path,
    *,
    fmax: float,
    steps: int,
    about: dict[str, Any],
    chunk: int = CHUNK,
    done: Callable[[int], None] = lambda count: None,
) -> list[dict[str, str]]:
    """Write ``relaxed.extxyz`` and ``relaxed.csv`` into ``folder`` and return the rows of the table. fmax, steps: of
    :func:`.together.relax_many`. about: tells the model and the source (JSON); parts of other ones are thrown away. done: called
    with the number of structures that have finished since the last call. Raises ``InputError`` as :func:`relax_many` does."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = Parts(folder / "relaxed.extxyz", len(graphs), {**about, "fmax": fmax, "steps": steps}, chunk)
    missing = parts.prepare()
    done(len(graphs) - sum(len(parts.records(number)) for number in missing))
    for number in missing:
        records = list(parts.records(number))
        chosen = [graphs[k] for k in records]
        found = relax_many(net, chosen, fmax=fmax, steps=steps, done=done)
        _write(
            _table(parts, number),
            (
                [k, r.energy, r.fmax, r.steps, int(r.converged), r.failure]
                for k, r in zip(records, found, strict=True)
            ),
        )
        moved = [
            replace(g, positions=torch.from_numpy(r.positions), quantities={})
            for g, r in zip(chosen, found, strict=True)
        ]
        parts.write(number, records, moved, [{"energy": np.array(r.energy)} for r in found], [])
    rows = []
    for number in range(len(parts)):
        with _table(parts, number).open(newline="") as file:
            rows += list(csv.DictReader(file))
    draft = folder / f".relaxed.{os.getpid()}.csv"
    _write(draft, ([row[c] for c in COLUMNS] for row in rows))
    os.replace(draft, folder / "relaxed.csv")
    parts.join()
    return rows


def _table(parts: Parts, number: int) -> Path:
    return parts.path(number).with_suffix(".csv")


def _write(path: Path, rows: Iterator[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        table.writerows(rows)
