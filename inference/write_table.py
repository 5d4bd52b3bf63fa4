"""Predictions as a table: one row per structure, or per point and time of a field. CSV, or Parquet with lists per atom."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.formula import formula
from atomfield.data.graph import Graph

from .intervals import OOD_SCORE
from .predict import Prediction
from .write import irreps_of, is_per_node, times_of, with_references

_VECTOR = ("x", "y", "z")
_VOIGT = {"xx": (0, 0), "yy": (1, 1), "zz": (2, 2), "yz": (1, 2), "xz": (0, 2), "xy": (0, 1)}


def write_table(
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    path: Path,
    numbers: Sequence[int] | None = None,
) -> None:
    """CSV or Parquet, by the suffix of ``path``."""
    lists = path.suffix == ".parquet"
    rows: list[dict[str, Any]] = []
    for number, graph, prediction in zip(numbers or range(len(graphs)), graphs, predictions, strict=True):
        values = with_references(graph, prediction)
        if graph.world == "field":
            rows.extend(_points(number, graph, values))
        else:
            rows.append(_structure(number, graph, values, lists))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if lists:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.table({c: [row.get(c) for row in rows] for c in columns})
        pyarrow.parquet.write_table(table, path, compression="zstd")
        return
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _structure(number: int, graph: Graph, values: Prediction, lists: bool) -> dict[str, Any]:
    where = graph.provenance
    row: dict[str, Any] = {
        "index": number,
        "file": where.file,
        "record": where.record,
        **({"id": graph.id} if graph.id else {}),
        "group": graph.group,
        "formula": formula(graph),
        "num_atoms": graph.num_nodes,
    }
    per_node = {name: value for name, value in values.items() if is_per_node(name, graph)}
    for name, value in values.items():
        if name not in per_node:
            row |= _scalars(name, value, irreps_of(name, graph))
    if lists:
        row["species"] = graph.species.tolist()
        row["positions"] = graph.positions.reshape(-1).tolist()
        row |= {name: np.asarray(value).reshape(-1).tolist() for name, value in per_node.items()}
    return row


def _points(number: int, graph: Graph, values: Prediction) -> Iterator[dict[str, Any]]:
    positions, times = graph.positions.tolist(), times_of(graph)
    timed = {n: v if graph.times is not None else v[None] for n, v in values.items()}
    for step, when in enumerate(times.tolist()):
        for node, place in enumerate(positions):
            row = {"index": number, "time": when, "node": node, **dict(zip(_VECTOR, place, strict=True))}
            for name, value in timed.items():
                row |= _scalars(name, value[step, node] if name != OOD_SCORE else value[step])
            yield row


def _scalars(name: str, value: np.ndarray, irreps: str = "") -> dict[str, float | str]:
    """A number or the name of a class, ``name_x`` ``name_y`` ``name_z``, ``name_xx`` ... of a 3x3 tensor (six of a symmetric
    one), ``name_11`` ... of an elastic tensor in Voigt's order, ``name_0`` ``name_1`` ... of anything else.
    """
    value = np.asarray(value)
    match value.shape:
        case ():
            return {name: value.item()}
        case (3,) if not irreps.endswith("x0e"):
            return {f"{name}_{axis}": float(v) for axis, v in zip(_VECTOR, value, strict=True)}
        case (3, 3) if irreps == "0e+1e+2e":
            return {
                f"{name}_{a}{b}": float(value[i, j]) for i, a in enumerate("xyz") for j, b in enumerate("xyz")
            }
        case (3, 3):
            return {f"{name}_{pair}": float(value[ij]) for pair, ij in _VOIGT.items()}
        case (6, 6):
            return {f"{name}_{i + 1}{j + 1}": float(value[i, j]) for i in range(6) for j in range(i, 6)}
        case (_,):
            return {f"{name}_{k}": float(v) for k, v in enumerate(value)}
    raise AssertionError(value.shape)
