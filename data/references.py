"""Reference energies of the elements per level of theory, from isolated atoms or by a ridge fit, and isotropic scales of labels.

Total energies are thousands of eV and their differences are what is learnt: a sum over elements is taken off. Where a level has
records of single atoms, these are the references of their elements; the others are fitted by least squares. A fit that makes no
sense is refused with a reason. :func:`cached` keeps what was computed beside the sha256 of what it was computed from.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError
from .graph import Graph

NUM_SPECIES = 119
WORST_RESIDUAL = 20.0
"""eV/atom: a fit that leaves more than this RMS is refused (mixed units, or a wrong energy key)."""
_DEEPEST = 2.0
"""An element's reference lies above this many times its all-electron energy (and ``_SLACK`` eV)."""
_SLACK = 200.0
_RIDGE = 1e-8
_CACHE_VERSION = 1


@dataclass
class Compositions:
    """Element counts and energies by level, gathered graph by graph. ``counts``: rows ``[119]``."""

    counts: dict[str, list[np.ndarray]] = field(default_factory=lambda: defaultdict(list))
    energies: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, graph: Graph) -> None:
        """Take the record if it is of atoms and has an energy."""
        if graph.world != "field" and "energy" in graph.quantities:
            self.counts[graph.level].append(np.bincount(graph.species.numpy(), minlength=NUM_SPECIES))
            self.energies[graph.level].append(float(graph.quantities["energy"]))


@dataclass(frozen=True)
class ReferenceFit:
    """Per-element energies of one level: ``energies`` eV by atomic number, RMS of what they leave in eV/atom.

    isolated: elements whose energy is that of a single atom in the data. undetermined: elements whose counts do not vary on their
    own, so that only a sum of their energies is known (shared by a minimal change from the mean energy per atom).
    """

    level: str
    energies: dict[int, float]
    residual: float
    num_records: int
    isolated: tuple[int, ...] = ()
    undetermined: tuple[int, ...] = ()


def fit_references(statistics: Any) -> list[ReferenceFit]:
    """References of every level in ``statistics.counts`` and ``statistics.energies`` (:class:`Compositions`).

    Raises ``InputError`` where the fit leaves more than :data:`WORST_RESIDUAL` or an element gets an energy that nothing has.
    """
    return [
        fit_level(level, np.array(rows, dtype=np.float64), np.array(statistics.energies[level]))
        for level, rows in statistics.counts.items()
    ]


def fit_level(level: str, counts: np.ndarray, energies: np.ndarray) -> ReferenceFit:
    """References of one level. ``counts [R, 119]``, ``energies [R]`` eV.

    Least squares of the energy per atom on the element fractions, with a tiny ridge towards the mean energy per atom that settles
    elements that never vary on their own.
    """
    present = np.flatnonzero(counts.sum(axis=0))
    atoms = counts.sum(axis=1)
    single = atoms == 1
    known: dict[int, float] = {}
    bonded = ~single
    if (
        bonded.any() and single.any()
    ):  # single atoms among molecules or crystals: the zero of energy that is meant
        for z in np.unique(counts[single].argmax(axis=1)).tolist():
            known[z] = float(np.min(energies[single & (counts[:, z] == 1)]))
    free = np.array([z for z in present if z not in known], dtype=np.int64)
    used = bonded if known else np.ones(len(atoms), dtype=bool)
    rest = energies - counts[:, list(known)] @ np.array(list(known.values())) if known else energies
    table = dict(known)
    undetermined: tuple[int, ...] = ()
    if len(free):
        rows = used & (counts[:, free].sum(axis=1) > 0)
        of_free = counts[rows][:, free]
        mean = float((rest[rows] / of_free.sum(axis=1)).mean())
        design = of_free / atoms[rows, None]
        target = rest[rows] / atoms[rows] - mean * of_free.sum(axis=1) / atoms[rows]
        gram = design.T @ design
        ridge = _RIDGE * rows.sum() * np.eye(len(free))
        solution = np.linalg.solve(gram + ridge, design.T @ target) + mean
        table.update({int(z): float(e) for z, e in zip(free, solution, strict=True)})
        undetermined = _undetermined(design, free)
    numbers = sorted(table)
    left = energies - counts[:, numbers] @ np.array([table[z] for z in numbers])
    residual = float(np.sqrt(np.mean((left[used] / atoms[used]) ** 2)))
    fit = ReferenceFit(
        level, {z: table[z] for z in numbers}, residual, len(energies), tuple(sorted(known)), undetermined
    )
    _refuse_nonsense(fit)
    return fit


def fit_new_elements(old: np.ndarray, counts: np.ndarray, energies: np.ndarray) -> dict[int, float]:
    """References (eV by atomic number) of elements that the table ``old [119]`` (eV) lacks, zeros there, the others kept: least
    squares per atom of what these leave of the records that have a new one; from single atoms where there are any.
    ``counts [R, 119]``, ``energies [R]`` eV."""
    new = np.flatnonzero((counts.sum(0) > 0) & (old == 0))
    if not len(new):
        return {}
    rows = counts[:, new].sum(1) > 0
    counts, rest = counts[rows], energies[rows] - counts[rows] @ old
    atoms = counts.sum(1)
    table: dict[int, float] = {}
    for z in new.tolist():
        alone = (atoms == 1) & (counts[:, z] == 1)
        if alone.any():
            table[z] = float(rest[alone].min())
    rest = rest - counts[:, list(table)] @ np.array(list(table.values())) if table else rest
    free = [z for z in new.tolist() if z not in table]
    if free:
        found = np.linalg.lstsq(counts[:, free] / atoms[:, None], rest / atoms, rcond=1e-10)[0]
        table |= dict(zip(free, found.tolist(), strict=True))
    return dict(sorted(table.items()))


