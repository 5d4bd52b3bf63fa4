"""Malformed files of molecules and crystals: a good file of each format, and everything that we know goes wrong with it.

Each case is one small file (or folder) made from a good one by one change, with what its refusal must say and the record that it
must name.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import sqlite3
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from atomfield.data.readers import ReadOptions

from .. import vasp_files

Change = Callable[[Any], Any]
WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])


@dataclass(frozen=True)
class Case:
    """``write(path)`` makes it at ``path`` (``name`` in some folder); reading it must say ``says`` and name ``record``."""

    label: str
    name: str
    write: Callable[[Path], None]
    says: str = ""
    record: int | None = None
    options: ReadOptions = field(default_factory=ReadOptions)

    def __str__(self) -> str:
        return f"{self.name}-{self.label}"


def _put(content: Callable[[], str | bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        made = content()
        path.write_bytes(made.encode() if isinstance(made, str) else made)

    return write


def _from(name: str, good: Callable[[], Any], *rows: tuple[Any, ...]) -> list[Case]:
    """``(label, change, says[, record[, options]])`` of a good text or bytes; ``change`` may also be ``(old, new)``."""
    cases = []
    for label, change, says, *rest in rows:

        def content(change: Any = change, label: str = label) -> str | bytes:
            text = good()
            if isinstance(change, tuple):
                assert change[0] in text, f"{name} {label}: {change[0]!r} is not in the good file"
                return text.replace(*change)
            made: str | bytes = change(text)
            return made

        options = rest[1] if len(rest) > 1 else ReadOptions()
        cases.append(Case(label, name, _put(content), says, rest[0] if rest else None, options))
    return cases


def cut(part: float) -> Change:
    """The first ``part`` of a file."""
    return lambda content: content[: int(len(content) * part)]


def after(part: float, old: str, new: str, count: int = -1) -> Change:
    """``old`` becomes ``new`` behind the first ``part`` of a text."""

    def change(text: str) -> str:
        place = int(len(text) * part)
        assert old in text[place:], f"{old!r} is not in the good file"
        return text[:place] + text[place:].replace(old, new, count)

    return change


# ---------------------------------------------------------------- every format
SUFFIXES = (
    "a.xyz", "a.extxyz", "a.csv", "a.tsv", "a.smi", "a.sdf", "a.mol", "a.mol2", "a.pdb", "a.mmcif", "a.cif", "POSCAR", "a.json",
    "vasprun.xml", "OUTCAR", "a.db", "a.traj", "a.aselmdb", "a.npz", "a.h5", "a.mat", "a.parquet", "a.arrow", "a.json.gz",
    "a.json.zip",
)  # fmt: skip


def everywhere() -> list[Case]:
    """Empty files, noise, text in a wrong encoding, folders in place of files."""
    cases = []
    for name in SUFFIXES:
        cases.append(Case("empty", name, _put(lambda: b""), ""))
        cases.append(Case("noise", name, _put(lambda: random.Random(1).randbytes(2000)), ""))
        cases.append(Case("utf16", name, _put(lambda: ("3\nwater\nO 0 0 0\n" * 20).encode("utf-16")), ""))
    cases += [
        Case("folder", name, Path.mkdir, "no file with a reader")
        for name in ("a.xyz", "a.sdf", "a.npz", "POSCAR")
    ]
    cases.append(Case("missing", "a.xyz", lambda path: None, "no such file or folder"))
    return cases


# ---------------------------------------------------------------- texts
XYZ = """3
Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"
O 0.0 0.0 0.0 0.1 0.2 0.3
H 0.96 0.0 0.0 0.1 0.2 0.3
H -0.24 0.93 0.0 -0.2 -0.4 -0.6
"""
XYZ = XYZ + XYZ.replace("energy=-1.5", "energy=-2.5")


def extxyz() -> list[Case]:
    energy = ReadOptions(targets=("energy",))
    second = partial(after, 0.5)
    return _from(
        "a.xyz", lambda: XYZ,
        ("count too large", second("3\nLattice", "9\nLattice"), "the file ends after 3 of 9 atoms", 1),
        ("count too small", second("3\nLattice", "2\nLattice"), "expected the number of atoms of the next frame", 2),
        ("count is no number", second("3\nLattice", "three\nLattice"), "line is 'three'", 1),
        ("cut short", cut(0.9), "the file ends after", 1),
        ("cut in a number", cut(0.985), "columns, expected 7", 1),
        ("position is no number", second("0.96", "0.9x6"), "pos of atom 1 is '0.9x6'", 1),
        ("position is NaN", second("0.96", "nan"), "expected finite numbers", 1),
        ("position is infinite", second("0.96", "inf"), "expected finite numbers", 1),
        ("forces are NaN", second("0.1 0.2", "nan 0.2"), "not finite", 1),
        ("energy is text", second("-2.5", "high"), "expected a number", 1),
        ("energy is NaN", second("-2.5", "nan"), "no value", 1, energy),
        ("no energy", second("energy=-2.5 ", ""), "target 'energy' is not in the file", 1, energy),
        ("unknown element", second("O 0.0", "Qq 0.0"), "element of atom 0 is 'Qq'", 1),
        ("dummy element", second("O 0.0", "X 0.0"), "element of atom 0 is 'X'", 1),
        ("flat cell", second("9 0 0 0 9 0 0 0 9", "9 0 0 9 0 0 0 0 9"), "cell volume is 0", 1),
        ("zero cell", second("9 0 0 0 9 0 0 0 9", "0 0 0 0 0 0 0 0 0"), "cell volume is 0", 1),
        ("cell is NaN", second("9 0 0 0 9 0 0 0 9", "nan 0 0 0 9 0 0 0 9"), "not finite", 1),
        ("cell has eight numbers", second("9 0 0 0 9 0 0 0 9", "9 0 0 0 9 0 0 0"), "9-long", 1),
        ("pbc is text", second("T T T", "yes no maybe"), "pbc is", 1),
        ("pbc without cell", second('Lattice="9 0 0 0 9 0 0 0 9" ', ""), "there is no lattice", 1),
        ("atoms on one site", second("0.96", "0.001"), "angstrom apart", 1),
        ("atoms on one site across the border", second("0.96 0.0", "8.99 0.0"), "periodic images counted", 1),
        ("a column is missing", second("0.96 0.0 0.0 0.1", "0.96 0.0 0.0"), "has 6 columns, expected 7", 1),
        ("properties are broken", second("forces:R:3", "forces:R"), "expected name:kind:count", 1),
        ("no positions", second("pos:R:3", "xyz:R:3"), "no pos:R:3", 1),
        ("no atoms", lambda text: '0\nenergy=1 pbc="F F F"\n', "no atoms", 0),
        ("latin-1", lambda text: text.replace("energy", "énergie").encode("latin-1"), "is not a text file"),
    )  # fmt: skip


CSV = "smiles,y\nCCO,1.0\nCC,2.0\nc1ccccc1,3.0\n"


def tables() -> list[Case]:
    y = ReadOptions(targets=("y",))
    return _from(
        "a.csv", lambda: CSV,
        ("ring not closed", ("c1ccccc1", "c1ccccc"), "does not parse", 2),
        ("parenthesis not closed", ("CCO", "CC(O"), "does not parse", 0),
        ("five bonds", ("CC,", "C(C)(C)(C)(C)C,"), "does not parse", 1),
        ("wildcard", ("CCO", "CC*"), "wildcard", 0),
        ("no molecule", ("CC,", ","), "the SMILES is empty", 1),
        ("number is text", ("2.0", "two"), "expected a number", 1, y),
        ("number is infinite", ("2.0", "inf"), "expected a finite number", 1, y),
        ("number is missing", ("2.0", ""), "has no value", 1, y),
        ("no such column", lambda text: text, "target 'z' is not in the file", None, ReadOptions(targets=("z",))),
        ("no SMILES", ("smiles", "names"), "no column is called smiles"),
        ("a cell too many", ("CC,2.0", "CC,2.0,4"), "row has 3 cells, expected 2", 1),
        ("a cell too few", ("CC,2.0", "CC"), "row has 1 cells, expected 2", 1),
        ("column twice", ("smiles,y", "smiles,smiles"), "is there twice"),
        ("header only", lambda text: "smiles,y\n", "the table has no rows"),
        ("quote not closed", ("CC,2.0", '"CC,2.0'), "is not a table"),
        ("no geometry", ("CCO", "C12C3C4C1C5C2C3C45.C1=C2C=C12"), "", 0, y),
    )[:-1] + _from(
        "a.smi", lambda: "CCO one\nCC two\n",
        ("ring not closed", ("CC two", "C1C two"), "does not parse", 1),
        ("comments only", lambda text: "# a\n# b\n", "the file has no SMILES"),
    )  # fmt: skip


@cache
def _sdf(version: str = "V2000") -> str:
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles("CO"))
    AllChem.EmbedMolecule(molecule, randomSeed=1)
    block = Chem.MolToMolBlock(molecule, forceV3000=version == "V3000")
    return (block + "> <y>\n1.5\n\n$$$$\n") * 2


def sdf() -> list[Case]:
    y = ReadOptions(targets=("y",))
    second = partial(after, 0.5, count=1)
    first_atom = _sdf().splitlines()[4]
    return _from(
        "a.sdf", _sdf,
        ("unknown element", second(" O  ", " Qq "), "", 1),
        ("dummy element", second(" O  ", " *  "), "expected elements only", 1),
        ("R group", second(" O  ", " R# "), "expected elements only", 1),
        ("counts are text", second("  6  5", "  x  5"), "the molecule cannot be read", 1),
        ("counts too large", second("  6  5", " 60  5"), "the molecule cannot be read", 1),
        ("no atoms", second("  6  5", "  0  0"), "", 1),
        ("coordinate is text", second(first_atom[:10], "      oops"), "", 1),
        ("coordinate is NaN", second(first_atom[:10], "       nan"), "", 1),
        ("valence", second("  1  2  1  0", "  1  2  3  0"), "the molecule cannot be read", 1),
        ("bond to nowhere", second("  1  2  1  0", "  1 99  1  0"), "the molecule cannot be read", 1),
        ("cut short", cut(0.7), "the molecule cannot be read", 1),
        ("value is text", second("1.5", "high"), "expected a number", 1, y),
        ("value is missing", second("<y>", "<z>"), "target 'y'", 1, y),
        ("two numbers", second("1.5", "1.5 2.5"), "has shape [2]", 1, y),
        ("numbers that are none", second("1.5", "1.5 -+e"), "expected a number", 1, y),
    ) + _from(
        "b.sdf", lambda: _sdf("V3000"),
        ("V3000 without counts", second("M  V30 COUNTS 6 5", "M  V30 COUNT 6 5"), "the molecule cannot be read", 1),
        ("V3000 cut short", cut(0.7), "the molecule cannot be read", 1),
        ("V3000 coordinate", second("M  V30 1 C ", "M  V30 1 C x"), "expected a number", 1),
    )  # fmt: skip


MOL2 = """@<TRIPOS>MOLECULE
water
 3 2 1 0 0
