"""Parts of a data set: train, valid and test by a rule that fits what the model will meet, or by a file of official folds.

``random``: records. ``group``: molecules, compositions or trajectories as the reader names them. ``scaffold``: Bemis-Murcko ring
systems of the SMILES, largest first into train (the algorithm of DeepChem's ScaffoldSplitter). ``composition``: reduced formulas.
``spacegroup``; ``prototype``: anonymous formula with the space group (spglib). ``trajectory``: source files (of fields: records).
``time``: blocks in the order of the records, with a gap. Files of folds: :mod:`.folds`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from .errors import InputError
from .graph import Graph
from .splits import fraction_of
from .subset import Subset

Rule = Literal["random", "group", "scaffold", "composition", "prototype", "spacegroup", "trajectory", "time"]
RULES: tuple[str, ...] = get_args(Rule)
NAMES = ("train", "valid", "test")
FILE = "parts.json"
"""Beside the index of a store: name of a part -> record numbers."""
GAP = 0.01
"""Share of the records that a split by time leaves out between two parts."""
_SYMPREC = 0.01


def partition(
    graphs: Sequence[Graph], rule: Rule, fractions: Sequence[float], seed: int = 0
) -> dict[str, list[int]]:
    """Record numbers of train, valid and test (of train and test, with two fractions), each ascending.

    Whole groups go to one side, so the shares are met as nearly as the groups allow. Raises ``InputError`` for fractions that do
    not add to 1, and for a rule that the records cannot follow.
    """
    names = NAMES if len(fractions) == 3 else ("train", "test")
    if len(fractions) not in (2, 3) or min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6:
        shown = ",".join(f"{f:g}" for f in fractions)
        raise InputError(
            f"found {shown}, expected two or three numbers that add to 1, such as 0.8,0.1,0.1", "--fractions"
        )
    match rule:
        case "time":
            return dict(zip(names, _blocks(len(graphs), fractions), strict=True))
        case "scaffold":
            return dict(
                zip(names, _largest_first(_members(graphs, scaffold_of), len(graphs), fractions), strict=True)
            )
        case "random":
            groups = {str(i): [i] for i in range(len(graphs))}
        case "group":
            groups = _members(graphs, lambda g: g.group or str(g.provenance))
        case "composition":
            groups = _members(graphs, _composition)
        case "spacegroup":
            groups = _members(graphs, lambda g: str(_space_group(g)))
        case "prototype":
            groups = _members(graphs, lambda g: f"{_anonymous(g)} {_space_group(g)}")
        case "trajectory":
            groups = _members(
                graphs, lambda g: str(g.provenance) if g.world == "field" else g.provenance.file
            )
    if len(groups) < sum(f > 0 for f in fractions):
        raise InputError(
            f"all records are of {len(groups)} {rule}{'s' if len(groups) > 1 else ''}, expected at least one for each part; "
            "take --split time or --split random",
            graphs[0].provenance.file if len(graphs) else "",
        )
    return dict(zip(names, _by_hash(groups, len(graphs), fractions, seed), strict=True))


def _members(graphs: Sequence[Graph], name: Callable[[Graph], str]) -> dict[str, list[int]]:
    members: dict[str, list[int]] = {}
    for i, graph in enumerate(graphs):
        members.setdefault(name(graph), []).append(i)
    return members


def _by_hash(
    groups: dict[str, list[int]], count: int, fractions: Sequence[float], seed: int
) -> list[list[int]]:
    """Groups in the order of a hash of their names; each goes to the part that lacks most of its share."""
    parts: list[list[int]] = [[] for _ in fractions]
    for name in sorted(groups, key=lambda n: (fraction_of(n, seed), n)):
        lack = [
            (f * count - len(part)) / (f * count) if f > 0 else -np.inf
            for f, part in zip(fractions, parts, strict=True)
        ]
        parts[int(np.argmax(lack))] += groups[name]
    return [sorted(part) for part in parts]


def _largest_first(groups: dict[str, list[int]], count: int, fractions: Sequence[float]) -> list[list[int]]:
    """Largest groups first; a group that train (then valid) has no room for goes to the next part."""
    limits = np.cumsum(fractions[:-1]) * count
    parts: list[list[int]] = [[] for _ in fractions]
    for members in sorted(groups.values(), key=lambda m: (len(m), m[0]), reverse=True):
        filled = 0
        for part, limit in zip(parts, [*limits, np.inf], strict=True):
            filled += len(part)
            if filled + len(members) <= limit + 1e-9:
                part += members
                break
    return [sorted(part) for part in parts]


def _blocks(count: int, fractions: Sequence[float]) -> list[list[int]]:
    gap = max(1, round(GAP * count)) if count > 20 else 0
    ends = np.round(np.cumsum(fractions) * count).astype(int)
    starts = [0, *(ends[:-1] + gap)]
    return [list(range(a, b)) for a, b in zip(starts, ends.tolist(), strict=True)]


def scaffold_of(graph: Graph) -> str:
    """Bemis-Murcko scaffold of the record's SMILES, without stereochemistry; empty for a molecule without rings."""
    from rdkit import Chem, rdBase
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(graph.group) if graph.group else None
    if molecule is None:
        raise InputError(
            f"the record's group is {graph.group!r}, expected a SMILES, which a scaffold needs; take --split group",
            graph.provenance,
        )
    return MurckoScaffold.MurckoScaffoldSmiles(mol=molecule, includeChirality=False)


def _composition(graph: Graph) -> str:
    numbers, counts = np.unique(graph.species.numpy(), return_counts=True)
    counts = counts // np.gcd.reduce(counts)
    return " ".join(f"{z}:{n}" for z, n in zip(numbers.tolist(), counts.tolist(), strict=True))


def _anonymous(graph: Graph) -> str:
    _, counts = np.unique(graph.species.numpy(), return_counts=True)
    return ":".join(str(n) for n in sorted((counts // np.gcd.reduce(counts)).tolist()))


def _space_group(graph: Graph) -> int:
    """International number (spglib, tolerance 0.01 angstrom); 0 where the cell is not periodic in three directions."""
    import warnings

    import spglib

    if not bool(graph.pbc.all()):
        return 0
    cell = graph.cell.numpy()
    fractional = graph.positions.numpy() @ np.linalg.inv(cell)
    crystal: Any = (cell, fractional, graph.species.numpy())
    with warnings.catch_warnings():  # spglib announces its next way to report errors
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_symmetry_dataset(crystal, symprec=_SYMPREC)
    return 0 if found is None else int(found.number)


# ---------------------------------------------------------------------- kept with a store
def write_parts(store: str | Path, parts: dict[str, list[int]]) -> None:
    """Keep the parts with a store."""
    import os

    draft = Path(store) / f"{FILE}.new"
    draft.write_text(json.dumps(parts) + "\n", encoding="utf-8")
    os.replace(draft, Path(store) / FILE)


def part_of(source: Sequence[Graph], store: Path, name: str) -> Subset:
    """The part ``name`` of a store; raises ``InputError`` that names the parts it has."""
    file = store / FILE
    parts = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if name not in parts:
        held = ", ".join(parts) or "none; make them with atomfield prepare --split"
        raise InputError(f"there is no part {name!r}; parts: {held}", str(store))
    records = parts[name]
    if records and max(records) >= len(source):
        raise InputError(f"part {name!r} has record {max(records)}, the store has {len(source)}", str(file))
    return Subset(source, records)
