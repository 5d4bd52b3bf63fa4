"""PDB and mmCIF: proteins, RNA, DNA and their ligands, by gemmi. Every model is a record; models of an entry are one group.

Alternative locations: of each residue the one with the highest mean occupancy. Hydrogens are as in the file. The cell is not
read, since ``CRYST1`` of an NMR entry is a 1 x 1 x 1 placeholder; ``--map periodic=cell`` makes a crystal of a P 1 entry.

References: https://www.wwpdb.org/documentation/file-format (PDB 3.3), https://mmcif.wwpdb.org, https://gemmi.readthedocs.io.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .atoms import atoms_graph
from .labels import logger
from .options import Outcomes, ReadOptions, attempt
from .parsing import is_number, parsed
from .text import plain_suffix, read_text

_NEEDED = ("id", "type_symbol", "label_alt_id", "label_asym_id", "occupancy", "B_iso_or_equiv", "auth_seq_id", "Cartn_x",
           "Cartn_y", "Cartn_z")  # fmt: skip
_FIELDS = ((30, 38, "x"), (38, 46, "y"), (46, 54, "z"))


def is_mmcif(text: str) -> bool:
    """Whether a CIF is of a macromolecule: its atoms have Cartesian coordinates by mmCIF's names."""
    return "_atom_site.Cartn_x" in text


def read_macromolecule(path: Path, options: ReadOptions) -> Outcomes:
    """All models of the entry."""
    try:
        import gemmi
    except ImportError:
        raise InputError("PDB and mmCIF need gemmi: pip install 'atomfield[bio]'", str(path)) from None
    text = read_text(path)
    mmcif = is_mmcif(text) or plain_suffix(path) in (".cif", ".mmcif")
    if mmcif:
        _check_mmcif(text, path)
    else:
        _check_pdb(text, path)
    with parsed(f"is not {'mmCIF' if mmcif else 'PDB'} that gemmi reads", str(path)):
        form = gemmi.CoorFormat.Mmcif if mmcif else gemmi.CoorFormat.Pdb
        structure = gemmi.read_structure_string(text, format=form)
    if len(structure) == 0 or not any(len(chain) for model in structure for chain in model):
        raise InputError("has no atoms (ATOM, HETATM or _atom_site), expected a structure", str(path))
    name = dict(structure.info.items()).get("_entry.id") or path.name.split(".")[0]
    notes: dict[str, int] = defaultdict(int)
    for number, model in enumerate(structure):
        where = Provenance(str(path), number)
        yield attempt(where, partial(_graph, structure, model, name, options, where, notes))
    if notes["alternatives"]:
        logger.warning(
            "%s: %d atoms in alternative locations: of each residue the one with the highest occupancy was taken",
            path, notes["alternatives"],
        )  # fmt: skip
    if notes["models without hydrogens"]:
        logger.warning("%s: has no hydrogens; none were added", path)


def _graph(
    structure: Any, model: Any, name: str, options: ReadOptions, where: Provenance, notes: dict[str, int]
) -> Graph:
    atoms = _chosen(model, notes)
    numbers = np.array([a.element.atomic_number for _, a in atoms], dtype=np.int64)
    unknown = np.flatnonzero(numbers == 0)
    if len(unknown):
        place, atom = atoms[unknown[0]]
        raise InputError(f"atom {atom.name!r} of {place} is of no known element ({atom.element.name})", where)
    positions = np.array([(a.pos.x, a.pos.y, a.pos.z) for _, a in atoms], dtype=np.float64)
    if not np.isfinite(positions).all():
        place, atom = atoms[int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])]
        raise InputError(f"atom {atom.name!r} of {place} has no finite position, expected numbers", where)
    if not (numbers == 1).any():
        notes["models without hydrogens"] += 1
    cell, pbc = None, (False, False, False)
    if options.map.get("periodic") == "cell":
        cell, pbc = _cell(structure, where), (True, True, True)
    return atoms_graph(numbers, positions, cell, pbc, {"id": name}, options, where, group=name)


