"""Bonds of a protein or nucleic acid: of residues as the entry or the table below has them, along the chains, and as annotated.

A record has bonds only if every atom of a residue of several atoms got one; a ligand that nobody describes leaves those of the
whole record unknown. ``CONECT`` says no order, so such bonds are OTHER. Coordination of metals is no bond here.

References: wwPDB Chemical Component Dictionary (bonds and orders of the standard residues),
https://mmcif.wwpdb.org/dictionaries/mmcif_pdbx_v50.dic/Categories/chem_comp_bond.html.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from atomfield.data.bonds import Bonds

from .molecule_bonds import perceived

_LINK = 2.2
"""Farthest that C and N of a peptide bond, or O3' and P, may be apart, angstrom."""
_TO_HYDROGEN = 1.5
_BACKBONE = "N-CA CA-C C=O C-OXT "
_SUGAR = "P=OP1 P-OP2 P-OP3 P-O5' O5'-C5' C5'-C4' C4'-O4' C4'-C3' C3'-O3' C3'-C2' C2'-C1' C1'-O4' C2'-O2' "
_PHENYL = "CA-CB CB-CG CG=CD1 CG-CD2 CD1-CE1 CD2=CE2 CE1=CZ CE2-CZ"
_SIDE_CHAINS = {
    "GLY": "",
    "ALA": "CA-CB",
    "ARG": "CA-CB CB-CG CG-CD CD-NE NE-CZ CZ-NH1 CZ=NH2",
    "ASN": "CA-CB CB-CG CG=OD1 CG-ND2",
    "ASP": "CA-CB CB-CG CG=OD1 CG-OD2",
    "CYS": "CA-CB CB-SG",
    "GLN": "CA-CB CB-CG CG-CD CD=OE1 CD-NE2",
    "GLU": "CA-CB CB-CG CG-CD CD=OE1 CD-OE2",
    "HIS": "CA-CB CB-CG CG-ND1 CG=CD2 ND1=CE1 CD2-NE2 CE1-NE2",
    "ILE": "CA-CB CB-CG1 CB-CG2 CG1-CD1",
    "LEU": "CA-CB CB-CG CG-CD1 CG-CD2",
    "LYS": "CA-CB CB-CG CG-CD CD-CE CE-NZ",
    "MET": "CA-CB CB-CG CG-SD SD-CE",
    "MSE": "CA-CB CB-CG CG-SE SE-CE",
    "PHE": _PHENYL,
    "PRO": "CA-CB CB-CG CG-CD CD-N",
    "SER": "CA-CB CB-OG",
    "THR": "CA-CB CB-OG1 CB-CG2",
    "TRP": "CA-CB CB-CG CG=CD1 CG-CD2 CD1-NE1 NE1-CE2 CD2=CE2 CD2-CE3 CE2-CZ2 CE3=CZ3 CZ2=CH2 CZ3-CH2",
    "TYR": _PHENYL + " CZ-OH",
    "VAL": "CA-CB CB-CG1 CB-CG2",
}
_PURINE = "C1'-N9 N9-C8 N9-C4 C8=N7 N7-C5 C5-C6 C5=C4 N1-C2 C2=N3 N3-C4 "
_PYRIMIDINE = "C1'-N1 N1-C2 N1-C6 C2=O2 C2-N3 C4-C5 C5=C6 "
_BASES = {
    "A": _PURINE + "C6-N6 C6=N1",
    "G": _PURINE + "C6=O6 C6-N1 C2-N2",
    "C": _PYRIMIDINE + "N3=C4 C4-N4",
    "U": _PYRIMIDINE + "N3-C4 C4=O4",
    "DT": _PYRIMIDINE + "N3-C4 C4=O4 C5-C7",
}
_WATERS = ("HOH", "DOD", "WAT")
Template = dict[frozenset[str], int]
"""Names of two atoms -> order of their bond, 0 if unknown."""


class Site(NamedTuple):
    """An atom that was chosen. ``place`` names its residue in the model, ``residue`` its kind."""

    place: str
    residue: str
    chain: str
    atom: Any


def _template(text: str) -> Template:
    out: Template = {}
    for bond in text.split():
        sign = "=" if "=" in bond else "-"
        out[frozenset(bond.split(sign))] = 2 if sign == "=" else 1
    return out


KNOWN: dict[str, Template] = {
    **{name: _template(_BACKBONE + chain) for name, chain in _SIDE_CHAINS.items()},
    **{name: _template(_SUGAR + base) for name, base in _BASES.items()},
    **{f"D{name}": _template(_SUGAR + _BASES[name]) for name in ("A", "G", "C")},
    **{name: {} for name in _WATERS},
}
"""Heavy atoms of the standard residues; a hydrogen is bound to the nearest of them."""
_ORDERS = {"sing": 1, "doub": 2, "trip": 3}


