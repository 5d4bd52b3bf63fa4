"""What is inside a source: counts, sizes, quantities with units and ranges, conditions and suspicious records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .bonds import BondType
from .graph import Graph
from .picture import picture
from .quantities import CONDITIONS, Quantity, quantity
from .store import Store

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["picture", "show", "summarize"]

_MOST_RECORDS = 5000
"""Of a larger source this many records, evenly spread, are looked at for ranges."""
_SUSPICIOUS = 12.0
"""Robust standard deviations (1.4826 MAD) from the median at which a record is named."""
_MOST_NAMED = 8


def summarize(source: Sequence[Graph]) -> dict[str, Any]:
    """A JSON-ready description of a store or of a list of graphs.

    Keys: ``records``, ``worlds``, ``levels``, ``groups``, ``elements`` (symbol -> records that have it), ``nodes`` and ``times``
    (min, median, max per record), ``quantities`` (name -> records, unit, min, max, rms), ``conditions`` (name -> records,
    unit, min, max), ``bonds`` (``records`` whose bonds are known, and type -> bonds), ``looked_at`` (records that the ranges
    are of), ``suspicious`` (record, place and reason).
    """
    total = len(source)
    chosen = (
        np.unique(np.linspace(0, total - 1, min(total, _MOST_RECORDS)).astype(int))
        if total
        else np.zeros(0, int)
    )
    tally = _Tally()
    for i in chosen.tolist():
        tally.add(i, source[i])
    if isinstance(source, Store):
        columns = source.columns
        worlds, levels = Counter(columns["world"]), Counter(columns["level"])
        groups, nodes, times = len(set(columns["group"])), columns["num_nodes"], columns["num_times"]
    else:
        worlds, levels = Counter(g.world for g in source), Counter(g.level for g in source)
        groups = len({g.group for g in source})
        nodes, times = (np.array([getattr(g, n) for g in source]) for n in ("num_nodes", "num_times"))
    return {
        "records": total,
        "worlds": dict(worlds),
        "levels": dict(levels),
        "groups": groups,
        "elements": tally.elements(),
        "nodes": _spread(nodes),
        "times": _spread(times),
        "quantities": tally.quantities(),
        "conditions": tally.conditions(),
        "bonds": tally.bonds(),
        "looked_at": len(chosen),
        "suspicious": tally.suspicious(),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    return {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}


def _far(array: np.ndarray) -> float:
    """The number farthest from zero, with its sign."""
    return float(array.reshape(-1)[np.abs(array).argmax()])


class _Tally:
    """Ranges gathered record by record."""

    def __init__(self) -> None:
        self._elements: Counter[int] = Counter()
        self._values: dict[str, list[tuple[int, float, float, float, int, float]]] = {}
        self._definitions: dict[str, Quantity] = {}
        self._conditions: dict[str, list[float]] = {}
        self._bonds: Counter[int] = Counter()
        self._with_bonds = 0
        self._places: dict[int, str] = {}
        self._compositions: dict[int, dict[int, int]] = {}
        self._levels: dict[int, str] = {}

    def add(self, record: int, graph: Graph) -> None:
        numbers, counts = np.unique(graph.species.numpy(), return_counts=True)
        composition = {int(z): int(n) for z, n in zip(numbers, counts, strict=True) if z}
        self._elements.update(composition.keys())
        self._compositions[record], self._levels[record] = composition, graph.level
        self._places[record] = str(graph.provenance)
        for name, value in graph.quantities.items():
            q = self._definitions.setdefault(name, graph.definition(name))
            array = value.numpy().astype(np.float64)
            size = (
                float(np.linalg.norm(array.reshape(-1, q.components), axis=1).max())
                if q.components > 1
                else _far(array)
            )
            low, high = float(array.min()), float(array.max())
            self._values.setdefault(name, []).append(
                (record, low, high, float((array**2).sum()), array.size, size)
            )
        if graph.bonds is not None:
            self._with_bonds += 1
            self._bonds.update(graph.bonds.kind.tolist())
        for name, number in graph.conditions.items():
            self._conditions.setdefault(name, []).append(number)

    def elements(self) -> dict[str, int]:
        from ase.data import chemical_symbols

        return {chemical_symbols[z]: self._elements[z] for z in sorted(self._elements)}

    def quantities(self) -> dict[str, dict[str, Any]]:
        out = {}
        for name, rows in self._values.items():
            table = np.array([row[1:] for row in rows])
            out[name] = {
                "records": len(rows),
                "unit": self._definitions[name].unit,
                "min": float(table[:, 0].min()),
                "max": float(table[:, 1].max()),
                "rms": float(np.sqrt(table[:, 2].sum() / table[:, 3].sum())),
            }
        return out

    def conditions(self) -> dict[str, dict[str, Any]]:
        return {
            n: {"records": len(v), "unit": CONDITIONS[n].unit, "min": min(v), "max": max(v)}
            for n, v in sorted(self._conditions.items())
        }

    def bonds(self) -> dict[str, int]:
        if not self._with_bonds:
            return {}
        return {
            "records": self._with_bonds,
            **{BondType(k).name.lower(): self._bonds[k] for k in sorted(self._bonds)},
        }

    def suspicious(self) -> list[dict[str, Any]]:
        """Energies far from a sum over elements, and other quantities far from what is usual in the source."""
        named: list[dict[str, Any]] = []
        for name, rows in self._values.items():
            records = np.array([row[0] for row in rows])
            values = np.array([row[5] for row in rows])
            q = self._definitions[name]
            if name == "energy":
                values, what = (
                    self._energy_beyond_elements(records, values),
                    "energy per atom beyond a sum over elements",
                )
            else:
                what = name if q.support == "graph" and q.components == 1 else f"largest {name}"
            records, values = records[np.isfinite(values)], values[np.isfinite(values)]
            if len(values) < 20:
                continue
            center = np.median(values)
            width = 1.4826 * np.median(np.abs(values - center))
            if width <= 0:
                continue
            distance = np.abs(values - center) / width
            for i in np.argsort(-distance)[:_MOST_NAMED]:
                if distance[i] > _SUSPICIOUS:
                    reason = f"{what} is {values[i]:.6g} {q.unit}, usual is {center:.4g} +- {width:.2g}"
                    named.append({"record": int(records[i]), "place": self._places[int(records[i])], "reason": reason,
                                  "distance": float(distance[i])})  # fmt: skip
        named.sort(key=lambda entry: -entry["distance"])
        return named[:_MOST_NAMED]

    def _energy_beyond_elements(self, records: np.ndarray, energies: np.ndarray) -> np.ndarray:
        """Residual per atom of a least-squares sum over elements, fitted for each level of theory; NaN for single atoms,
        which are far from any such sum by nature."""
        out = np.zeros(len(records))
        levels = np.array([self._levels[int(r)] for r in records])
        for level in set(levels.tolist()):
            rows = np.flatnonzero(levels == level)
            elements = sorted({z for r in rows for z in self._compositions[int(records[r])]})
            counts = np.array(
                [[self._compositions[int(records[r])].get(z, 0) for z in elements] for r in rows], dtype=float
            )
            sizes = np.maximum(counts.sum(axis=1), 1)
            fit, *_ = np.linalg.lstsq(counts / sizes[:, None], energies[rows] / sizes, rcond=None)
            out[rows] = np.where(sizes > 1, energies[rows] / sizes - counts @ fit / sizes, np.nan)
        return out


def show(summary: dict[str, Any], console: Console) -> None:
    """Print the summary as tables; names and units are text, whatever brackets they have."""
    from rich.table import Table
    from rich.text import Text

    counts = Table(title=f"{summary['records']} records in {summary['groups']} groups", title_justify="left")
    counts.add_column("what")
    counts.add_column("content")
    counts.add_row("worlds", _listed(summary["worlds"]))
    counts.add_row(
        "levels of theory", Text(_listed({k or "(not said)": v for k, v in summary["levels"].items()}))
    )
    if summary["elements"]:
        counts.add_row("elements (records)", _listed(summary["elements"]))
    if summary["bonds"]:
        kinds = {k: n for k, n in summary["bonds"].items() if k != "records"}
        counts.add_row(
            "bonds", f"{_listed(kinds) or 'none'} (known in {summary['bonds']['records']} records)"
        )
    for name in ("nodes", "times"):
        spread = summary[name]
        if spread and spread["max"] > (1 if name == "times" else 0):
            counts.add_row(
                f"{name} per record", f"{spread['min']} to {spread['max']}, median {spread['median']:g}"
            )
    console.print(counts)
    for title, entries in (("quantities", summary["quantities"]), ("conditions", summary["conditions"])):
        if entries:
            console.print(_ranges(title, entries))
    if summary["looked_at"] < summary["records"]:
        console.print(f"ranges are of {summary['looked_at']} records, evenly spread")
    if summary["suspicious"]:
        table = Table(title="suspicious records", title_justify="left")
        for column in ("record", "place", "why"):
            table.add_column(column, overflow="fold")
        for entry in summary["suspicious"]:
            table.add_row(str(entry["record"]), Text(entry["place"]), Text(entry["reason"]))
        console.print(table)


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _ranges(title: str, entries: dict[str, dict[str, Any]]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    table.add_column("name")
    for column in ("records", "min", "max", "rms"):
        table.add_column(column, justify="right")
    table.add_column("unit")
    for name, entry in entries.items():
        unit = entry["unit"] or "(not said)"
        if name in CONDITIONS or quantity_unit(name) == "field":
            unit = {"field": "as in the file"}.get(unit, unit)
        rms = f"{entry['rms']:.5g}" if "rms" in entry else ""
        table.add_row(
            Text(name), str(entry["records"]), f"{entry['min']:.6g}", f"{entry['max']:.6g}", rms, Text(unit)
        )
    return table


def quantity_unit(name: str) -> str:
    """The vocabulary's unit, empty for a user's property."""
    try:
        return quantity(name).unit
    except KeyError:
        return ""
