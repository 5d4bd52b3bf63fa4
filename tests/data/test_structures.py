"""Crystals from CIF, POSCAR, JSON and folders; molecules from SDF."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Molecule, Structure
from rdkit import Chem
from rdkit.Chem import AllChem

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read

Write = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def salt() -> Structure:
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def test_cif_and_poscar(salt: Structure, tmp_path: Path) -> None:
    salt.to(filename=str(tmp_path / "salt.cif"))
    salt.to(filename=str(tmp_path / "POSCAR"))
    for name in ("salt.cif", "POSCAR"):
        (graph,) = read(tmp_path / name)
        assert graph.world == "crystal"
        assert graph.num_nodes == 8
        assert graph.group == "ClNa"
        assert float(graph.cell.det()) == pytest.approx(5.64**3)


def test_cif_with_two_blocks(salt: Structure, tmp_path: Path) -> None:
    text = salt.to(fmt="cif")
    (tmp_path / "two.cif").write_text(text + "\n" + text.replace("data_NaCl", "data_other"))
    graphs = list(read(tmp_path / "two.cif"))
    assert [g.provenance.record for g in graphs] == [0, 1]
    assert graphs[1].provenance.line is not None
    assert graphs[1].provenance.line > 10


def test_cif_that_is_no_plain_crystal(salt: Structure, tmp_path: Path) -> None:
    text = salt.to(fmt="cif")
    disordered = Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    cases = {
        "disordered": (disordered.to(fmt="cif"), "site 0 is disordered"),
        "doubled": (
            Structure(Lattice.cubic(4), ["Na", "K"], [[0, 0, 0], [0, 0, 0.001]]).to(fmt="cif"),
            "angstrom apart",
        ),
        "NaN cell": (text.replace("_cell_length_a   5.64000000", "_cell_length_a   nan"), "bad.cif"),
        "flat": (text.replace("_cell_angle_alpha   90.00000000", "_cell_angle_alpha   0.0"), "bad.cif"),
        "dummy": (text.replace("Na  Na0", "Xx  Xx0"), "bad.cif"),
        "nothing": ("data_x\n", "CIF cannot be read"),
        "garbage": ("this is no structure", "cannot be read"),
        "empty": ("", "the file is empty"),
    }
    for name, (content, expected) in cases.items():
        (tmp_path / "bad.cif").write_text(content)
        with pytest.raises(InputError) as caught:
            list(read(tmp_path / "bad.cif"))
        assert expected in str(caught.value), name
        assert "\n" not in str(caught.value)


def test_matbench_layout(salt: Structure, tmp_path: Path) -> None:
    data = {
        "index": [0, 1],
        "columns": ["structure", "last phdos peak"],
        "data": [[salt.as_dict(), 98.5], [salt.as_dict(), None]],
    }
    with gzip.open(tmp_path / "m.json.gz", "wt") as file:
        json.dump(data, file)
    bad: list[BadRecord] = []
    (graph,) = read(tmp_path / "m.json.gz", ReadOptions(targets=("last phdos peak",), on_bad="skip"), bad)
    assert float(graph.quantities["last phdos peak"]) == 98.5
    assert str(bad[0].where).endswith("m.json.gz (record 1)")
    with pytest.raises(InputError, match=r"target 'peak' is not in the file; keys found: last phdos peak"):
        list(read(tmp_path / "m.json.gz", ReadOptions(targets=("peak",))))


def test_other_json_layouts(salt: Structure, write: Write) -> None:
    entry = {"structure": salt.as_dict(), "energy": -27.0, "gap": 5.0}
    jarvis = {"atoms": {"lattice_mat": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "coords": [[0, 0, 0]], "elements": ["Cu"],
                        "cartesian": False}, "gap": 0.0}  # fmt: skip
    layouts = [
        [entry, entry],
        {"a": entry, "b": entry},
        {"structure": {"a": salt.as_dict()}, "energy": {"a": -27.0}, "gap": {"a": 1.0}},
        entry,
        [jarvis],
    ]
    for layout, count in zip(layouts, (2, 2, 1, 1, 1), strict=True):
        graphs = list(read(write("a.json", json.dumps(layout)), ReadOptions(targets=("gap",))))
        assert len(graphs) == count
        assert "gap" in graphs[0].quantities
    assert len(list(read(write("a.json", json.dumps(salt.as_dict()))))) == 1
    lines = "\n".join(json.dumps(entry) for _ in range(3))
    assert len(list(read(write("a.json", lines)))) == 3
    water = Molecule(
        ["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]], charge=1, spin_multiplicity=2
    )
    (graph,) = read(write("a.json", json.dumps([{"molecule": water.as_dict()}])))
    assert graph.world == "molecule"
    assert graph.conditions == {"charge": 1.0, "spin": 1.0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "a.json:1: is not JSON"),
        ("[]", "the file holds no records"),
        ("[1, 2]", "a.json (record 0): is int, expected an object with a structure"),
        ('"text"', "holds str, expected a list of objects"),
        ('[{"energy": 1}]', "a.json (record 0): no structure found; keys: energy"),
        ('[{"structure": {"sites": []}}]', "a.json (record 0)"),
        ('[{"structure": {"sites": 7, "lattice": 3}}]', "a.json (record 0): the structure cannot be read"),
        (
            '{"index": [0], "columns": ["structure"], "data": [[1, 2]]}',
            "a.json (record 0): row has not the 1 columns",
        ),
    ],
)
def test_bad_json(write: Write, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read(write("a.json", text)))
    assert expected in str(caught.value)


def test_folder_with_table(salt: Structure, tmp_path: Path) -> None:
    for i in (1, 2, 10):
        salt.to(filename=str(tmp_path / f"mp-{i}.cif"))
    (tmp_path / "README.md").write_text("notes")
    assert [Path(g.provenance.file).stem for g in read(tmp_path)] == ["mp-1", "mp-2", "mp-10"]
    (tmp_path / "props.csv").write_text("material_id,bulk\nmp-2,25.5\nmp-10,26.5\n")
    graphs = list(read(tmp_path, ReadOptions(targets=("bulk",))))
    assert [float(g.quantities["bulk"]) for g in graphs] == [25.5, 26.5]
    with pytest.raises(InputError, match=r"props.csv: target 'shear' is not in the file; keys found: bulk"):
        list(read(tmp_path, ReadOptions(targets=("shear",))))
    (tmp_path / "props.csv").write_text("mp-2,25.5\nmp-10,26.5\n")  # as CGCNN writes it
    assert [float(g.quantities["bulk"]) for g in read(tmp_path, ReadOptions(targets=("bulk",)))] == [
        25.5,
        26.5,
    ]
    (tmp_path / "props.csv").write_text("id,bulk\nmp-2,25.5\nmp-7,26.5\n")
    with pytest.raises(InputError, match=r"props.csv:3 \(record 1\): no structure file is called 'mp-7'"):
        list(read(tmp_path, ReadOptions(targets=("bulk",))))
    (tmp_path / "props.csv").write_text("who,bulk\nx,25.5\n")
    with pytest.raises(InputError, match="no column holds the names of the structure files"):
        list(read(tmp_path, ReadOptions(targets=("bulk",))))


def test_files_without_a_row_are_told(
    salt: Structure, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for i in (1, 2, 3):
        salt.to(filename=str(tmp_path / f"mp-{i}.cif"))
    (tmp_path / "props.csv").write_text("id,bulk\nmp-2,25.5\n")
    with caplog.at_level("WARNING", logger="atomfield"):
        assert len(list(read(tmp_path, ReadOptions(targets=("bulk",))))) == 1
    assert (
        "2 of 3 structure files have no row in props.csv and are not read, the first: mp-1.cif" in caplog.text
    )


def test_folder_of_molecules_with_a_table(tmp_path: Path) -> None:
    """Geometries as xyz, one a file, and a table of labels beside them, in the order of the table."""
    for i in (1, 2, 3):
        text = f"2\nenergy=-{i}.5\nH 0 0 0\nH 0 0 0.7{i}\n"
        (tmp_path / f"mol{i}.xyz").write_text(text)
    (tmp_path / "labels.csv").write_text("name,gap,set,charge\nmol3,9.5,a,0\nmol1,9.1,b,\nmol2,,b,0\n")
    options = ReadOptions(
        targets=("gap",),
        map={"id": "name", "group": "set"},
        on_bad="skip",
        units={"positions": "bohr", "gap": "eV"},
    )
    bad: list[BadRecord] = []
    graphs = list(read(tmp_path, options, bad))
    assert [g.id for g in graphs] == ["mol3", "mol1"]
    assert [float(g.quantities["gap"]) for g in graphs] == [9.5, 9.1]
    assert [float(g.quantities["energy"]) for g in graphs] == [-3.5, -1.5]
    assert [g.group for g in graphs] == ["a", "b"]
    assert float(graphs[0].positions[1, 2]) == pytest.approx(0.73 * 0.529177, rel=1e-5)
    assert graphs[0].properties["gap"].unit == "eV"
    assert (bad[0].where.line, bad[0].message) == (4, "target 'gap' has no value")
    (tmp_path / "labels.csv").write_text("name,gap,energy\nmol1,9.1,-7\n")
    with pytest.raises(InputError, match="'energy' of mol1.xyz and of its row differ"):
        list(read(tmp_path, ReadOptions(targets=("gap",))))
    (tmp_path / "mol1.xyz").write_text("1\n\nHe 0 0 0\n1\n\nHe 0 0 0\n")
    (tmp_path / "labels.csv").write_text("name,gap\nmol1,9.1\n")
    with pytest.raises(InputError, match="mol1.xyz holds 2 structures, expected the one of this row"):
        list(read(tmp_path, ReadOptions(targets=("gap",))))


def test_table_of_cif_and_poscar_text(salt: Structure, tmp_path: Path) -> None:
    import csv

    with open(tmp_path / "a.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "cif", "gap"])
        writer.writerow(["a", salt.to(fmt="cif"), 5.0])
    with open(tmp_path / "b.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "poscar", "gap"])
        writer.writerow(["a", salt.to(fmt="poscar").replace("\n", "\\n"), 5.0])
    with open(
        tmp_path / "c.csv", "w", newline=""
    ) as file:  # as pandas writes a column of pymatgen's dictionaries
        writer = csv.writer(file)
        writer.writerow(["id", "structure", "gap"])
        writer.writerow(["a", json.dumps(salt.as_dict()), 5.0])
    for name in ("a.csv", "b.csv", "c.csv"):
        (graph,) = read(tmp_path / name, ReadOptions(targets=("gap",)))
        assert graph.num_nodes == 8
    for text, said in (
        ("{'sites': 1}", "the structure is not JSON"),
        ('{"a": 1}', "found dict, expected a structure"),
    ):
        (tmp_path / "d.csv").write_text(f'structure\n"{text.replace(chr(34), chr(34) * 2)}"\n')
        with pytest.raises(InputError, match=said):
            list(read(tmp_path / "d.csv"))


def _sdf(smiles: str, *, flat: bool = False, hydrogens: bool = True, **items: str) -> str:
    molecule = Chem.MolFromSmiles(smiles)
    if flat:
        AllChem.Compute2DCoords(molecule)
    else:
        molecule = Chem.AddHs(molecule)
        AllChem.EmbedMolecule(molecule, randomSeed=1)
        molecule = molecule if hydrogens else Chem.RemoveHs(molecule)
    return (
        Chem.MolToMolBlock(molecule)
        + "".join(f">  <{k}>  (1) \n{v}\n\n" for k, v in items.items())
        + "$$$$\n"
    )


def test_sdf(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    text = (
        _sdf("CCO", gap="1.5", name="a")
        + _sdf("CC", flat=True, gap="2.5")
        + _sdf("CN", hydrogens=False, gap="3.5")
    )
    graphs = list(read(write("a.sdf", text), ReadOptions(targets=("gap",))))
    assert [float(g.quantities["gap"]) for g in graphs] == [1.5, 2.5, 3.5]
    assert [g.num_nodes for g in graphs] == [9, 8, 7]
    assert [g.group for g in graphs] == ["CCO", "CC", "CN"]
    assert "embedded from their bonds" in caplog.text
    assert "hydrogens that were not written were added" in caplog.text
    (mol,) = read(write("a.mol", _sdf("CCO").split("$$$$")[0]))
    assert mol.num_nodes == 9


def test_bad_sdf(write: Write) -> None:
    good = _sdf("CCO", gap="1.5")
    with pytest.raises(InputError, match=r"a.sdf:\d+ \(record 1\): the molecule cannot be read"):
        list(read(write("a.sdf", good + "junk\njunk\n$$$$\n")))
    with pytest.raises(
        InputError, match=r"target 'gaps' is not in the file; keys found: gap; did you mean 'gap'"
    ):
        list(read(write("a.sdf", good), ReadOptions(targets=("gaps",))))
    with pytest.raises(InputError, match="the file has no molecule"):
        list(read(write("a.sdf", "\n\n")))


@pytest.mark.parametrize("occupancy", ["0.0(1)", "0", "nan", "-1"])
def test_a_site_without_an_atom_is_refused_rather_than_left_out(write, occupancy):
    text = Structure(Lattice.cubic(4.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(fmt="cif")
    lines = text.rstrip().splitlines()
    lines[-1] = " ".join([*lines[-1].split()[:-1], occupancy])
    with pytest.raises(InputError, match="site Cl1 has occupancy " + re.escape(occupancy)):
        list(read(write("empty.cif", "\n".join(lines) + "\n")))


def test_a_poscar_that_announces_too_many_atoms(write: Write) -> None:
    """pymatgen would take all memory for them before it reads the first."""
    text = "NaCl\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n2147483648 1\nDirect\n0 0 0\n.5 .5 .5\n"
    with pytest.raises(InputError, match="announces 2147483649 atoms and has 10 lines"):
        list(read(write("POSCAR", text)))


def test_a_poscar_that_names_no_elements_is_refused(tmp_path):
    """pymatgen would read the two kinds of atoms as hydrogen and helium."""
    import pytest

    from atomfield.data.errors import InputError
    from atomfield.data.source import open_source

    text = "salt\n1.0\n3 0 0\n0 3 0\n0 0 3\n{names}1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
    file = tmp_path / "POSCAR"
    file.write_text(text.format(names="Na Cl\n"))
    assert open_source(file)[0].species.tolist() == [11, 17]
    file.write_text(text.format(names=""))
    with pytest.raises(InputError, match="does not name its elements"):
        open_source(file)


def test_a_site_whose_occupancy_is_no_share_is_refused(tmp_path):
    """pymatgen would leave it out without a word."""
    import pytest
    from ase.build import bulk
    from ase.io import write

    from atomfield.data.errors import InputError
    from atomfield.data.source import open_source

    file = tmp_path / "salt.cif"
    write(file, bulk("NaCl", "rocksalt", a=5.6))
    assert open_source(file)[0].num_nodes == 2
    lines = file.read_text().rstrip().splitlines()
    lines[-1] = lines[-1].rsplit(None, 1)[0] + "  2147483648"
    file.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="occupancy 2147483648"):
        open_source(file)
