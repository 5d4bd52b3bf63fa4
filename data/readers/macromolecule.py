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
from .labels import group_of, logger
from .options import Outcomes, ReadOptions, attempt
from .parsing import is_number, parsed
from .residue_bonds import Site, Template, place_of, residue_bonds, templates_of_mmcif
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
    templates = templates_of_mmcif(text) if mmcif else {}
    name = dict(structure.info.items()).get("_entry.id") or path.name.split(".")[0]
    notes: dict[str, int] = defaultdict(int)
    for number, model in enumerate(structure):
        where = Provenance(str(path), number)
        yield attempt(where, partial(_graph, structure, model, name, templates, options, where, notes))
    if notes["alternatives"]:
        logger.warning(
            "%s: %d atoms in alternative locations: of each residue the one with the highest occupancy was taken",
            path, notes["alternatives"],
        )  # fmt: skip
    if notes["models without bonds"]:
        logger.info("%s: some residues are of no known kind and nothing says their bonds: read without", path)
    if notes["models without hydrogens"]:
        logger.warning("%s: has no hydrogens; none were added", path)


def _graph(
    structure: Any,
    model: Any,
    name: str,
    templates: dict[str, Template],
    options: ReadOptions,
    where: Provenance,
    notes: dict[str, int],
) -> Graph:
    atoms = _chosen(model, notes)
    numbers = np.array([s.atom.element.atomic_number for s in atoms], dtype=np.int64)
    unknown = np.flatnonzero(numbers == 0)
    if len(unknown):
        place, atom = atoms[unknown[0]].place, atoms[unknown[0]].atom
        raise InputError(f"atom {atom.name!r} of {place} is of no known element ({atom.element.name})", where)
    positions = np.array([(s.atom.pos.x, s.atom.pos.y, s.atom.pos.z) for s in atoms], dtype=np.float64)
    if not np.isfinite(positions).all():
        lost = atoms[int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])]
        raise InputError(
            f"atom {lost.atom.name!r} of {lost.place} has no finite position, expected numbers", where
        )
    if not (numbers == 1).any():
        notes["models without hydrogens"] += 1
    cell, pbc = None, (False, False, False)
    if options.map.get("periodic") == "cell":
        cell, pbc = _cell(structure, where), (True, True, True)
    bonds = residue_bonds(structure, atoms, numbers, templates)
    if bonds is None:
        notes["models without bonds"] += 1
    values = {"id": name}
    group = group_of(values, options, where) or name
    return atoms_graph(numbers, positions, cell, pbc, values, options, where, group=group, bonds=bonds)


def _chosen(model: Any, notes: dict[str, int]) -> list[Site]:
    """Atoms of one location of each residue; a point mutation is a residue with two names."""
    by_residue: dict[tuple[str, str], list[Site]] = defaultdict(list)
    for chain in model:
        for residue in chain:
            place = place_of(residue.name, residue.seqid, chain.name)
            key = (chain.name, f"{residue.seqid}{residue.segment}{residue.het_flag}")
            by_residue[key] += [Site(place, residue.name, chain.name, atom) for atom in residue]
    chosen: list[Site] = []
    for sites in by_residue.values():
        occupancy: dict[str, list[float]] = defaultdict(list)
        for site in sites:
            if site.atom.altloc != "\0":
                occupancy[site.atom.altloc].append(site.atom.occ)
        mean = {label: sum(values) / len(values) for label, values in occupancy.items()}
        best = min(mean, key=lambda label: (-round(mean[label], 4), label)) if mean else "\0"
        kept = [site for site in sites if site.atom.altloc in ("\0", best)]
        places = {site.place for site in kept}
        have = {(site.place, site.atom.name) for site in kept}
        for site in sites:  # an atom of the same residue that is only there in another location
            if site.place in places and (site.place, site.atom.name) not in have:
                kept.append(site)
                have.add((site.place, site.atom.name))
        notes["alternatives"] += len(sites) - len(kept)
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
