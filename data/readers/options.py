"""What a user may say about a file, and what comes back for a record that is wrong."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from atomfield.data.errors import InputError, NoLabelError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import CONDITIONS, VOCABULARY, Quantity, declared_property, scalar_property
from atomfield.data.units import factor

from .turns import mine

ROLES = (
    "smiles", "id", "group", "structure", "x", "y", "z", "time", "periodic", "spacing", "points", "cells", "positions",
    "numbers", "cell",
)  # fmt: skip
"""Names that ``map`` takes besides quantities, conditions and targets: columns and arrays with a job of their own."""


@dataclass(frozen=True)
class ReadOptions:
    """map: our name -> key in the file, e.g. ``{"energy": "REF_energy"}``; also the columns ``smiles``, ``id``, ``group``,
        ``structure``, the arrays ``x``, ``y``, ``z``, ``time``, ``points``, ``cells`` of fields and ``positions``,
        ``numbers``, ``cell`` of atoms. For fields, conditions, ``spacing`` and ``periodic`` may be numbers:
        ``{"viscosity": "0.01", "spacing": "0.1+0.1"}``.
    targets: quantities that must be there; a name that is not in the vocabulary becomes a scalar per graph.
    conformers: how many per SMILES, all in one group. seed: of the conformers.
    on_bad: raise at the first bad record, or skip and collect.
    level: level of theory of all records. units: quantity, target or ``positions`` -> unit in the file, see
        :mod:`atomfield.data.units`; another name is an error.
    declared: target -> what its value is where it is not one number per graph, ``{"born": "0e+1e+2e/atom", "dos": "51x0e"}``
        (:func:`atomfield.data.quantities.declared_property`). classes: target -> the names of its classes, in order.
    assumed: names in ``map`` that a reader put there by a format's convention.
    """

    map: dict[str, str] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    conformers: int = 1
    seed: int = 0
    on_bad: Literal["raise", "skip"] = "raise"
    level: str = ""
    units: dict[str, str] = field(default_factory=dict)
    assumed: tuple[str, ...] = ()
    declared: dict[str, str] = field(default_factory=dict)
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.conformers < 1:
            raise InputError(f"conformers is {self.conformers}, expected 1 or more")
        if self.on_bad not in ("raise", "skip"):
            raise InputError(f"on_bad is {self.on_bad!r}, expected raise or skip")
        for name in self.map:
            if (
                name not in VOCABULARY
                and name not in CONDITIONS
                and name not in ROLES
                and name not in self.targets
            ):
                raise InputError(
                    f"map has {name!r}, which is neither a quantity, a condition, one of {', '.join(ROLES)}, nor a target; "
                    "write map as our name = key in the file"
                )
        asked = dict.fromkeys(
            [*(n for n in self.map if n in VOCABULARY and n not in self.assumed), *self.targets]
        )
        keys: dict[str, str] = {}
        for name in asked:
            other = keys.setdefault(self.key(name), name)
            if other != name:
                raise InputError(
                    f"{other!r} and {name!r} are both read from {self.key(name)!r}, expected a key for each",
                    "--map",
                )
        for name, unit in self.units.items():
            self._refuse_lost_unit(name, unit)
            factor(name, unit)
        for name in (*self.declared, *self.classes):
            if name not in self.targets:
                what = "irreps" if name in self.declared else "classes"
                raise InputError(
                    f"{what} are declared of {name!r}, which is not a target; add it to --target"
                )
            self.definition(name)

    def _refuse_lost_unit(self, name: str, unit: str) -> None:
        """Units are given by our names; one under the file's key, or with a slip, would convert nothing."""
        # each column of a series in time is a quantity of its own
        if name == "positions" or name in VOCABULARY or name in self.targets or "time" in self.map:
            return
        ours = next((n for n, key in self.map.items() if key == name), "")
        near = difflib.get_close_matches(name, ["positions", *VOCABULARY, *self.targets], n=1, cutoff=0.6)
        hint = f"; did you mean {ours or near[0]}={unit}?" if ours or near else ""
        raise InputError(
            f"found {name!r}, which is neither positions, a quantity nor a target; write units as our name = unit{hint}",
            "--units",
        )

    def nowhere(self, found: Collection[str]) -> str:
        """What is asked for and is in no record, as the text of an error; empty if ``found`` has all of it."""
        lacking = [t for t in self.targets if t not in found]
        if lacking:
            return f"no record has a value of {', '.join(map(repr, lacking))}"
        mapped = [n for n in self.map if n in VOCABULARY and n not in found]
        if mapped:
            keys = ", ".join(f"{self.map[n]!r} (for {n})" for n in mapped)
            return f"no record has {keys}; see the keys of the file, and name them with --map"
        return ""

    def definition(self, name: str) -> Quantity:
        """What a target or a quantity is: as declared, else the vocabulary's, else a scalar per graph."""
        unit = self.units.get(name, "")
        if name not in self.declared:
            return scalar_property(name, unit)
        try:
            return declared_property(name, self.declared[name], unit)
        except ValueError as error:
            raise InputError(str(error), "--target-irreps") from None

    def said(self, name: str) -> bool:
        """Whether the user named the key of ``name``."""
        return name in self.map and name not in self.assumed

    def key(self, name: str) -> str:
        """The file's key for one of our names."""
        return self.map.get(name, name)


Gap = Literal["", "empty", "absent"]
"""Why a record has no label of any target: its values are empty, or it lacks the keys."""

ABSENT_FROM_THE_START = 1000
"""So many records at the start of a file that all lack the keys of the targets mean that their names are wrong."""


@dataclass(frozen=True)
class BadRecord:
    """A record that was refused, and why; or one with nothing wrong but that it has no label of any target (``gap``), which
    is left out and counted, whatever ``on_bad`` says."""

    where: Provenance
    message: str
    gap: Gap = ""

    def listed(self) -> dict[str, str]:
        """As it stands in ``bad_records.json``."""
        return {"where": str(self.where), "message": self.message, **({"gap": self.gap} if self.gap else {})}


def refused(error: InputError, where: Provenance) -> BadRecord:
    """What comes back for a record whose building raised ``error``; ``where`` counts if the error names no place."""
    gap: Gap = ("absent" if error.absent else "empty") if isinstance(error, NoLabelError) else ""
    place = error.where if isinstance(error.where, Provenance) else where
    return BadRecord(place, error.message, gap)


@dataclass(frozen=True)
class Passed(BadRecord):
    """A record that another process builds; only there while processes share a file (:mod:`.turns`)."""


Outcome: TypeAlias = Graph | BadRecord
Outcomes: TypeAlias = Iterator[Graph | BadRecord]


def attempt(where: Provenance, build: Callable[[], Graph]) -> Outcome:
    """The graph, or what is wrong with it. ``where.record`` must not decrease from record to record of a file."""
    if not mine(where):
        return Passed(where, "")
    try:
        return build()
    except InputError as error:
        bad = refused(error, where)
        return replace(bad, where=replace(bad.where, record=where.record))
