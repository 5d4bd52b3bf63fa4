"""``.sdf`` and ``.mol``: molecules with geometry, their data items as labels.

A record without geometry (a 2D depiction) is embedded from its bonds, hydrogens that are not written are added; either is
said once per file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .atoms import atoms_graph
from .labels import group_of, logger, no_label, say_no_label, warn_unread
from .molecule_bonds import bonds_of
from .options import Outcomes, Passed, ReadOptions, refused
from .parsing import floats
from .smiles import canonical_smiles, embed_molecule
from .text import open_text
from .turns import mine

_ITEM = re.compile(r"^>.*?<([^>]+)>", re.MULTILINE)


def read_sdf(path: Path, options: ReadOptions) -> Outcomes:
    """All molecules of the file, in order; a depiction gives ``options.conformers`` graphs."""
    notes: set[str] = set()
    items: set[str] = set()
    count = 0
    for where, block in _records(path):
        count += 1
        if not mine(where):
            yield Passed(where, "")
            continue
        try:
            values = _items(block)
            if new := [k for k in values if k not in items]:
                items.update(new)
                warn_unread(new, options, str(path))
                say_no_label(new, options, str(path))
            yield from _molecules(block, values, options, where, notes)
        except InputError as error:
            yield refused(error, where)
    if not count:
        raise InputError("the file has no molecule", str(path))
    for note in sorted(notes):
        logger.warning("%s: %s", path, note)


def _records(path: Path) -> Iterator[tuple[Provenance, str]]:
    """The text up to each ``$$$$``, while the file is being read."""
    record, start = 0, 1
    lines: list[str] = []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.startswith("$$$$"):
                lines.append(line.rstrip("\r\n"))
                continue
            if any(text.strip() for text in lines):
                yield Provenance(str(path), record, start), "\n".join(lines) + "\n"
                record += 1
            lines, start = [], number + 1
    if any(text.strip() for text in lines):
        yield Provenance(str(path), record, start), "\n".join(lines) + "\n"


def items_of(path: Path) -> Iterator[dict[str, Any]]:
    """The data items of the molecules, and nothing else of them."""
    for _, block in _records(path):
        yield _items(block)


def _items(block: str) -> dict[str, Any]:
    """``> <NAME>`` and the lines below it, up to an empty one."""
    values: dict[str, Any] = {}
    for match in _ITEM.finditer(block):
        body = block[match.end() :].partition("\n")[2]
        # an item that is empty, though no line of its own says so, ends where it begins
        text = "" if body.startswith("\n") else body.split("\n\n", 1)[0].strip("\n")
        words = text.split()
        numeric = len(words) > 1 and all(re.fullmatch(r"[-+.\deE]+", w) for w in words)
        if match.group(1) in values:
            raise InputError(f"data item {match.group(1)!r} is there twice, expected it once")
        values[match.group(1)] = [_float(w, match.group(1)) for w in words] if numeric else text
    return values


def _check_v3000(block: str, where: Provenance) -> None:
    """RDKit reads a coordinate that is no number as 0: coordinates of the V3000 kind are checked first."""
    if "M  V30 BEGIN ATOM" not in block:
        return
    atoms = block.split("M  V30 BEGIN ATOM", 1)[1].split("M  V30 END ATOM", 1)[0]
    for i, line in enumerate(atoms.replace("-\nM  V30 ", "").splitlines()[1:]):
        words = line.removeprefix("M  V30").split()
        if len(words) >= 2:
            floats(words[2:5], 3, f"the position of atom {i}", where)


def _float(word: str, name: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise InputError(f"{name!r} has {word!r}, expected a number") from None


def _molecules(
    block: str, values: dict[str, Any], options: ReadOptions, where: Provenance, notes: set[str]
) -> list[Graph]:
    from rdkit import Chem, rdBase

    if options.targets and not any(options.key(t) in values for t in options.targets):
        raise no_label(values, options, where)
    _check_v3000(block, where)
    with rdBase.BlockLogs():
        molecule = Chem.MolFromMolBlock(block, removeHs=False)
        raw = None if molecule is not None else Chem.MolFromMolBlock(block, removeHs=False, sanitize=False)
        if molecule is None:
            problems = [] if raw is None else [p.Message() for p in Chem.DetectChemistryProblems(raw)]
            reason = "; ".join(problems[:3]) or "it is no mol block that RDKit reads"
            raise InputError(f"the molecule cannot be read: {reason}", where)
    if molecule.GetNumAtoms() == 0:
        raise InputError("the molecule has no atoms", where)
    wild = [a.GetIdx() for a in molecule.GetAtoms() if a.GetAtomicNum() == 0]
    if wild:
        raise InputError(
            f"atom {wild[0]} is {molecule.GetAtomWithIdx(wild[0]).GetSymbol()!r}, expected elements only",
            where,
        )
    group = group_of(values, options, where)
    positions = molecule.GetConformer().GetPositions()
    if (
        len(positions) > 1
        and not molecule.GetConformer().Is3D()
        and np.ptp(positions[:, 2]) == 0
        and not _is_flat(molecule)
    ):
        notes.add("depictions without geometry were embedded from their bonds")
        with rdBase.BlockLogs():
            molecule = Chem.RemoveHs(molecule)
        return embed_molecule(molecule, options.conformers, options.seed, where, values, options, group)
    if any(a.GetTotalNumHs() for a in molecule.GetAtoms()):
        notes.add("hydrogens that were not written were added")
        molecule = Chem.AddHs(molecule, addCoords=True)
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()], dtype=np.int64)
    conditions = {
        "charge": float(Chem.GetFormalCharge(molecule)),
        "spin": float(sum(a.GetNumRadicalElectrons() for a in molecule.GetAtoms())),
    }
    graph = atoms_graph(
        numbers, molecule.GetConformer().GetPositions(), None, (False, False, False), values, options, where,
        group=group or canonical_smiles(molecule), conditions=conditions, bonds=bonds_of(molecule),
    )  # fmt: skip
    return [graph]


def _is_flat(molecule: Any) -> bool:
    """Whether all hydrogens are written: a geometry that happens to lie in the plane, not a depiction."""
    return not any(a.GetTotalNumHs() for a in molecule.GetAtoms()) and any(
        a.GetAtomicNum() == 1 for a in molecule.GetAtoms()
    )
