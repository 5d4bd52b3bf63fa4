"""MOL2, PDB and mmCIF, against what was written into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read

Write = Callable[[str, str], Path]

ETHANOL = """@<TRIPOS>MOLECULE
{name}
 9 8 1 0 0
SMALL
GASTEIGER

@<TRIPOS>ATOM
  1 C1  -0.8883  0.1670 -0.0273 C.3 1 LIG -0.0410
  2 C2   0.4658 -0.5116 -0.0368 C.3 1 LIG  0.0394
  3 O1   1.4311  0.3229  0.5867 O.3 1 LIG -0.3963
  4 H1  -0.8487  1.1175 -0.5695 H   1 LIG  0.0250
  5 H2  -1.6471 -0.4704 -0.4896 H   1 LIG  0.0250
  6 H3  -1.1964  0.3978  0.9977 H   1 LIG  0.0250
  7 H4   0.7920 -0.7224 -1.0597 H   1 LIG  0.0561
  8 H5   0.4246 -1.4559  0.5138 H   1 LIG  0.0561
  9 H6   1.4671  1.1550  0.0848 H   1 LIG  0.2107
@<TRIPOS>BOND
 1 1 2 1
 2 2 3 1
 3 1 4 1
 4 1 5 1
 5 1 6 1
 6 2 7 1
 7 2 8 1
 8 3 9 1
