"""All checks of one source in one pass, with one report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atomfield.data.errors import Provenance
from atomfield.data.graph import Graph
from atomfield.data.store import Store

from .duplicates import check_duplicates
from .findings import Finding, Report
from .fingerprint import Fingerprint, fingerprint
from .frames import Pairs, Sample, near_pairs
from .net_force import NetForces
from .refused import Refused, check_refused
from .scales import closest_bond
from .stress import check_stress
from .totals import Totals
from .units import check_units, gather

MOST_FINGERPRINTS = 500_000
"""Records beyond it are not looked at for duplicates, and the report says so."""
MOST_SOURCES = 50
"""Files that are judged each on its own; of more, all of one level are judged together."""
CLOSE = 0.5
"""Shortest distance in units of covalent radii below which a record is named."""
_BONDS = 3000
_MOST_NAMED = 200


class _Source:
    """What is gathered about the records of one file and level."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.num_records = 0
        self.sample, self.net_forces, self.totals = Sample(), NetForces(), Totals()
        self.close: list[str] = []
        self.bonds = 0

    def add(self, record: int, graph: Graph) -> None:
        self.num_records += 1
        self.sample.add(record, graph)
        self.net_forces.add(record, graph)
        self.totals.add(record, graph)
        if self.bonds < _BONDS and 1 < graph.num_nodes <= 400:
            self.bonds += 1
            ratio, i, j = closest_bond(graph)
            if ratio < CLOSE:
                self.close.append(
                    f"{graph.provenance}: atoms {i} and {j}, {ratio:.2f} of their covalent radii"
                )

    def findings(self) -> list[Finding]:
        if not self.sample.systems:
            return []
        pairs = near_pairs(self.sample)
        evidence = gather(self.sample, pairs)
        found, likely = check_units(self.name, evidence, self.num_records)
        if likely is not None:
            pairs = _corrected(pairs, *likely.factors)
        found += check_stress(self.name, self.sample, pairs, self.num_records)
        if likely is None or likely.factors[0] == 1.0:
            found += self.totals.findings(self.name)
        found += self.net_forces.findings(self.name)
        if self.close and not (likely and likely.factors[0] != 1.0):
            message = f"{len(self.close)} records have atoms closer than {CLOSE} times the sum of their covalent radii"
            advice = "meant, in a scan of a repulsion; otherwise atoms collide"
            named = tuple(self.close[:_MOST_NAMED])
            found.append(Finding("close atoms", "note", self.name, message, advice, named, len(self.close)))
        return found


def _corrected(pairs: Pairs, length: float, energy: float, force: float) -> Pairs:
    from dataclasses import replace

    return replace(
        pairs,
        energy=pairs.energy * energy,
        work=pairs.work * force * length,
        turn=pairs.turn * force * length,
        square=pairs.square * length**2,
        stretch=pairs.stretch * length**3,
        stretch_turn=pairs.stretch_turn * length**3,
        volume=pairs.volume * length**3,
    )


def audit(graphs: Sequence[Graph], bad: Sequence[Refused] = (), where: str = "") -> Report:
    """Look at every record of ``graphs`` (a list or a store) and at what the reader refused.

    Labels must be in eV, angstrom and their combinations, as ``read`` gives them: the advice about units says what to declare.
    Memory stays bounded: of each file at most 400,000 atoms are compared with each other.
    """
    report = Report()
    sources: dict[tuple[str, str], _Source] = {}
    prints: list[Fingerprint] = []
    values: dict[str, list[float]] = {}
    files = _files(graphs)
    atoms = 0
    for record, graph in enumerate(graphs):
        file = graph.provenance.file if len(files) <= MOST_SOURCES else where
        key = (graph.level, file)
        if key not in sources:
            sources[key] = _Source(_named(file or where, graph.level))
        if graph.world != "field":
            atoms += 1
            sources[key].add(record, graph)
        if len(prints) < MOST_FINGERPRINTS:
            prints.append(fingerprint(graph))
        for name, value in graph.quantities.items():
            if value.ndim == 0 and len(values.setdefault(name, [])) < 100_000:
                values[name].append(float(value))
    report.findings += check_refused(bad, where)
    for source in sources.values():
        report.findings += source.findings()
    scales = {name: float(np.std(v)) for name, v in values.items()}
    report.findings += check_duplicates(where or "all records", graphs, prints, scales)
    forces = sum(s.net_forces.looked_at for s in sources.values())
    report.looked_at = {
        "records": f"{len(graphs)} records, {atoms} of atoms",
        "forces": f"{forces} with forces",
        "duplicates": f"{len(prints)} for duplicates",
    }
    return report


def _files(graphs: Sequence[Graph]) -> set[str]:
    """The files of the records, as far as they need to be counted."""
    if isinstance(graphs, Store):
        return graphs.files()
    found: set[str] = set()
    for graph in graphs:
        found.add(graph.provenance.file)
        if len(found) > MOST_SOURCES:
            break
    return found


def _named(file: str, level: str) -> str:
    name = Path(str(Provenance(file))).name if file else "records"
    return f"{name} ({level})" if level else name
