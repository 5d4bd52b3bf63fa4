"""Crystals from CIF, POSCAR and pymatgen: parsed by pymatgen, refused where they are no plain crystal."""

from __future__ import annotations

import itertools
import json
import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

from .atoms import atoms_graph
from .labels import group_of
from .macromolecule import is_mmcif, read_macromolecule
from .options import Outcomes, ReadOptions, attempt
from .parsing import parsed
from .text import read_text

if TYPE_CHECKING:
    from pymatgen.core import Molecule, Structure

LARGEST_OCCUPANCY = 1.001
"""Of a site in a CIF; one by rounding."""


def read_structures(path: Path, options: ReadOptions) -> Outcomes:
    """Every structure of a CIF (one per ``data_`` block), or the one of a POSCAR."""
    text = read_text(path)
    if is_mmcif(text):
        yield from read_macromolecule(path, options)
        return
    where = Provenance(str(path), 0)
    values: dict[str, Any] = {"id": path.stem}
    if path.suffix.lower() == ".cif":
        blocks = _cif_blocks(text)
        for record, (line, block) in enumerate(blocks):
            place = Provenance(str(path), record, line)
            yield attempt(place, partial(graph_of_text, block, values, options, place))
    else:
        yield attempt(where, partial(graph_of_text, text, values, options, where))


def _cif_blocks(text: str) -> list[tuple[int, str]]:
    """``(line, text)`` of each ``data_`` block that has atoms; the whole text if none has, so that the parser says why."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line[:5].lower() == "data_"]
    blocks = [(a + 1, "\n".join(lines[a:b])) for a, b in itertools.pairwise([*starts, len(lines)])]
    return [(line, block) for line, block in blocks if "_atom_site" in block] or [(1, text)]


def graph_of_text(text: str, values: Mapping[str, Any], options: ReadOptions, where: Provenance) -> Graph:
    """The graph of the text of a CIF, a POSCAR or pymatgen's dictionary as JSON. Raises ``InputError`` that says why."""
    if text.lstrip().startswith("{"):
        from .structure_json import structure_of

        with parsed("the structure is not JSON", where):
            content = json.loads(text)
        return structure_graph(structure_of(content, where), values, options, where)
    text = text.replace("\\n", "\n") if "\n" not in text else text
    if not text.strip():
        raise InputError("the structure is empty", where)
    is_cif = "_cell_length_a" in text or "_atom_site" in text or text.lstrip()[:5].lower() == "data_"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            structure = _parse_cif(text) if is_cif else _parse_poscar(text)
        except (
            Exception
        ) as error:  # pymatgen raises whatever its parsing meets: KeyError, IndexError, TypeError ...
            reason = str(error).strip().splitlines()
            raise InputError(
                f"{'CIF' if is_cif else 'POSCAR'} cannot be read: {reason[0][:200] if reason else type(error).__name__}",
                where,
            ) from None
    for warning in caught:
        if "occupanc" in str(warning.message).lower() and "some" in str(warning.message).lower():
            raise InputError(f"{str(warning.message).splitlines()[0][:200]}; expected whole atoms", where)
    return structure_graph(structure, values, options, where)


def _parse_cif(text: str) -> Structure:
    from pymatgen.io.cif import CifFile, CifParser

    for block in CifFile.from_str(text).data.values():
        sites = block.data.get("_atom_site_occupancy", [])
        labels = block.data.get("_atom_site_label", [])
        for number, occupancy in enumerate(sites if isinstance(sites, list) else []):
            try:
                present = 0 < float(re.sub(r"\(.*", "", occupancy)) <= LARGEST_OCCUPANCY
            except ValueError:  # "." and "?" are no numbers; pymatgen says what it does not understand
                present = True
            if not present:
                label = labels[number] if isinstance(labels, list) and number < len(labels) else number
                raise ValueError(
                    f"site {label} has occupancy {occupancy}, which pymatgen would leave out; delete the site or set it to 1"
                )
    parser = CifParser.from_str(text)
    structures = parser.parse_structures(primitive=False, on_error="raise")
    return structures[0]


def _parse_poscar(text: str) -> Structure:
    from pymatgen.io.vasp import Poscar

    lines = text.splitlines()
    announced = _announced_atoms(lines)
    if announced > len(lines):  # pymatgen makes a list of as many before it reads one
        raise ValueError(f"it announces {announced} atoms and has {len(lines)} lines")
    poscar = Poscar.from_str(text)
    if not poscar.true_names:  # pymatgen then makes up hydrogen, helium, lithium, ...
        raise ValueError(
            "it does not name its elements; write their symbols on the line above the numbers of atoms"
        )
    return poscar.structure


def _announced_atoms(lines: list[str]) -> int:
    """Sum of the first lines of whole numbers below the lattice, which may go on over several lines."""
    total, found = 0, False
    for line in lines[5:]:
        try:
            numbers = [int(word) for word in line.split()]
        except ValueError:
            numbers = []
        if found and not numbers:
            break
        found = found or bool(numbers)
        total += sum(numbers)
    return total


def structure_graph(
    structure: Structure | Molecule,
    values: Mapping[str, Any],
    options: ReadOptions,
    where: Provenance,
    group: str = "",
) -> Graph:
    """The graph of a pymatgen structure or molecule. Raises ``InputError`` for partial occupancies and dummy species."""
    numbers = []
    for i, site in enumerate(structure):
        if not site.is_ordered:
            raise InputError(
                f"site {i} is disordered ({site.species_string}), expected whole atoms; order the structure first",
                where,
            )
        number = getattr(site.specie, "Z", 0)
        if type(site.specie).__name__ == "DummySpecies" or not 1 <= number <= 118:
            raise InputError(f"site {i} is {site.species_string!r}, expected an element", where)
        numbers.append(number)
    lattice = getattr(structure, "lattice", None)
    charge = getattr(structure, "_charge", None)
    conditions = {"charge": float(charge)} if charge is not None else {}
    multiplicity = getattr(structure, "spin_multiplicity", None)
    if lattice is None and multiplicity:
        conditions["spin"] = float(multiplicity) - 1.0
    return atoms_graph(
        np.array(numbers, dtype=np.int64), np.asarray(structure.cart_coords, dtype=np.float64),
        None if lattice is None else np.asarray(lattice.matrix), (False,) * 3 if lattice is None else lattice.pbc,
        values, options, where, group=group_of(values, options, where) or group, conditions=conditions,
    )  # fmt: skip