def templates_of_mmcif(text: str) -> dict[str, Template]:
    """Residue -> its bonds, from the entry's own ``_chem_comp_bond``; empty if it has none."""
    import gemmi

    out: dict[str, Template] = defaultdict(dict)
    for block in gemmi.cif.read_string(text):
        for row in block.find("_chem_comp_bond.", ["comp_id", "atom_id_1", "atom_id_2", "value_order"]):
            residue, first, second, order = (row.str(i) for i in range(4))
            out[residue][frozenset((first, second))] = _ORDERS.get(order.lower(), 0)
    return out


def residue_bonds(
    structure: Any, sites: Sequence[Site], numbers: np.ndarray, templates: Mapping[str, Template]
) -> Bonds | None:
    """The bonds of one model, or None if they are not all known. ``templates`` go before those that are known here."""
    members: dict[str, dict[str, int]] = {}
    for i, site in enumerate(sites):
        members.setdefault(site.place, {})[site.atom.name] = i
    positions = np.array([(s.atom.pos.x, s.atom.pos.y, s.atom.pos.z) for s in sites], dtype=np.float64)
    orders: dict[tuple[int, int], int] = {}

    def bind(i: int, j: int, order: int) -> None:
        if i != j:
            orders.setdefault((min(i, j), max(i, j)), order)

    for atoms in members.values():
        kind = sites[next(iter(atoms.values()))].residue
        template = templates.get(kind) or KNOWN.get(kind) or {}
        for ends, order in template.items():
            first, second = ends if len(ends) == 2 else (*ends, *ends)
            if first in atoms and second in atoms:
                bind(atoms[first], atoms[second], order)
    _along_chains(members, sites, positions, bind)
    _as_annotated(structure, members, sites, bind)
    bound = {i for pair in orders for i in pair}
    for atoms in members.values():
        heavy = np.array([i for i in atoms.values() if numbers[i] != 1], dtype=np.int64)
        for i in atoms.values():
            if numbers[i] == 1 and i not in bound and len(heavy):
                distance = np.linalg.norm(positions[heavy] - positions[i], axis=1)
                if distance.min() < _TO_HYDROGEN:
                    bind(i, int(heavy[distance.argmin()]), 1)
                    bound |= {i, int(heavy[distance.argmin()])}
    if any(len(atoms) > 1 and not bound.issuperset(atoms.values()) for atoms in members.values()):
        return None
    return perceived(numbers, orders)


def _along_chains(
    members: Mapping[str, dict[str, int]], sites: Sequence[Site], positions: np.ndarray, bind: Any
) -> None:
    residues = list(members.values())
    for before, after in itertools.pairwise(residues):
        if sites[next(iter(before.values()))].chain != sites[next(iter(after.values()))].chain:
            continue
        for tail, head in (("C", "N"), ("O3'", "P")):
            i, j = before.get(tail), after.get(head)
            if i is not None and j is not None and np.linalg.norm(positions[i] - positions[j]) < _LINK:
                bind(i, j, 1)


def _as_annotated(
    structure: Any, members: Mapping[str, dict[str, int]], sites: Sequence[Site], bind: Any
) -> None:
    """Disulfides and covalent links (``SSBOND``, ``LINK``, ``_struct_conn``) within the model, and ``CONECT``."""
    import gemmi

    for link in structure.connections:
        if link.asu == gemmi.Asu.Different or link.type not in (
            gemmi.ConnectionType.Covale,
            gemmi.ConnectionType.Disulf,
        ):
            continue
        ends = []
        for end in (link.partner1, link.partner2):
            place = place_of(end.res_id.name, end.res_id.seqid, end.chain_name)
            ends.append(members.get(place, {}).get(end.atom_name))
        if None not in ends:
            bind(*ends, 1 if link.type == gemmi.ConnectionType.Disulf else 0)
    serials = {site.atom.serial: i for i, site in enumerate(sites)}
    metals = {i for i, site in enumerate(sites) if site.atom.element.is_metal}
    for serial, others in structure.conect_map.items():
        for other in others:
            i, j = serials.get(serial), serials.get(other)
            if i is not None and j is not None and not {i, j} & metals:
                bind(i, j, 0)


def place_of(residue: str, number: Any, chain: str) -> str:
    """How a residue is named in messages and found again."""
    return f"{residue} {number} of chain {chain}"
