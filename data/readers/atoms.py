"""Atoms, however they were written, become a ``Graph``: worlds, units of length, overlaps across a periodic border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atomfield.data.bonds import Bonds
from atomfield.data.errors import InputError, Provenance
from atomfield.data.formula import hill_formula
from atomfield.data.graph import MIN_DISTANCE, Graph
from atomfield.data.neighbors import completed_box
from atomfield.data.units import factor

from .labels import labels_of
from .options import ReadOptions

_FEW_ATOMS = 40
"""Up to this many, all pairs are looked at: faster than a tree."""


def atoms_graph(
    numbers: np.ndarray,
    positions: np.ndarray,
    cell: np.ndarray | None,
    pbc: Sequence[bool],
    values: Mapping[str, Any],
    options: ReadOptions,
    where: Provenance,
    *,
    group: str = "",
    conditions: Mapping[str, float] | None = None,
    bonds: Bonds | None = None,
) -> Graph:
    """A molecule or, if any direction is periodic, a crystal, with the labels that ``values`` holds.

    numbers ``[N]``, positions ``[N, 3]``, cell rows ``[3, 3]``, in ``options.units["positions"]`` (default angstrom).
    ``group``: default is the formula of a molecule and the reduced formula of a crystal, so that a supercell, a vacancy
    and the unit cell are of one group. Raises ``InputError``.
    """
    scale = factor("positions", options.units.get("positions", "angstrom"))
    if len(numbers) == 0:
        raise InputError("the record has no atoms, expected at least one", where)
    periodic = bool(np.any(pbc))
    box = None if cell is None or not periodic else np.asarray(cell, dtype=np.float64) * scale
    if periodic and box is None:
        raise InputError(f"pbc is {list(map(bool, pbc))}, but there is no lattice", where)
    if box is not None and not np.isfinite(box).all():
        raise InputError(f"the cell is {box.tolist()}, expected finite numbers", where)
    volume = abs(float(np.linalg.det(box))) if box is not None else None
    labels = labels_of(values, options, len(numbers), where, volume)
    graph = Graph(
        positions=torch.from_numpy(np.asarray(positions, dtype=np.float64) * scale),
        species=torch.from_numpy(np.asarray(numbers, dtype=np.int64)),
        world="crystal" if periodic else "molecule",
        cell=None if box is None else torch.from_numpy(box),  # type: ignore[arg-type]
        pbc=torch.tensor([bool(p) for p in pbc]) if periodic else None,  # type: ignore[arg-type]
        quantities=labels.quantities,
        properties=labels.properties,
        conditions={**(conditions or {}), **labels.conditions},
        level=options.level,
        dataset=Path(where.file).name.split(".")[0],
        group=group or _formula(np.asarray(numbers), periodic),
        provenance=where,
        bonds=bonds,
        id=id_text(values.get(options.map["id"])) if "id" in options.map else "",
    )
    if periodic:
        _refuse_overlap(graph)
    return graph


def id_text(value: Any) -> str:
    """An id as text, so that 7 of one file is 7 of another; empty for none."""
    if value is None:
        return ""
    array = np.asarray(value)
    if array.ndim == 0 and array.dtype.kind == "f" and float(array).is_integer():
        return str(int(array))
    return str(array.item() if array.ndim == 0 else value).strip()


def _refuse_overlap(graph: Graph) -> None:
    """Two atoms on one site across a periodic border, which the plain distances of the record do not show."""
    assert graph.cell is not None
    periodic = graph.pbc.numpy()
    box = graph.cell.numpy() if periodic.all() else completed_box(graph.cell.numpy(), periodic)
    inverse = np.linalg.inv(box)
    fractional = graph.positions.numpy() @ inverse
    if len(fractional) <= _FEW_ATOMS:
        pairs = _all_pairs(len(fractional))
    else:
        fractional[:, periodic] -= np.floor(fractional[:, periodic])
        fractional[:, periodic] = np.where(fractional >= 1.0, 0.0, fractional)[:, periodic]
        pairs = _near_pairs(fractional, inverse, periodic)
    offset = fractional[pairs[:, 0]] - fractional[pairs[:, 1]]
    offset -= np.where(periodic, np.rint(offset), 0.0)
    distances = np.sqrt(((offset @ box) ** 2).sum(axis=1))
    if len(distances) and distances.min() < MIN_DISTANCE:
        first, second = pairs[distances.argmin()].tolist()
        raise InputError(
            f"atoms {first} and {second} are {distances.min():.3g} angstrom apart (periodic images counted), expected at least "
            f"{MIN_DISTANCE}: one atom per site",
            graph.provenance,
        )


@lru_cache(maxsize=_FEW_ATOMS)
def _all_pairs(count: int) -> np.ndarray:
    return np.stack(np.triu_indices(count, 1), axis=1)


def _near_pairs(fractional: np.ndarray, inverse: np.ndarray, periodic: np.ndarray) -> np.ndarray:
    """Pairs ``[P, 2]`` that may be closer than MIN_DISTANCE."""
    from scipy.spatial import cKDTree

    reach = min(MIN_DISTANCE * float(np.linalg.norm(inverse, 2)), 0.49)
    tree = cKDTree(fractional, boxsize=np.where(periodic, 1.0, 0.0))
    return tree.query_pairs(reach, output_type="ndarray")


def _formula(numbers: np.ndarray, reduced: bool) -> str:
    if numbers.size == 0 or numbers.min() < 1 or numbers.max() > 118:
        return ""  # the constructor of Graph says what is wrong
    return hill_formula(numbers, reduced=reduced)
