"""Predictions to a file, chosen by its suffix: ``.extxyz`` ``.xyz`` ``.csv`` ``.parquet`` ``.npz`` ``.nc``.

Predicted quantities keep their names; where a record has a label of the same name, it stands beside as ``REF_`` + name. Units
are those of the vocabulary (eV, angstrom, eV/angstrom^3) and of the records for fields.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY

from .intervals import base_of, support_of
from .predict import Prediction

if TYPE_CHECKING:
    from ase import Atoms

SUFFIXES = (".extxyz", ".xyz", ".csv", ".parquet", ".npz", ".nc")
NAMED = (".extxyz", ".xyz", ".csv", ".parquet")
"""Files that have the names of classes."""
REFERENCE = "REF_"


def write_predictions(
    graphs: Sequence[Graph],
    predictions: Sequence[Prediction],
    path: str | Path,
    numbers: Sequence[int] | None = None,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write one prediction per graph, in order; the file appears whole or not at all. Returns the path.

    ``.extxyz``, ``.xyz``: one frame per structure. ``.csv``: one row per structure with its scalars, vectors and stress; what
    each atom has of its own is left out. ``.parquet``: the same and lists per atom. ``.npz``: structures one after another with
    ``num_nodes``, fields as ``0/velocity``, ``1/velocity``, ... ``.nc``: xarray datasets, a group per field. Rows of a field in
    ``.csv`` and ``.parquet`` are its points at each time. numbers: the ``index`` of each record in a table; default: from 0.
    classes: the names of the classes of a property, which stand for their numbers, and for those of the labels, in csv, parquet
    and extxyz; arrays keep the numbers.
    Raises ``InputError`` for another suffix, for fields in a file of
    atoms, for atoms and fields together, and where nothing is to be written.
    """
    path = Path(path)
    check_format(path)
    # a store decodes a record each time it is asked; a trajectory of one time has a forecast as a snapshot has
    graphs = [g.snapshot(0) if g.times is not None and g.num_times < 2 else g for g in graphs]
    if not graphs:
        raise InputError("there are no predictions to write, expected at least one", str(path))
    assert len(graphs) == len(predictions)
    worlds = {g.world == "field" for g in graphs}
    if len(worlds) > 1:
        raise InputError(
            "the records hold atoms and fields, expected one of them; write each to a file of its own",
            str(path),
        )
    fields = worlds.pop()
    check_format(path, fields)
    path.parent.mkdir(parents=True, exist_ok=True)
    if classes and path.suffix in NAMED:
        predictions = [named(g, p, classes) for g, p in zip(graphs, predictions, strict=True)]
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        match path.suffix:
            case ".extxyz" | ".xyz":
                _write_extxyz(graphs, predictions, partial)
            case ".csv" | ".parquet":
                from .write_table import write_table

                write_table(graphs, predictions, partial, numbers)
            case ".npz":
                arrays = field_arrays(graphs, predictions) if fields else atom_arrays(graphs, predictions)
                np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]
            case ".nc":
                from .write_netcdf import write_netcdf

                write_netcdf(graphs, predictions, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def check_format(path: Path, fields: bool = False) -> None:
    """Raises ``InputError`` where predictions (of ``fields``, not atoms) cannot be written to ``path``, to ask
    before hours of predicting."""
    if path.suffix not in SUFFIXES:
        found, known = path.suffix or "a file without suffix", ", ".join(SUFFIXES)
        raise InputError(f"cannot write {found}, expected one of {known}", str(path))
    if fields and path.suffix in (".extxyz", ".xyz"):
        raise InputError(
            "an extxyz file holds atoms, but these are fields; write .nc, .npz or .parquet", str(path)
        )
    if path.suffix == ".nc":
        from .write_netcdf import check_installed

        check_installed(path)


def write_metrics(metrics: Mapping[str, float], path: Path) -> Path:
    """Flat JSON; a number that is not finite (a forecast that diverged) becomes null. Returns the path."""
    clean = {k: (v if math.isfinite(v) else None) for k, v in metrics.items()}
    path.write_text(json.dumps(clean, indent=2) + "\n", encoding="utf-8")
    return path


# ---------------------------------------------------------------- shared by the formats
def with_references(graph: Graph, prediction: Prediction) -> Prediction:
    """The prediction and, as ``REF_`` + name, the labels that it can be compared with."""
    labels = {
        name: graph.quantities[name].double().numpy() for name in prediction if name in graph.quantities
    }
    if graph.world == "field":
        if graph.times is None:
            labels = {
                n: graph.next_quantities[n].double().numpy() for n in prediction if n in graph.next_quantities
            }
        else:
            labels = {n: v[1:] for n, v in labels.items()}
    given = {REFERENCE + name: value for name, value in labels.items() if REFERENCE + name not in prediction}
    return {**prediction, **given}


def named(graph: Graph, prediction: Prediction, classes: Mapping[str, Sequence[str]]) -> Prediction:
    """``prediction`` with the names of classes in place of their numbers, and with those of its labels."""
    out = dict(prediction)
    for name, names in classes.items():
        if name in prediction:
            out[name] = np.asarray(names[int(prediction[name])])
            if name in graph.quantities:
                out[REFERENCE + name] = np.asarray(names[int(graph.quantities[name])])
    return out


def is_per_node(name: str, graph: Graph) -> bool:
    """Whether a prediction (or its reference) has one value per node; a user's own by the record's definition."""
    plain = name.removeprefix(REFERENCE)
    own = graph.properties.get(plain) or graph.properties.get(base_of(plain))
    return (own.support if own else support_of(plain)) == "node"


def irreps_of(name: str, graph: Graph) -> str:
    """Irreps of a prediction (or its reference or bound) where the record or the vocabulary says them, else empty."""
    plain = name.removeprefix(REFERENCE)
    q = graph.properties.get(plain) or graph.properties.get(base_of(plain)) or VOCABULARY.get(base_of(plain))
    return "" if q is None else q.irreps


def unit_of(name: str, graph: Graph) -> str:
    """Unit of a prediction, empty where unknown or declared by the record."""
    plain = name.removeprefix(REFERENCE)
    plain = plain if plain in graph.properties else base_of(plain)
    q = graph.properties.get(plain) or VOCABULARY.get(plain)
    return "" if q is None or q.unit == "field" else q.unit


def times_of(graph: Graph) -> np.ndarray:
    """``[K]`` times of the forecasts of a field: all but the first of a trajectory; of a snapshot its step dt."""
    if graph.times is not None:
        return graph.times[1:].numpy()
    return np.array([graph.conditions.get("dt", 1.0)])


def atom_arrays(graphs: Sequence[Graph], predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    """Structures one after another: ``num_nodes [G]``, ``species [N]``, ``positions [N, 3]``, ``cell [G, 3, 3]``, ``pbc [G, 3]``
    and each prediction ``[N, ...]`` or ``[G, ...]``, NaN where a structure has none."""
    rows = [with_references(g, p) for g, p in zip(graphs, predictions, strict=True)]
    out = {
        "num_nodes": np.array([g.num_nodes for g in graphs]),
        "species": np.concatenate([g.species.numpy() for g in graphs]),
        "positions": np.concatenate([g.positions.numpy() for g in graphs]),
        "cell": np.stack([np.asarray(g.cell) for g in graphs]),
        "pbc": np.stack([np.asarray(g.pbc) for g in graphs]),
    }
    for name in dict.fromkeys(n for row in rows for n in row):
        per_node = is_per_node(name, graphs[0])
        sample = next(row[name] for row in rows if name in row)
        tail = sample.shape[1:] if per_node else sample.shape
        parts = []
        for graph, row in zip(graphs, rows, strict=True):
            shape = (graph.num_nodes, *tail) if per_node else (1, *tail)
            parts.append(np.asarray(row[name]).reshape(shape) if name in row else np.full(shape, np.nan))
        out[name] = np.concatenate(parts)
    return out


def field_arrays(graphs: Sequence[Graph], predictions: Sequence[Prediction]) -> dict[str, np.ndarray]:
    """``i/positions [N, 3]``, ``i/times [K]`` and ``i/name`` of each field ``i``."""
    out: dict[str, np.ndarray] = {}
    for number, (graph, prediction) in enumerate(zip(graphs, predictions, strict=True)):
        out[f"{number}/positions"] = graph.positions.numpy()
        out[f"{number}/times"] = times_of(graph)
        for name, value in with_references(graph, prediction).items():
            out[f"{number}/{name}"] = value
    return out


# ---------------------------------------------------------------- extxyz
def to_atoms(graph: Graph, prediction: Prediction) -> Atoms:
    """ASE Atoms whose single-point calculator holds the prediction; other numbers are in ``info`` and ``arrays``."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.stress import full_3x3_to_voigt_6_stress

    periodic = bool(graph.pbc.any())
    atoms = Atoms(
        numbers=graph.species.numpy(),
        positions=graph.positions.numpy(),
        cell=np.asarray(graph.cell) if periodic else None,
        pbc=np.asarray(graph.pbc),
    )
    atoms.info.update(graph.conditions)
    if graph.id:
        atoms.info["id"] = graph.id
    if graph.group:
        atoms.info["group"] = graph.group
    results: dict[str, Any] = {}
    for name, value in with_references(graph, prediction).items():
        if name == "stress":
            results[name] = full_3x3_to_voigt_6_stress(value)
        elif name in ("energy", "forces", "charges", "dipole"):
            results[name] = float(value) if value.ndim == 0 else value
        elif is_per_node(name, graph):
            atoms.arrays[name] = np.asarray(value).reshape(len(value), -1) if value.ndim > 2 else value
        else:
            atoms.info[name] = value.item() if value.ndim == 0 else value
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _write_extxyz(graphs: Sequence[Graph], predictions: Sequence[Prediction], path: Path) -> None:
    import ase.io

    frames = [to_atoms(g, p) for g, p in zip(graphs, predictions, strict=True)]
    ase.io.write(path, frames, format="extxyz")