SMALL
USER_CHARGES

@<TRIPOS>ATOM
  1 O1   0.0000  0.0000  0.0000 O.3 1 HOH -0.8
  2 H1   0.9600  0.0000  0.0000 H   1 HOH  0.4
  3 H2  -0.2400  0.9300  0.0000 H   1 HOH  0.4
@<TRIPOS>BOND
 1 1 2 1
 2 1 3 1
"""


def mol2() -> list[Case]:
    second = partial(after, 0.5)
    return _from(
        "a.mol2", lambda: MOL2 * 2,
        ("count too large", second(" 3 2 1", " 4 2 1"), "has 3 atoms, expected 4", 1),
        ("counts are text", second(" 3 2 1 0 0", " many"), "expected the number of atoms first", 1),
        ("no atoms", second("<TRIPOS>ATOM", "<TRIPOS>NOTE"), "has no @<TRIPOS>ATOM", 1),
        ("dummy", second("O.3", "Du"), "element of atom 0 is 'Du'", 1),
        ("lone pair", second("H   1 HOH  0.4\n@", "LP  1 HOH  0.4\n@"), "element of atom 2 is 'LP'", 1),
        ("coordinate is text", second("0.9600", "0.9x00"), "expected a number", 1),
        ("coordinate is NaN", second("0.9600", "nan"), "expected finite numbers", 1),
        ("columns are missing", second("0.9600  0.0000  0.0000 H   1 HOH  0.4", "0.9600"), "has 3 columns", 1),
        ("charge is text", second("-0.8", "minus"), "expected a number", 1),
        ("on one site", second("0.9600", "0.0001"), "angstrom apart", 1),
        ("cut short", cut(0.8), "", 1),
        ("target", lambda text: text, "target 'gap'", 0, ReadOptions(targets=("gap",))),
    )  # fmt: skip


def _pdb_atom(serial: int, name: str, xyz: tuple[float, ...], element: str) -> str:
    place = "".join(f"{x:8.3f}" for x in xyz)
    return f"HETATM{serial:5d} {name:^4s} HOH A   1    {place}  1.00  0.00          {element:>2s}\n"


def _pdb() -> str:
    atoms = "".join(
        _pdb_atom(i, n, tuple(p), n[0]) for i, n, p in zip((1, 2, 3), ("O", "H1", "H2"), WATER, strict=True)
    )
    return "CRYST1    1.000    1.000    1.000  90.00  90.00  90.00 P 1           1\n" + "".join(
        f"MODEL     {i:4d}\n{atoms}ENDMDL\n" for i in (1, 2)
    )


def _mmcif() -> str:
    columns = ("group_PDB", "id", "type_symbol", "label_atom_id", "label_comp_id", "label_asym_id",
               "auth_seq_id", "label_alt_id", "B_iso_or_equiv",
               "Cartn_x", "Cartn_y", "Cartn_z", "occupancy", "pdbx_PDB_model_num")  # fmt: skip
    rows = [("HETATM", i + 3 * m, "OHH"[i], f"{'OHH'[i]}{i}", "HOH", "A", "1", ".", "0.0", *WATER[i], "1.0", m + 1)
            for m in (0, 1) for i in range(3)]  # fmt: skip
    body = "\n".join(" ".join(map(str, row)) for row in rows)
    return "data_WATR\n_entry.id WATR\nloop_\n" + "".join(f"_atom_site.{c}\n" for c in columns) + body + "\n"


def macromolecules() -> list[Case]:
    second = partial(after, 0.5)
    return _from(
        "a.pdb", _pdb,
        ("coordinate is text", second("0.960", "0.9x0"), "x of the atom is '0.9x0'", 1),
        ("coordinate overflows", second("   0.960", "********"), "expected a number", 1),
        ("coordinate is NaN", second("   0.960", "     nan"), "expected a number", 1),
        ("unknown element", second("           O\n", "          Qq\n"), "of no known element", 1),
        ("dummy element", second("           O\n", "           X\n"), "of no known element", 1),
        ("line cut short", lambda text: text[: text.rindex("0.930")], "expected a number", 1),
        ("no atoms", lambda text: "HEADER    NOTHING\nEND\n", "has no atoms"),
        ("on one site", second("   0.960", "   0.010"), "angstrom apart", 1),
        ("no crystal", lambda text: text, "expected that of a crystal", 0, ReadOptions(map={"periodic": "cell"})),
        ("target", lambda text: text, "target 'energy'", 0, ReadOptions(targets=("energy",))),
    ) + _from(
        "a.mmcif", _mmcif,
        ("coordinate is unknown", ("0.96", "?"), "Cartn_x of atom 1 is '?'"),
        ("coordinate is text", ("0.96", "abc"), "Cartn_x of atom 1 is 'abc'"),
        ("row cut short", cut(0.97), "is not CIF that gemmi reads"),
        ("no coordinates", ("Cartn_x", "fract_x"), "has no _atom_site.Cartn_x"),
        ("no third coordinate", ("Cartn_z", "Cartn_q"), "has no _atom_site.Cartn_z"),
        ("unknown element", ("0 O O0", "0 Qq Q0"), "of no known element", 0),
        ("on one site", ("0.96", "0.01"), "angstrom apart", 0),
        ("unclosed text", lambda text: text + "_a.b\n;text\n", "is not CIF that gemmi reads"),
    )  # fmt: skip


@cache
def _salt() -> Any:
    from pymatgen.core import Lattice, Structure

    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@cache
def _cif() -> str:
    text = _salt().to(fmt="cif")
    return f"{text}\n{text}"


@cache
def _poscar() -> str:
    return str(_salt().to(fmt="poscar"))


def crystals() -> list[Case]:
    half = partial(after, 0.5)
    length = "_cell_length_a   5.64000000"
    return _from(
        "a.cif", _cif,
        ("cell is NaN", half(length, "_cell_length_a   nan"), "", 1),
        ("cell is zero", half(length, "_cell_length_a   0.0"), "", 1),
        ("cell is text", half(length, "_cell_length_a   wide"), "CIF cannot be read", 1),
        ("no cell", half(length, "_cell_width_a   5.64"), "CIF cannot be read", 1),
        ("flat angle", half("_cell_angle_alpha   90.00000000", "_cell_angle_alpha   0.0"), "", 1),
        ("impossible angles", half("_cell_angle_alpha   90.00000000", "_cell_angle_alpha   179.0"), "", 1),
        ("partial occupancy", half("0.00000000  0.00000000  0.00000000  1", "0.0 0.0 0.0  0.5"), "disordered", 1),
        ("occupancy above one", half("0.00000000  0.00000000  0.00000000  1", "0.0 0.0 0.0  2.5"), "", 1),
        ("unknown element", half("Na  Na0", "Qq  Na0"), "", 1),
        ("dummy element", half("Na  Na0", "X0+  Na0"), "", 1),
        ("position is text", half("0.00000000  0.00000000  0.00000000", "left 0.0 0.0"), "", 1),
        ("position is NaN", half("0.00000000  0.00000000  0.00000000", "nan 0.0 0.0"), "", 1),
        ("no atoms", lambda text: "data_x\n_cell_length_a 5\n", "CIF cannot be read", 0),
        ("cut short", cut(0.5 * 0.4), "", 0),
    ) + _from(
        "POSCAR", _poscar,
        ("scale is text", ("1.0\n", "one\n"), "POSCAR cannot be read", 0),
        ("cell has two rows", lambda text: "\n".join(text.splitlines()[:4] + text.splitlines()[5:]), "", 0),
        ("cell is flat", ("0.0000000000000000    5.6399999999999997    0.0000000000000000", "5.64 0.0 0.0"), "", 0),
        ("cell is NaN", ("5.6399999999999997    0.0000000000000000    0.0000000000000000", "nan 0.0 0.0"), "", 0),
        ("counts are text", ("4 4", "four 4"), "", 0),
        ("counts too large", ("4 4", "4 9"), "POSCAR cannot be read", 0),
        ("unknown element", ("Na Cl", "Qq Cl"), "", 0),
        ("position is text", lambda text: text.replace("0.5000000000000000", "half", 1), "POSCAR cannot be read", 0),
        ("position is NaN", lambda text: text.replace("0.5000000000000000", "nan", 1), "", 0),
        ("cut short", cut(0.5), "", 0),
        ("on one site", lambda text: text.replace("4 4", "4 5") + "  0.0 0.0 0.001 Cl\n", "angstrom apart", 0),
    )  # fmt: skip


@cache
def _records() -> str:
    held = _salt().as_dict()
    return json.dumps([{"structure": held, "gap": 5.0}, {"structure": held, "gap": 6.0}])


def _jarvis() -> dict[str, Any]:
    atoms = {
        "lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
        "coords": [[0, 0, 0]],
        "elements": ["Cu"],
        "cartesian": False,
    }
    return {"atoms": atoms, "jid": "JVASP-1", "gap": 0.0}


def _changed(path: list[Any], value: Any) -> Change:
    """JSON with the entry at ``path`` replaced, or taken out where the value is ``...``."""

    def change(text: str) -> str:
        content = json.loads(text)
        place = content
        for key in path[:-1]:
            place = place[key]
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        return json.dumps(content)

    return change


def _zip(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def _matbench(*rows: list[Any]) -> bytes:
    table = {"index": [0, 1], "columns": ["structure", "y"], "data": list(rows)}
    return gzip.compress(json.dumps(table).encode())


def structure_json() -> list[Case]:
    gap = ReadOptions(targets=("gap",))
    good, site = [1, "structure"], [1, "structure", "sites", 0]
    jarvis = [_jarvis(), _jarvis()]
    nan = float("nan")
    return _from(
        "a.json", _records,
        ("cut short", cut(0.7), "is not JSON"),
        ("a number", lambda text: "7", "expected a list of objects"),
        ("empty list", lambda text: "[]", "the file holds no records"),
        ("a list of numbers", lambda text: "[1, 2]", "expected an object with a structure", 0),
        ("no structure", _changed([0, "structure"], ...), "no structure found", 0),
        ("structure is a number", _changed(good, 3), "is int, expected a structure", 1),
        ("sites are a number", _changed([*good, "sites"], 3), "the structure cannot be read", 1),
        ("no sites", _changed([*good, "sites"], []), "at least 1 site", 1),
        ("empty lattice", _changed([*good, "lattice"], {}), "the structure cannot be read", 1),
        ("lattice is flat", _changed([*good, "lattice", "matrix", 2], [0, 0, 0]), "", 1),
        ("lattice is NaN", _changed([*good, "lattice", "matrix", 2], [nan, 0, 0]), "", 1),
        ("lattice is ragged", _changed([*good, "lattice", "matrix", 2], [1, 0]), "the structure cannot be read", 1),
        ("dummy element", _changed([*site, "species", 0, "element"], "X0+"), "", 1),
        ("unknown element", _changed([*site, "species", 0, "element"], "Qq"), "", 1),
        ("partial occupancy", _changed([*site, "species", 0, "occu"], 0.5), "disordered", 1),
        ("position has two numbers", _changed([*site, "abc"], [0.0, 0.0]), "the structure cannot be read", 1),
        ("position is NaN", _changed([*site, "abc"], [nan, 0.0, 0.0]), "", 1),
        ("value is text", _changed([1, "gap"], "wide"), "expected a number", 1, gap),
        ("value is missing", _changed([1, "gap"], None), "has no value", 1, gap),
        ("value is a list", _changed([1, "gap"], [1.0, 2.0]), "has shape [2]", 1, gap),
    ) + _from(
        "j.json", lambda: json.dumps(jarvis),
        ("JARVIS: element", _changed([1, "atoms", "elements"], ["Qq"]), "expected an element", 1),
        ("JARVIS: counts differ", _changed([1, "atoms", "elements"], ["Cu", "Cu"]), "the structure cannot be read", 1),
        ("JARVIS: cell", _changed([1, "atoms", "lattice_mat"], [[0, 0, 0]] * 3), "", 1),
        ("JARVIS: no atoms", _changed([1, "atoms"], {}), "expected a structure", 1),
    ) + [
        Case("not gzip", "m.json.gz", _put(lambda: b"plain text"), "cannot be unpacked"),
        Case("gzip cut short", "m.json.gz", _put(lambda: gzip.compress(_records().encode())[:-200]), "cannot be unpacked"),
        Case("row too short", "m.json.gz", _put(lambda: _matbench([_salt().as_dict(), 1], [1])), "has not the 2 columns", 1),
        Case("rows too few", "m.json.gz", _put(lambda: _matbench([_salt().as_dict(), 1])), "index has 2 entries"),
        Case("two files", "z.json.zip", _put(lambda: _zip({"a.json": "[]", "b.json": "[]"})), "the archive holds 2 files"),
        Case("no files", "z.json.zip", _put(lambda: _zip({})), "the archive holds 0 files"),
        Case("zip cut short", "z.json.zip", _put(lambda: _zip({"a.json": _records()})[:-60]), "cannot be unpacked"),
        Case("POSCAR broken", "z.json.zip", _put(lambda: _zip({"a.json": json.dumps(
            {"train": {"1": _poscar(), "2": _poscar().replace("4 4", "4 9")}})})), "POSCAR cannot be read", 1),
    ]  # fmt: skip


def vasp() -> list[Case]:
    half = partial(after, 0.7, count=1)
    xml, out = vasp_files.vasprun, vasp_files.outcar
    return _from(
        "vasprun.xml", xml,
        ("cut before a step", cut(0.2), "is not whole XML"),
        ("other XML", lambda text: "<html><body/></html>", "has no <atominfo>"),
        ("no elements", ("<c>Si</c><c> 1</c>", ""), ""),
        ("unknown element", ("<c>Si</c>", "<c>Qq</c>"), "element of atom 0 is 'Qq'"),
        ("no step", lambda text: xml(steps=0), "the file has no ionic step"),
        ("an atom is missing", half("<v> 0.25000000 0.25000000 0.25000000 </v>\n", ""), "1 positions, expected 2", 2),
        ("a force is missing", half("<v> 2.10123400 1.80000000 2.30000000 </v>\n", ""), "'forces' has shape [1, 3]", 2),
        ("a force overflows", half("2.10123400", "**********"), "not finite", 2),
        ("cell is flat", half("3.10000000 0.00000000 0.00000000", "0.0 0.0 0.0"), "cell volume is 0", 2),
        ("cell is NaN", half("3.10000000 0.00000000 0.00000000", "NaN 0.0 0.0"), "", 2),
        ("no labels", lambda text: _without_labels(text), "has no free energy", 0),
        ("not converged", lambda text: xml(nelm=2), "NELM=2", 0),
        ("entities", ("<modeling>", "<!DOCTYPE a [<!ENTITY b 'c'>]><modeling>"), "document type or entities"),
        ("target", lambda text: text, "target 'dipole'", 0, ReadOptions(targets=("dipole",))),
    ) + _from(
        "OUTCAR", out,
        ("cut before a step", cut(0.15), "no block of positions and forces"),
        ("no elements", ("VRHFIN", "VRHFOUT"), "has 0 elements"),
        ("counts differ", ("=               1   1\n", "=               2\n"), "has 2 elements (VRHFIN) and 1 counts"),
        ("too many ions", ("=               1   1\n", "=               1   2\n"), "2 positions, expected 3", 0),
        ("unknown element", ("VRHFIN =Si", "VRHFIN =Qq"), "element of atom 0 is 'Qq'"),
        ("a force overflows", half("2.101234", "********"), "not finite", 2),
        ("a position overflows", half("0.00000      0.00000      0.00000", "******** 0.0 0.0"), "", 2),
        ("cell is flat", half("3.100000000  0.000000000  0.000000000", "0.0 0.0 0.0"), "cell volume is 0", 2),
        ("energy overflows", half("free  energy   TOTEN  =       -13.25", "free  energy   TOTEN  =       ****** "), "", 2),
        ("stress overflows", half("in kB     30.00000", "in kB     ********"), "not finite", 2),
        ("not converged", lambda text: out(nelm=2), "NELM=2", 0),
    )  # fmt: skip


def _without_labels(text: str) -> str:
    start = text.index('<varray name="forces"')
    stop = text.index("</calculation>")
    return text[:start].replace("<scstep>", "<x>").replace("</scstep>", "</x>") + text[stop:]


# ---------------------------------------------------------------- containers
def _made(
    label: str, name: str, make: Callable[[Path], None], says: str, record: int | None = None, **more: Any
) -> Case:
    return Case(label, name, make, says, record, **more)


def _ase_frames() -> list[Any]:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    frames = []
    for i in range(2):
        atoms = Atoms("OH2", WATER, cell=[9, 9, 9], pbc=True)
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0 - i, forces=WATER * 0)
        frames.append(atoms)
    return frames


def ase_databases() -> list[Case]:
    def row(column: str, value: Any) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import ase.db

            with ase.db.connect(path) as database:
                for atoms in _ase_frames():
                    database.write(atoms)
            connection = sqlite3.connect(path)
            connection.execute(f"UPDATE systems SET {column} = ? WHERE id = 2", (value,))
            connection.commit()
            connection.close()

        return make

    def cut_short(path: Path) -> None:
        row("energy", 1.0)(path)
        path.write_bytes(path.read_bytes()[:9000])

    def other_tables(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE people (name TEXT)")
        connection.commit()
        connection.close()

    def no_rows(path: Path) -> None:
        row("energy", 1.0)(path)
        connection = sqlite3.connect(path)
        connection.execute("DELETE FROM systems")
        connection.commit()
        connection.close()

    wrong = (
        ("positions are cut", "positions", b"\0" * 30, "no array of float64"),
        ("positions are too few", "positions", b"\0" * 48, "positions have 6 numbers"),
        ("positions are NaN", "positions", np.full(9, np.nan).tobytes(), "not finite"),
        ("no positions", "positions", None, "has no positions"),
        ("no numbers", "numbers", None, "expected 3 for each of 0 atoms"),
        ("number 0", "numbers", np.array([8, 0, 1], dtype="<i4").tobytes(), "atomic number of atom 1 is 0"),
        ("number 200", "numbers", np.array([8, 200, 1], dtype="<i4").tobytes(), "is 200"),
        ("cell is zero", "cell", np.zeros(9).tobytes(), "cell volume is 0"),
        ("cell is cut", "cell", np.zeros(4).tobytes(), "the cell has shape [4]"),
        ("forces are too few", "forces", np.zeros(3).tobytes(), "forces have 3 numbers"),
        ("stress is cut", "stress", np.zeros(5).tobytes(), "'stress' has shape [5]"),
        ("energy is text", "energy", "low", "expected a number"),
        ("keys are broken", "key_value_pairs", "{x", "is not ASE's JSON"),
        ("keys are a list", "key_value_pairs", "[1]", "expected keys and values"),
        ("data are broken", "data", b"abc", ""),
    )
    cases = [_made(label, "a.db", row(column, value), says, 1) for label, column, value, says in wrong]
    cases += [
        _made("cut short", "a.db", cut_short, ""),
        _made("other tables", "a.db", other_tables, "has no column 'id'"),
        _made("no rows", "a.db", no_rows, "no records found"),
    ]

    def json_rows(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import ase.db

            with ase.db.connect(path) as database:
                for atoms in _ase_frames():
                    database.write(atoms)
            content = json.loads(path.read_text())
            change(content)
            path.write_text(json.dumps(content))

        return make

    def put(key: str, value: Any) -> Callable[[Path], None]:
        return json_rows(lambda content: content["2"].update({key: value}))

    shaped = lambda shape, kind, values: {"__ndarray__": [shape, kind, values]}  # noqa: E731
    return [
        *cases,
        _made("row is a number", "b.json", json_rows(lambda c: c.update({"2": 7})), "is int, expected a row", 1),
        _made("no positions", "b.json", json_rows(lambda c: c["2"].pop("positions")), "has no positions", 1),
        _made("ragged positions", "b.json", put("positions", [[0, 0, 0], [1]]), "expected numbers", 1),
        _made("array lies about its shape", "b.json", put("positions", shaped([3, 3], "float64", [1.0])), "is not ASE's JSON"),
        _made("array is too large", "b.json", put("positions", shaped([10**6, 10**6], "float64", [])), "is not ASE's JSON"),
        _made("array of objects", "b.json", put("forces", shaped([1], "void", [0])), "is not ASE's JSON"),
        _made("pbc is text", "b.json", put("pbc", "yes"), "pbc is 'yes'", 1),
        _made("energy is NaN", "b.json", put("energy", "nan"), "", 1, options=ReadOptions(targets=("energy",))),
    ]  # fmt: skip


def trajectories() -> list[Case]:
    def frames(change: Callable[[list[Any]], None]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import ase.io

            made = _ase_frames()
            change(made)
            ase.io.write(path, made)

        return make

    def cut_to(part: float) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            frames(lambda made: None)(path)
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])

        return make

    def move(made: list[Any], value: float) -> None:
        made[1].positions[1, 0] = value

    return [
        _made("cut in the middle", "a.traj", cut_to(0.5), ""),
        _made("cut in the second frame", "a.traj", cut_to(0.7), "is not a whole"),
        _made("head only", "a.traj", cut_to(0.03), ""),
        _made("position is NaN", "a.traj", frames(lambda m: move(m, float("nan"))), "not finite", 1),
        _made("on one site", "a.traj", frames(lambda m: move(m, 0.01)), "angstrom apart", 1),
        _made("dummy element", "a.traj", frames(lambda m: m[1].set_atomic_numbers([8, 0, 1])), "is 0", 1),
        _made("flat cell", "a.traj", frames(lambda m: m[1].set_cell([9, 0, 9])), "cell volume is 0", 1),
        _made("forces are NaN", "a.traj", frames(lambda m: m[1].calc.results.update(forces=WATER * np.nan)), "not finite", 1),
        _made("pickle", "a.traj", _put(lambda: b"PickleTrajectory" + b"\x80\x04N."), "is a pickle"),
        _made("target", "a.traj", frames(lambda m: None), "target 'stress'", 0, options=ReadOptions(targets=("stress",))),
    ]  # fmt: skip


def lmdbs() -> list[Case]:
    def rows(*values: bytes) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import lmdb

            environment = lmdb.open(str(path), subdir=False, map_size=2**20, lock=False)
            with environment.begin(write=True) as transaction:
                for i, value in enumerate(values, start=1):
                    transaction.put(str(i).encode(), value)
            environment.close()

        return make

    def packed(**change: Any) -> bytes:
        row = {
            "numbers": [8, 1, 1],
            "positions": WATER.tolist(),
            "cell": (np.eye(3) * 9).tolist(),
            "pbc": [True] * 3,
            "energy": 1.0,
        }
        return zlib.compress(json.dumps({**row, **change}).encode())

    good = packed()
    return [
        _made("pickle", "a.aselmdb", rows(good, b"\x80\x04N."), "is a pickle", 1),
        _made("not compressed", "a.aselmdb", rows(good, b"{}"), "is not compressed JSON", 1),
        _made("not JSON", "a.aselmdb", rows(good, zlib.compress(b"{")), "is not ASE's JSON", 1),
        _made("a list", "a.aselmdb", rows(good, zlib.compress(b"[]")), "expected a row", 1),
        _made("no numbers", "a.aselmdb", rows(good, packed(numbers=None)), "has no numbers", 1),
        _made("no positions left", "a.aselmdb", rows(good, packed(positions=[])), "positions have shape", 1),
        _made("element 0", "a.aselmdb", rows(good, packed(numbers=[0, 1, 1])), "is 0, expected 1 to 118", 1),
        _made("energy is a list", "a.aselmdb", rows(good, packed(energy=[1, 2])), "'energy' has shape [2]", 1),
        _made("forces are too few", "a.aselmdb", rows(good, packed(forces=[[0, 0, 0]])), "'forces' has shape [1, 3]", 1),
        _made("no rows", "a.aselmdb", rows(), "no records found"),
    ]  # fmt: skip


def _frames() -> dict[str, Any]:
    return {
        "R": np.stack([WATER, WATER]),
        "z": np.array([8, 1, 1]),
        "E": np.zeros((2, 1)),
        "F": np.zeros((2, 3, 3)),
    }


def arrays() -> list[Case]:
    def npz(take: str = "", /, **change: Any) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            held = {k: v for k, v in {**_frames(), **change}.items() if k != take}
            np.savez(path, **held)

        return make

    def second(key: str, value: float) -> Callable[[Path], None]:
        array = _frames()[key].astype(float)
        array[1].reshape(-1)[0] = value
        return npz(**{key: array})

    def cut_short(path: Path) -> None:
        npz()(path)
        path.write_bytes(path.read_bytes()[:-300])

    flat = {"pos": np.concatenate([WATER, WATER + 3]), "z": np.array([8, 1, 1] * 2)}

    def ends(ptr: list[int]) -> Callable[[Path], None]:
        return npz("R", pos=flat["pos"], z=flat["z"], ptr=np.array(ptr), E=np.zeros(2), F=np.zeros((6, 3)))

    energy = ReadOptions(targets=("energy",))
    cases = [
        ("cut short", cut_short, "is not an npz file, or not a whole one", None),
        ("objects", npz(z=np.array([8, None, 1], dtype=object)), "holds Python objects", None),
        ("positions have two axes of space", npz(R=np.zeros((2, 3, 2))), "", None),
        ("no frames", npz(R=np.zeros((0, 3, 3))), "expected at least one structure", None),
        ("elements too few", npz(z=np.array([8, 1])), "'z' has shape [2], expected [3]", None),
        ("element 0", npz(z=np.array([8, 0, 1])), "atomic number of atom 1 is 0", None),
        ("element 120", npz(z=np.array([8, 120, 1])), "is 120, expected 1 to 118", None),
        ("elements are fractions", npz(z=np.array([8, 1.5, 1])), "not whole numbers", None),
        ("elements are text", npz(z=np.array(["O", "Qq", "H"])), "element of atom 1 is 'Qq'", None),
        ("energies too few", npz(E=np.zeros((1, 1, 1, 2))), "", None),
        ("forces too few", npz(F=np.zeros((1, 3, 3))), "'F' has shape [1, 3, 3], expected 2 rows", None),
        ("forces of two atoms", npz(F=np.zeros((2, 2, 3))), "'F' has shape [2, 3], expected [3, 3]", 0),
        ("position is NaN", second("R", np.nan), "expected finite numbers", 1),
        ("position is infinite", second("R", np.inf), "expected finite numbers", 1),
        ("force is NaN", second("F", np.nan), "not finite", 1),
        ("energy is infinite", second("E", np.inf), "not finite", 1),
        ("on one site", second("R", 0.95), "angstrom apart", 1),
        ("cell is zero", npz(cell=np.zeros((2, 3, 3))), "cell volume is 0", 0),
        ("cell of four numbers", npz(cell=np.zeros((2, 2, 2))), "'cell' has shape [2, 2]", 0),
        ("unknown unit", npz(e_unit=np.str_("furlong")), "a unit that is not known", None),
        ("ends too early", ends([0, 3, 5]), "expected to rise from 0 to 6", None),
        ("goes back", ends([0, 7, 6]), "expected to rise", None),
        ("empty structure", ends([0, 0, 6]), "no atoms", 0),
    ]  # fmt: skip
    made = [_made(label, "a.npz", make, says, record) for label, make, says, record in cases]
    made.append(
        _made(
            "energy is missing", "a.npz", npz("E"), "target 'energy' is not in the file", None, options=energy
        )
    )
    made.append(_made("energy is NaN", "a.npz", second("E", np.nan), "has no value", 1, options=energy))
    return made


def hdf5() -> list[Case]:
    def h5(change: Callable[[Any], None]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import h5py

            with h5py.File(path, "w") as file:
                for name in ("one", "two"):
                    group = file.create_group(name)
                    group["coordinates"], group["species"] = (
                        np.stack([WATER, WATER]),
                        np.array([b"O", b"H", b"H"]),
                    )
                    group["energies"] = np.array([-76.0, -76.1])
                change(file)

        return make

    def replace(key: str, value: Any) -> Callable[[Path], None]:
        def change(file: Any) -> None:
            del file["two"][key]
            if value is not None:
                file["two"][key] = value

        return h5(change)

    def unit(file: Any) -> None:
        file["one"]["energies"].attrs["units"] = "furlong"

    def levels(file: Any) -> None:
        for name in ("one", "two"):
            file[name]["a.energy"], file[name]["b.energy"] = [1.0, 2.0], [1.0, 2.0]

    def cut_short(path: Path) -> None:
        h5(lambda file: None)(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    bad_position = np.stack([WATER, WATER * np.nan])
    return [
        _made("cut short", "a.h5", cut_short, ""),
        _made("unknown element", "a.h5", replace("species", np.array([b"O", b"Qq", b"H"])), "element of atom 1 is 'Qq'"),
        _made("elements too few", "a.h5", replace("species", np.array([b"O", b"H"])), "'species' has shape [2]"),
        _made("energies too few", "a.h5", replace("energies", [1.0]), "'energies' has shape [1], expected 2 rows"),
        _made("energies of text", "a.h5", replace("energies", [b"low", b"high"]), "expected a number", 2),
        _made("position is NaN", "a.h5", replace("coordinates", bad_position), "[two, frame 1]", 3),
        _made("no frames", "a.h5", replace("coordinates", np.zeros((0, 3, 3))), "expected at least one structure"),
        _made("unknown unit", "a.h5", h5(unit), "declared in 'furlong'"),
        _made("two levels", "a.h5", h5(levels), "choose one, e.g. --map energy=a.energy"),
        _made("target", "a.h5", h5(lambda f: None), "target 'gap'", None, options=ReadOptions(targets=("gap",))),
    ]  # fmt: skip


def matlab() -> list[Case]:
    def mat(**change: Any) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            from scipy.io import savemat

            savemat(
                path,
                {
                    "R": np.stack([WATER, WATER]) * 2,
                    "Z": np.array([[8.0, 1, 1]] * 2),
                    "T": [[1.0, 2.0]],
                    **change,
                },
            )

        return make

    def cut_short(path: Path) -> None:
        mat()(path)
        path.write_bytes(path.read_bytes()[:-100])

    nan = np.stack([WATER, WATER * np.nan]) * 2
    return [
        _made("cut short", "a.mat", cut_short, "is not a MATLAB file"),
        _made("element 130", "a.mat", mat(Z=np.array([[8.0, 1, 1], [130, 1, 1]])), "is 130, expected 1 to 118", 1),
        _made("no atoms", "a.mat", mat(Z=np.array([[8.0, 1, 1], [0, 0, 0]])), "no atoms", 1),
        _made("position is NaN", "a.mat", mat(R=nan), "expected finite numbers", 1),
        _made("shapes differ", "a.mat", mat(Z=np.array([[8.0, 1]] * 2)), "'Z' has shape [2, 2]"),
    ]  # fmt: skip


def deepmd() -> list[Case]:
    def system(
        *, files: dict[str, str] | None = None, take: str = "", **change: Any
    ) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            held = {"coord": np.stack([WATER, WATER]).reshape(2, 9), "box": np.tile(np.eye(3).reshape(9) * 9, (2, 1)),
                    "energy": np.zeros(2), "force": np.zeros((2, 9)), **change}  # fmt: skip
            (path / "set.000").mkdir(parents=True)
            for name, text in {"type.raw": "0 1 1\n", "type_map.raw": "O\nH\n", **(files or {})}.items():
                if name != take:
                    (path / name).write_text(text)
            for name, array in held.items():
                if isinstance(array, bytes):
                    (path / "set.000" / f"{name}.npy").write_bytes(array)
                elif name != take:
                    np.save(path / "set.000" / f"{name}.npy", array)

        return make

    def no_set(path: Path) -> None:
        path.mkdir()
        (path / "type.raw").write_text("0 1 1\n")
        (path / "type_map.raw").write_text("O H\n")

    wrong = np.stack([WATER, WATER * np.nan]).reshape(2, 9)
    cases = (
        ("no map", system(take="type_map.raw"), "has no type_map.raw", None),
        ("no set", no_set, "has type.raw but no set.000", None),
        ("no coord", system(take="coord"), "has no coord.npy", None),
        ("types are text", system(files={"type.raw": "O H H"}), "expected whole numbers", None),
        ("types are negative", system(files={"type.raw": "-1 0 0"}), "negative", None),
        ("no types", system(files={"type.raw": " \n"}), "has no types", None),
        ("map too short", system(files={"type_map.raw": "O\n"}), "names 1 elements, expected 2", None),
        ("unknown element", system(files={"type_map.raw": "O\nQq\n"}), "element of atom 1 is 'Qq'", None),
        ("coord of two atoms", system(coord=np.zeros((2, 6))), "expected [frames, 9]", None),
        ("coord cut short", system(coord=b"\x93NUMPY"), "is not a npy file", None),
        ("force of two atoms", system(force=np.zeros((2, 6))), "expected [2, 9]", None),
        ("energy of one frame", system(energy=np.zeros(1)), "expected 2 rows", None),
        ("box of three numbers", system(box=np.ones((2, 3))), "expected [2, 9]", None),
        ("box is zero", system(box=np.zeros((2, 9))), "cell volume is 0", 0),
        ("coord is NaN", system(coord=wrong), "expected finite numbers", 1),
        ("virial is skew", system(virial=np.arange(18.0).reshape(2, 9)), "is not symmetric", 0),
        ("objects", system(energy=b"\x80\x04N."), "is not a npy file", None),
    )  # fmt: skip
    return [_made(label, "system", make, says, record) for label, make, says, record in cases]


def columns() -> list[Case]:
    def parquet(**change: Any) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            import pyarrow as pa
            import pyarrow.parquet as pq

            held = {
                "positions": [WATER.tolist(), WATER[:2].tolist()],
                "numbers": [[8, 1, 1], [8, 1]],
                "energy": [1.0, 2.0],
            }
            pq.write_table(pa.table({**held, **change}), path)

        return make

    def cut_to(part: float, name: str = "a.parquet") -> Callable[[Path], None]:
        def make(path: Path) -> None:
            if name.endswith("arrow"):
                import pyarrow as pa

                table = pa.table({"positions": [WATER.tolist()] * 2, "numbers": [[8, 1, 1]] * 2})
                with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
                    writer.write_table(table)
            else:
                parquet()(path)
            path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])

        return make

    def saved(change: Callable[[Path], None]) -> Callable[[Path], None]:
        def make(path: Path) -> None:
            path.mkdir()
            parquet()(path / "data-00000-of-00001.arrow")
            (path / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
            (path / "dataset_info.json").write_text("{}")
            change(path)

        return make

    energy = ReadOptions(targets=("energy",))
    ragged = [WATER.tolist(), [[0.0, 0.0], [1.0]]]
    nan = [WATER.tolist(), [[0.0, 0.0, float("nan")], [1.0, 0, 0]]]
    return [
        _made("cut short", "a.parquet", cut_to(0.6), "is not a whole Parquet file"),
        _made("cut short", "a.arrow", cut_to(0.5, "a.arrow"), ""),
        _made("elements too few", "a.parquet", parquet(numbers=[[8, 1, 1], [8]]), "expected [1, 3]", 1),
        _made("element 0", "a.parquet", parquet(numbers=[[8, 1, 1], [8, 0]]), "atomic number of atom 1 is 0", 1),
        _made("unknown symbol", "a.parquet", parquet(numbers=[["O", "H", "H"], ["O", "Qq"]]), "is 'Qq'", 1),
        _made("no elements", "a.parquet", parquet(numbers=[[8, 1, 1], None]), "'numbers' is empty", 1),
        _made("no positions", "a.parquet", parquet(positions=[WATER.tolist(), None]), "'positions' is empty", 1),
        _made("ragged positions", "a.parquet", parquet(positions=ragged), "ragged", 1),
        _made("position is NaN", "a.parquet", parquet(positions=nan), "expected finite numbers", 1),
        _made("energy is missing", "a.parquet", parquet(energy=[1.0, None]), "has no value", 1, options=energy),
        _made("energy is text", "a.parquet", parquet(energy=["1.0", "low"]), "expected a number", 1),
        _made("energy is a list", "a.parquet", parquet(energy=[[1.0], [1.0, 2.0]]), "'energy' has shape [2]", 1),
        _made("forces too few", "a.parquet", parquet(forces=[WATER.tolist(), [[0.0, 0, 0]]]), "'forces' has shape [1, 3]", 1),
        _made("no rows", "a.parquet", parquet(positions=[], numbers=[], energy=[]), ""),
        _made("no structures", "a.parquet", parquet(positions=[1.0, 2.0]), "no column is called smiles"),
        _made("no such target", "a.parquet", parquet(), "target 'gap' is not in the file", None,
              options=ReadOptions(targets=("gap",))),
        _made("file is gone", "saved", saved(lambda p: (p / "data-00000-of-00001.arrow").unlink()), "has no data-00000"),
        _made("state is no JSON", "saved", saved(lambda p: (p / "state.json").write_text("{") and None), "is not JSON"),
        _made("state is a list", "saved", saved(lambda p: (p / "state.json").write_text("[]") and None), "expected an object"),
        _made("no splits", "saved", saved(lambda p: (p / "dataset_dict.json").write_text("{}") and None), "names no splits"),
        _made("split is gone", "saved", saved(lambda p: (p / "dataset_dict.json").write_text('{"splits": ["train"]}') and None),
              "has no split 'train'"),
    ]  # fmt: skip


def good_files() -> list[Case]:
    """What the cases are made from: these are read."""
    texts = {"a.xyz": XYZ, "a.csv": CSV, "a.sdf": _sdf(), "b.sdf": _sdf("V3000"), "a.mol2": MOL2, "a.pdb": _pdb(),
             "a.mmcif": _mmcif(), "a.cif": _cif(), "POSCAR": _poscar(), "a.json": _records(),
             "j.json": json.dumps([_jarvis(), _jarvis()]), "vasprun.xml": vasp_files.vasprun(),
             "OUTCAR": vasp_files.outcar()}  # fmt: skip
    return [Case("good", name, _put(lambda text=text: text)) for name, text in texts.items()]


def cases() -> list[Case]:
    """All of them, without two that are the same."""
    made = [
        *everywhere(), *extxyz(), *tables(), *sdf(), *mol2(), *macromolecules(), *crystals(), *structure_json(), *vasp(),
        *ase_databases(), *trajectories(), *lmdbs(), *arrays(), *hdf5(), *matlab(), *deepmd(), *columns(),
    ]  # fmt: skip
    names = [str(case) for case in made]
    assert len(set(names)) == len(names), "two cases have one name"
    return made