def _undetermined(design: np.ndarray, elements: np.ndarray) -> tuple[int, ...]:
    """Elements that take part in a direction which no record shows."""
    # of the triangular factor: the design itself would ask for a matrix of records times records
    _, values, vectors = np.linalg.svd(np.linalg.qr(design, mode="r"), full_matrices=True)
    values = np.concatenate([values, np.zeros(len(elements) - len(values))])
    unseen = vectors[values < 1e-6 * max(float(values.max()), 1e-300)]
    taking_part = (np.abs(unseen) > 1e-6).any(axis=0) if len(unseen) else np.zeros(len(elements), dtype=bool)
    return tuple(elements[taking_part].tolist())


def _refuse_nonsense(fit: ReferenceFit) -> None:
    from ase.data import chemical_symbols

    where = f"level {fit.level!r}"
    if not np.isfinite(fit.residual) or fit.residual > WORST_RESIDUAL:
        isolated = ", ".join(chemical_symbols[z] for z in fit.isolated)
        reason = f"; the single atoms ({isolated}) may be of another method than the rest" if isolated else ""
        raise InputError(
            f"per-element references leave {fit.residual:.1f} eV/atom RMS, expected below {WORST_RESIDUAL}: the energies are "
            f"in another unit than eV (declare it with --units), or the wrong key was read{reason}",
            where,
        )
    for z, energy in fit.energies.items():
        deepest = -_DEEPEST * 27.2114 * (0.768745 * z ** (7 / 3)) - _SLACK
        determined = z not in fit.undetermined
        if determined and energy < deepest:
            raise InputError(
                f"the reference of {chemical_symbols[z]} is {energy:.6g} eV per atom, below {deepest:.6g} eV, which no atom of "
                "it has with all its electrons: the energies are in another unit than eV (declare it with --units energy=...)",
                where,
            )


def reference_table(fits: Sequence[ReferenceFit]) -> str:
    """The fits as text: one line per level, and one where elements are not determined one by one."""
    from ase.data import chemical_symbols

    lines = []
    for fit in fits:
        level = fit.level or "(level not said)"
        energies = ", ".join(
            f"{chemical_symbols[z]} {e:.3f}{' (atom)' if z in fit.isolated else ''}"
            for z, e in fit.energies.items()
        )
        lines.append(
            f"{level}: {energies} eV (leaves {fit.residual * 1000:.0f} meV/atom RMS over {fit.num_records} records)"
        )
        if fit.undetermined:
            names = ", ".join(chemical_symbols[z] for z in fit.undetermined)
            lines.append(
                f"{level}: {names} do not vary on their own, so only sums of their references are determined; records of "
                "isolated atoms, or of other compositions, would determine them"
            )
    return "\n".join(lines)


# ---------------------------------------------------------------------- scales
def isotropic_scales(graphs: Iterable[Graph]) -> dict[str, dict[str, float]]:
    """Level -> quantity -> RMS of its components over all records (no mean is taken off, so rotations leave it as it is).

    Energies are left out: their scale is the residual of the references.
    """
    squares: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for graph in graphs:
        for name, value in graph.quantities.items():
            if name != "energy":
                total = squares[graph.level, name]
                total[0] += float(value.double().square().sum())
                total[1] += value.numel()
    out: dict[str, dict[str, float]] = defaultdict(dict)
    for (level, name), (square, count) in squares.items():
        out[level][name] = float(np.sqrt(square / count))
    return dict(out)


# ---------------------------------------------------------------------- cache
def content_key(source: Any) -> str:
    """sha256 of what a store holds, from the sha256 of its shards; of a list of graphs, of everything that references need."""
    digest = hashlib.sha256(f"references {_CACHE_VERSION}".encode())
    index = getattr(source, "index", None)
    if isinstance(index, dict) and "shards" in index:
        for shard in index["shards"]:
            digest.update(shard["sha256"].encode())
        return digest.hexdigest()
    for graph in source:
        digest.update(f"{graph.level}\0{graph.world}".encode())
        digest.update(graph.species.numpy().tobytes())
        for name in sorted(graph.quantities):
            digest.update(name.encode() + graph.quantities[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def references_of(source: Sequence[Graph], cache: Path | None = None) -> list[ReferenceFit]:
    """References of a store or a list of graphs, taken from the file ``cache`` where that was made from the same content."""

    def compute() -> list[dict[str, Any]]:
        compositions = Compositions()
        for graph in source:
            compositions.add(graph)
        return [asdict(fit) for fit in fit_references(compositions)]

    rows = compute() if cache is None else cached(cache, content_key(source), compute)
    return [
        ReferenceFit(
            row["level"],
            {int(z): float(e) for z, e in row["energies"].items()},
            row["residual"],
            row["num_records"],
            tuple(row["isolated"]),
            tuple(row["undetermined"]),
        )
        for row in rows
    ]


def cached(file: Path, key: str, compute: Callable[[], Any]) -> Any:
    """``compute()``, kept in ``file`` with ``key``; a file of another key, or that is damaged, is written anew."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    value = json.loads(json.dumps(compute()))
    try:
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        draft.write_text(json.dumps({"key": key, "value": value}, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, file)
    except OSError:  # a folder that cannot be written: computed each time
        pass
    return value
