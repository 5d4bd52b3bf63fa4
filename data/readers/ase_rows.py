"""One structure as ASE's databases and trajectories write it: positions, numbers, cell, pbc, and results of a calculator.

Units are ASE's own, which are ours. ``energy`` is the calculator's ``energy`` (for calculators with smeared occupations the one
extrapolated to zero width); the force-consistent one is ``--map energy=free_energy``. Initial charges and magnetic moments are
the input of a calculation, not its result, and only read by ``--map``.

Reference: https://wiki.fysik.dtu.dk/ase/ase/db/db.html, https://wiki.fysik.dtu.dk/ase/ase/io/trajectory.html.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY

from .atoms import atoms_graph
from .labels import differ, full_tensor, group_of, say_no_label, warn_unread
from .options import ReadOptions
from .parsing import parsed

RESULTS = ("energy", "free_energy", "forces", "stress", "dipole", "magmoms", "magmom", "charges", "initial_charges",
           "initial_magmoms")  # fmt: skip
_MAX_ELEMENTS = 10**8


@dataclass
class Rows:
    """What has been said about one file: keys seen, so that each is named once."""

    file: str
    options: ReadOptions
    seen: set[str] = field(default_factory=set)

    def graph(self, row: Mapping[str, Any], where: Provenance) -> Graph:
        """``row`` has ``numbers``, ``positions``, ``cell``, ``pbc``, results, and the user's keys. Raises ``InputError``."""
        for key in ("numbers", "positions"):
            if row.get(key) is None:
                raise InputError(f"the row has no {key}, expected a structure of ASE", where)
        numbers = _array(row["numbers"], "numbers", where).reshape(-1)
        positions = _array(row["positions"], "positions", where)
        if positions.size != 3 * numbers.size or not numbers.size:
            raise InputError(
                f"positions have shape {list(positions.shape)}, expected [{numbers.size}, 3] as there are numbers",
                where,
            )
        if (numbers != np.round(numbers)).any() or numbers.min() < 1 or numbers.max() > 118:
            wrong = int(np.flatnonzero((numbers < 1) | (numbers > 118) | (numbers != np.round(numbers)))[0])
            raise InputError(f"atomic number of atom {wrong} is {numbers[wrong]:g}, expected 1 to 118", where)
        pbc = _pbc(row.get("pbc"), where)
        cell = None if row.get("cell") is None else _array(row["cell"], "the cell", where)
        if cell is not None and cell.size != 9:
            raise InputError(f"the cell has shape {list(cell.shape)}, expected [3, 3]", where)
        values = {k: row[k] for k in RESULTS if row.get(k) is not None}
        if "stress" in values and np.shape(values["stress"]) == (6,):
            values["stress"] = full_tensor(_array(values["stress"], "the stress", where))
        pairs = _pairs(row, where)
        for key in values:
            if (
                key in pairs
                and key in VOCABULARY
                and not self.options.said(key)
                and differ(values[key], pairs[key])
            ):
                raise InputError(
                    f"{key!r} is a result of the calculator and a key of the row, and they differ; delete one, or rename the key "
                    f"and give it with --map {key}=KEY",
                    where,
                )
        values |= {k: v for k, v in pairs.items() if k not in values}
        new = [k for k in values if k not in self.seen]
        if new:
            self.seen.update(new)
            warn_unread(
                [k for k in new if k not in RESULTS], self.options, self.file, set(values) & set(RESULTS)
            )
            say_no_label(new, self.options, self.file, set(values) & set(RESULTS))
        group = group_of(values, self.options, where)
        box = None if cell is None else cell.reshape(3, 3)
        return atoms_graph(
            numbers.astype(np.int64),
            positions.reshape(-1, 3),
            box,
            pbc,
            values,
            self.options,
            where,
            group=group,
        )


def _pairs(row: Mapping[str, Any], where: Provenance) -> dict[str, Any]:
    """Key-value pairs and data of a database, ``info`` of a trajectory: the user's own keys."""
    out: dict[str, Any] = {}
    for name in ("data", "info", "key_value_pairs"):
        held = row.get(name)
        if held is None:
            continue
        if not isinstance(held, Mapping):
            raise InputError(f"{name} is {type(held).__name__}, expected keys and values", where)
        out |= {str(k): v for k, v in held.items()}
    return out


def _array(value: Any, what: str, where: Provenance) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{what} are {str(value)[:40]!r}, expected numbers", where) from None
    if not np.isfinite(array).all():
        raise InputError(f"{what} have entries that are not finite, expected numbers", where)
    return array


def _pbc(value: Any, where: Provenance) -> tuple[bool, bool, bool]:
    if value is None:
        return (False, False, False)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):  # three bits, as sqlite has it
        return (bool(value & 1), bool(value & 2), bool(value & 4))
    array = np.asarray(value)
    if array.size not in (1, 3) or array.dtype.kind not in "bi":
        raise InputError(f"pbc is {str(value)[:40]!r}, expected three of true and false", where)
    x, y, z = np.broadcast_to(array.reshape(-1), (3,)).tolist()
    return (bool(x), bool(y), bool(z))


def decode_json(text: str, where: Provenance | str) -> Any:
    """ASE's JSON: arrays are ``{"__ndarray__": [shape, dtype, numbers]}``. Nothing else becomes an object."""
    with parsed("is not ASE's JSON", where):
        return json.loads(text, object_hook=_hook)


def _hook(held: dict[str, Any]) -> Any:
    if "__ndarray__" in held:
        shape, dtype, numbers = held["__ndarray__"]
        if dtype not in (
            "float64",
            "float32",
            "int64",
            "int32",
            "int16",
            "uint8",
            "int8",
            "bool",
            "complex128",
        ):
            if str(dtype).startswith(("<U", "|S", "object")):
                return numbers
            raise ValueError(f"array of {dtype!r}")
        if int(np.prod(shape)) > _MAX_ELEMENTS:
            raise ValueError(f"array of shape {shape}")
        if dtype == "complex128":
            return None
        return np.array(numbers, dtype=dtype).reshape(shape)
    if held.get("__ase_objtype__") == "cell":
        return held["array"]
    return held