def _chosen(model: Any, notes: dict[str, int]) -> list[tuple[str, Any]]:
    """``(residue, atom)`` with one location of each residue; a point mutation is a residue with two names."""
    by_residue: dict[tuple[str, str], list[tuple[str, Any]]] = defaultdict(list)
    for chain in model:
        for residue in chain:
            place = f"{residue.name} {residue.seqid} of chain {chain.name}"
            for atom in residue:
                by_residue[(chain.name, f"{residue.seqid}{residue.segment}{residue.het_flag}")].append(
                    (place, atom)
                )
    chosen: list[tuple[str, Any]] = []
    for atoms in by_residue.values():
        occupancy: dict[str, list[float]] = defaultdict(list)
        for _, atom in atoms:
            if atom.altloc != "\0":
                occupancy[atom.altloc].append(atom.occ)
        mean = {label: sum(values) / len(values) for label, values in occupancy.items()}
        best = min(mean, key=lambda label: (-round(mean[label], 4), label)) if mean else "\0"
        kept = [(place, atom) for place, atom in atoms if atom.altloc in ("\0", best)]
        places = {place for place, _ in kept}
        have = {(place, atom.name) for place, atom in kept}
        for place, atom in atoms:  # an atom of the same residue that is only there in another location
            if place in places and (place, atom.name) not in have:
                kept.append((place, atom))
                have.add((place, atom.name))
        notes["alternatives"] += len(atoms) - len(kept)
        chosen += kept
    return chosen


def _cell(structure: Any, where: Provenance) -> np.ndarray:
    cell = structure.cell
    if not cell.is_crystal() or cell.volume < 10:
        raise InputError(
            f"the cell is {cell.parameters}, expected that of a crystal; leave out --map periodic=cell", where
        )
    group = structure.find_spacegroup()
    if group is not None and group.number != 1:
        raise InputError(
            f"the space group is {group.hm}, expected P 1: expand the entry to its whole cell first", where
        )
    return np.array(cell.orth.mat.tolist(), dtype=np.float64).T


def _check_pdb(text: str, path: Path) -> None:
    """gemmi takes the digits before a letter for a number: coordinates are checked first."""
    record = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("ENDMDL"):
            record += 1
        if not line.startswith(("ATOM  ", "HETATM")):
            continue
        for start, stop, axis in _FIELDS:
            word = line[start:stop].strip()
            if not re.fullmatch(r"[-+]?\d*\.?\d+|[-+]?\d+\.", word):
                raise InputError(
                    f"{axis} of the atom is {word!r} (columns {start + 1}-{stop}), expected a number",
                    Provenance(str(path), record, number),
                )


def _check_mmcif(text: str, path: Path) -> None:
    import gemmi

    with parsed("is not CIF that gemmi reads", str(path)):
        document = gemmi.cif.read_string(text)
        blocks = [b for b in document if b.find_loop("_atom_site.Cartn_x")]
    if not blocks:
        raise InputError("has no _atom_site.Cartn_x, expected the atoms of a structure", str(path))
    lacking = [name for name in _NEEDED if not blocks[0].find_loop(f"_atom_site.{name}")]
    if lacking and not any(name.startswith("Cartn") for name in lacking):
        raise InputError(f"has no _atom_site.{lacking[0]}, which the atoms of a structure need", str(path))
    for axis in "xyz":
        column = blocks[0].find_loop(f"_atom_site.Cartn_{axis}")
        if not column:
            raise InputError(f"has no _atom_site.Cartn_{axis}, expected coordinates", str(path))
        for i, word in enumerate(column):
            if not is_number(re.sub(r"\(\d+\)$", "", word)):
                raise InputError(
                    f"_atom_site.Cartn_{axis} of atom {i} is {word!r}, expected a number", str(path)
                )
