"""``.mol2``: molecules with geometry, one or many a file. Atoms are read here, bonds by RDKit, which knows Tripos' atom types.

The partial charges of the file are ``partial_charges`` (``--map charges=partial_charges``): their method is what the
file names.

Reference: Tripos Mol2 File Format, SYBYL 7.1 (2005).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .atoms import atoms_graph
from .labels import group_of, logger, warn_unread
from .molecule_bonds import bonds_of
from .options import Outcomes, ReadOptions, attempt
from .parsing import atomic_number, floats
from .smiles import canonical_smiles
from .text import open_text

_TAG = "@<TRIPOS>"


def read_mol2(path: Path, options: ReadOptions) -> Outcomes:
    """All molecules of the file, in order."""
    from rdkit import Chem, rdBase  # noqa: F401 (its import switches the log on)

    notes: set[str] = set()
    count = 0
    for where, lines in _records(path):
        if not count:
            warn_unread(["partial_charges"] if options.targets else [], options, str(path))
        yield attempt(where, partial(_graph, lines, options, where, notes))
        count += 1
    if not count:
        raise InputError("the file has no @<TRIPOS>MOLECULE", str(path))
    for note in sorted(notes):
        logger.warning("%s: %s", path, note)


def _records(path: Path) -> Iterator[tuple[Provenance, list[str]]]:
    record, start = 0, 0
    lines: list[str] = []
    with open_text(path) as file:
        for number, text in enumerate(file, start=1):
            if text.startswith(f"{_TAG}MOLECULE"):
                if start:
                    yield Provenance(str(path), record, start), lines
                    record += 1
                lines, start = [], number
            if start:
                lines.append(text.rstrip("\r\n"))
    if start:
        yield Provenance(str(path), record, start), lines


def _graph(lines: list[str], options: ReadOptions, where: Provenance, notes: set[str]) -> Graph:
    from rdkit import Chem, rdBase

    name, counts = _header(lines, where)
    begin = next((i for i, line in enumerate(lines) if line.startswith(f"{_TAG}ATOM")), None)
    if begin is None:
        raise InputError("the molecule has no @<TRIPOS>ATOM", where)
    rows = []
    for i in range(begin + 1, len(lines)):
        if lines[i].startswith("@"):
            break
        if lines[i].strip() and not lines[i].startswith("#"):
            rows.append((i, lines[i].split()))
    if len(rows) != counts:
        raise InputError(f"the molecule has {len(rows)} atoms, expected {counts} as its header says", where)
    if not rows:
        raise InputError("the molecule has no atoms", where)
    numbers, positions, charges = [], [], []
    for atom, (i, words) in enumerate(rows):
        place = Provenance(where.file, where.record, (where.line or 1) + i)
        if len(words) < 6:
            raise InputError(f"atom {atom} has {len(words)} columns, expected at least 6", place)
        positions.append(floats(words[2:5], 3, f"the position of atom {atom}", place))
        numbers.append(atomic_number(words[5].split(".")[0], atom, place))
        charges.append(
            floats(words[8:9], 1, f"the charge of atom {atom}", place)[0] if len(words) > 8 else np.nan
        )
    values: dict[str, Any] = {"id": name}
    if np.isfinite(charges).all() and not any("NO_CHARGES" in line for line in lines[:6]):
        values["partial_charges"] = charges
    group = group_of(values, options, where)
    array = np.array(positions, dtype=np.float64)
    with rdBase.BlockLogs():
        molecule = Chem.MolFromMol2Block("\n".join(lines) + "\n", removeHs=False)
    if molecule is None or [a.GetAtomicNum() for a in molecule.GetAtoms()] != numbers:
        notes.add(
            "molecules whose bonds RDKit does not understand were read without them; their charge is not known"
        )
        return atoms_graph(np.array(numbers), array, None, (False,) * 3, values, options, where, group=group)
    radicals = sum(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())
    if radicals and 1 not in numbers:
        notes.add("molecules without hydrogens, of which none were added; their charge is not known")
        return atoms_graph(
            np.array(numbers), array, None, (False,) * 3, values, options, where,
            group=group, bonds=bonds_of(molecule),
        )  # fmt: skip
    conditions = {"charge": float(Chem.GetFormalCharge(molecule)), "spin": float(radicals)}
    return atoms_graph(
        np.array(numbers), array, None, (False,) * 3, values, options, where,
        group=group or canonical_smiles(molecule), conditions=conditions, bonds=bonds_of(molecule),
    )  # fmt: skip


def _header(lines: list[str], where: Provenance) -> tuple[str, int]:
    """Name and number of atoms: the two lines below ``@<TRIPOS>MOLECULE``."""
    words = lines[2].split() if len(lines) > 2 else []
    if not words or not words[0].isdecimal():
        found = lines[2][:40] if len(lines) > 2 else ""
        raise InputError(f"the line of counts is {found!r}, expected the number of atoms first", where)
    return lines[1].strip(), int(words[0])