"""


def test_mol2(write: Write) -> None:
    path = write("a.mol2", "# a comment\n" + ETHANOL.format(name="one") + "\n" + ETHANOL.format(name="two"))
    one, two = read(path, ReadOptions(map={"charges": "partial_charges"}))
    assert one.group == "CCO"
    assert one.conditions == {"charge": 0.0, "spin": 0.0}
    assert one.quantities["charges"][2].item() == -0.3963
    assert two.provenance.record == 1
    assert two.provenance.line == 28
    np.testing.assert_allclose(one.positions[0], [-0.8883, 0.1670, -0.0273])
    assert one.species.tolist() == [6, 6, 8, 1, 1, 1, 1, 1, 1]


def test_groups_are_those_that_are_asked_for(write: Write) -> None:
    """A mol2 and a PDB file have one name each; another key is an error, not another way of grouping."""
    mol2 = write("a.mol2", ETHANOL.format(name="one") + ETHANOL.format(name="two"))
    assert [g.group for g in read(mol2, ReadOptions(map={"group": "id"}))] == ["one", "two"]
    pdb = write(
        "b.pdb", "HETATM    1  O   HOH A   1       0.000   0.000   0.000  1.00  0.00           O  \nEND\n"
    )
    for path in (mol2, pdb):
        with pytest.raises(
            InputError, match=r"key 'family' \(for group\) is not in the record; keys found: id"
        ):
            list(read(path, ReadOptions(map={"group": "family"})))


def test_mol2_without_hydrogens_or_bonds(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    lines = ETHANOL.format(name="x").splitlines()
    heavy = "\n".join([*lines[:2], " 3 2 1 0 0", *lines[3:10], lines[16], *lines[17:19]]) + "\n"
    (graph,) = read(write("a.mol2", heavy))
    assert graph.num_nodes == 3
    assert not graph.conditions
    assert "molecules without hydrogens" in caplog.text
    five = ETHANOL.format(name="x").replace(" 9 8 1", " 9 9 1") + " 9 1 9 1\n"  # a carbon with five bonds
    (graph,) = read(write("b.mol2", five))
    assert graph.num_nodes == 9
    assert "charge" not in graph.conditions
    assert "whose bonds RDKit does not understand" in caplog.text


def test_bad_mol2(write: Write) -> None:
    good = ETHANOL.format(name="x")
    cases = {
        good.replace(" 9 8 1", " 8 8 1"): "has 9 atoms, expected 8",
        good.replace("0.4658", "0.46x8"): "has '0.46x8', expected a number",
        good.replace("O.3", "Du"): "element of atom 2 is 'Du'",
        good.replace("@<TRIPOS>ATOM", "@<TRIPOS>ATOMS").replace("ATOMS", "OTHER"): "has no @<TRIPOS>ATOM",
        "text": "the file has no @<TRIPOS>MOLECULE",
    }
    for text, expected in cases.items():
        with pytest.raises(InputError) as caught:
            list(read(write("a.mol2", text)))
        assert expected in str(caught.value)
    bad: list[BadRecord] = []
    both = good + good.replace("0.4658", "nan")
    assert len(list(read(write("a.mol2", both), ReadOptions(on_bad="skip"), bad))) == 1
    assert (bad[0].where.record, bad[0].where.line) == (1, 34)


def _atom(
    serial: int, name: str, alt: str, residue: str, seq: int, xyz: tuple[float, ...], occ: float, kind: str
) -> str:
    place = "".join(f"{x:8.3f}" for x in xyz)
    return f"ATOM  {serial:5d} {name:^4s}{alt}{residue:>3s} A{seq:4d}    {place}{occ:6.2f}  0.00          {kind:>2s}\n"


CRYST = "CRYST1   10.000   11.000   12.000  90.00  90.00  90.00 {group:<11s}   1\n"
RESIDUES = (
    _atom(1, "N", " ", "ALA", 1, (0, 0, 0), 1, "N")
    + _atom(2, "CA", "A", "ALA", 1, (1.5, 0, 0), 0.4, "C")
    + _atom(3, "CA", "B", "ALA", 1, (1.5, 0.2, 0), 0.6, "C")
    + _atom(4, "CB", "A", "ALA", 1, (1.5, 1.5, 0), 0.4, "C")
    + _atom(5, "P", " ", "DA", 2, (5, 5, 5), 1, "P")
)


def test_pdb_alternatives(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """Location B has more occupancy; CB is there in A only and stays. The cell is not read unless asked for."""
    path = write("1abc.pdb", CRYST.format(group="P 1") + RESIDUES + "END\n")
    (graph,) = read(path)
    assert graph.species.tolist() == [7, 6, 6, 15]
    np.testing.assert_allclose(graph.positions[1], [1.5, 0.2, 0])
    assert graph.world == "molecule"
    assert "1 atoms in alternative locations" in caplog.text
    assert "has no hydrogens; none were added" in caplog.text
    (graph,) = read(path, ReadOptions(map={"periodic": "cell"}))
    assert graph.world == "crystal"
    np.testing.assert_allclose(graph.cell, np.diag([10.0, 11, 12]), atol=1e-12)
    with pytest.raises(InputError, match="the space group is P 21 21 21, expected P 1"):
        list(
            read(
                write("b.pdb", CRYST.format(group="P 21 21 21") + RESIDUES),
                ReadOptions(map={"periodic": "cell"}),
            )
        )
    nmr = CRYST.format(group="P 1").replace("10.000   11.000   12.000", " 1.000    1.000    1.000")
    assert next(iter(read(write("c.pdb", nmr + RESIDUES)))).world == "molecule"
    with pytest.raises(InputError, match="expected that of a crystal"):
        list(read(write("c.pdb", nmr + RESIDUES), ReadOptions(map={"periodic": "cell"})))


def test_models_and_mmcif(write: Write) -> None:
    import gemmi

    text = "HEADER    DNA                                     01-JAN-00   1ABC\n" + "".join(
        f"MODEL     {i:4d}\n{RESIDUES}ENDMDL\n" for i in (1, 2)
    )
    graphs = list(read(write("1abc.ent", text)))
    assert [g.provenance.record for g in graphs] == [0, 1]
    assert {g.group for g in graphs} == {"1ABC"}
    document = gemmi.read_pdb_string(text).make_mmcif_document()
    for name in ("1abc.cif", "1abc.mmcif"):
        others = list(read(write(name, document.as_string())))
        assert len(others) == 2
        np.testing.assert_allclose(others[1].positions, graphs[1].positions)


def test_bad_pdb(write: Write) -> None:
    cases = {
        "HEADER    x\n": "has no atoms",
        RESIDUES.replace(
            "   5.000   5.000   5.000", "   5.0x0   5.000   5.000"
        ): r"x of the atom is '5.0x0' (columns 31-38)",
        RESIDUES[:-60]: "expected a number",
        RESIDUES.replace("           P\n", "           X\n").replace(" P   ", " X   "): "of no known element",
        RESIDUES.replace("   5.000   5.000   5.000", "   0.000   0.000   0.010"): "angstrom apart",
        "lorem ipsum": "has no atoms",
    }
    for text, expected in cases.items():
        with pytest.raises(InputError) as caught:
            list(read(write("a.pdb", text)))
        assert expected in str(caught.value)
    for old, new, expected in (
        ("C . 1 2", "C . ? 2", r"Cartn_y of atom 0 is '\?', expected a number"),
        (
            "_atom_site.occupancy",
            "_atom_site.other",
            "has no _atom_site.occupancy, which the atoms of a structure need",
        ),
    ):
        names = ("id", "type_symbol", "label_alt_id", "Cartn_y", "Cartn_x", "Cartn_z", "label_asym_id", "occupancy",
                 "B_iso_or_equiv", "auth_seq_id", "label_comp_id", "label_atom_id")  # fmt: skip
        text = (
            "data_a\nloop_\n"
            + "".join(f"_atom_site.{n}\n" for n in names)
            + "1 C . 1 2 3 A 1.0 0.0 1 CH4 C\n"
        )
        assert len(list(read(write("a.cif", text)))) == 1
        path = write("a.cif", text.replace(old, new))
        with pytest.raises(InputError, match=expected):
            list(read(path))


HYDROGEN = """h2
     RDKit          3D

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 H   0  0
    0.0000    0.0000    0.7400 H   0  0
  1  2  1  0
M  END
"""


@pytest.mark.parametrize("empty", [">  <pKa>\n\n", ">  <pKa>\n\n\n"])
def test_an_empty_item_of_an_sdf_is_a_label_that_is_not_known(write: Write, empty: str) -> None:
    """Writers leave out the line of the value, or leave it empty."""
    known = ">  <pKa>\n4.5\n\n"
    path = write("a.sdf", "".join(f"{HYDROGEN}{item}>  <logS>\n-1.5\n\n$$$$\n" for item in (known, empty)))
    first, second = read(path, ReadOptions(targets=("pKa", "logS")))
    assert first.quantities.keys() == {"pKa", "logS"}
    assert second.quantities.keys() == {"logS"}
