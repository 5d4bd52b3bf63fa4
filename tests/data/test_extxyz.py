"""Frames of extxyz: labels, worlds, units, and places of mistakes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write as ase_write

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read
from atomfield.data.units import factor

Write = Callable[[str, str], Path]
WATER = """3
Properties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-10.5 charge=-1 config="a b" pbc="F F F"
O 0.0 0.0 0.0 0.1 0.0 0.0
H 0.96 0.0 0.0 -0.1 0.0 0.0
H -0.24 0.93 0.0 0.0 0.0 0.0
"""
MAPPED = ReadOptions(map={"energy": "REF_energy", "forces": "REF_forces"}, targets=("energy", "forces"))


def test_what_ase_writes_is_read(tmp_path: Path) -> None:
    atoms = bulk("Si") * (2, 1, 1)
    atoms.rattle(0.1, seed=1)
    energy, forces = -17.25, np.arange(12.0).reshape(4, 3)
    stress = np.array([1.0, 2.0, 3.0, 0.4, 0.5, 0.6])
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
    ase_write(tmp_path / "si.xyz", [atoms, Atoms("N2", positions=[[0, 0, 0], [0, 0, 1.1]])])
    silicon, nitrogen = read(tmp_path / "si.xyz")
    assert silicon.world == "crystal"
    assert nitrogen.world == "molecule"
    assert not nitrogen.quantities
    np.testing.assert_allclose(silicon.positions, atoms.positions, atol=1e-8)
    np.testing.assert_allclose(silicon.cell, atoms.cell.array, atol=1e-8)
    assert float(silicon.quantities["energy"]) == energy
    np.testing.assert_allclose(silicon.quantities["forces"], forces)
    np.testing.assert_allclose(silicon.quantities["stress"], [[1, 0.6, 0.5], [0.6, 2, 0.4], [0.5, 0.4, 3]])
    assert silicon.group == "Si"
    assert nitrogen.group == "N2"


def test_mapped_keys_and_conditions(write: Write) -> None:
    (graph,) = read(write("water.xyz", WATER), MAPPED)
    assert float(graph.quantities["energy"]) == -10.5
    assert graph.quantities["forces"].shape == (3, 3)
    assert graph.conditions == {"charge": -1.0}
    assert graph.provenance.line == 1
    assert graph.dataset == "water"


def test_target_that_is_not_there_is_suggested(write: Write) -> None:
    path = write("water.xyz", WATER)
    with pytest.raises(InputError) as caught:
        list(read(path, ReadOptions(targets=("energy",))))
    assert str(caught.value) == (
        f"{path}:1 (record 0): target 'energy' is not in the file; keys found: REF_energy, charge, config, REF_forces; "
        "did you mean --map energy=REF_energy?"
    )


def test_unread_key_is_reported_once(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="atomfield"):
        list(read(write("water.xyz", WATER * 3)))
    assert len(caplog.records) == 1
    assert "--map energy=REF_energy,forces=REF_forces" in caplog.text


def test_units_are_converted_once(write: Write) -> None:
    options = ReadOptions(
        map=MAPPED.map,
        units={"energy": "kcal/mol", "forces": "hartree/bohr", "positions": "bohr"},
        targets=MAPPED.targets,
    )
    (graph,) = read(write("water.xyz", WATER), options)
    assert float(graph.quantities["energy"]) == pytest.approx(-10.5 * 0.04336411530877)
    assert float(graph.quantities["forces"][0, 0]) == pytest.approx(5.142206747)
    assert float(graph.positions[1, 0]) == pytest.approx(0.96 * 0.529177210903)


def test_virial_becomes_stress(write: Write) -> None:
    text = '1\nLattice="2 0 0 0 2 0 0 0 2" W="8 0 0 0 8 0 0 0 8" pbc="T T T"\nCu 0 0 0\n'
    (graph,) = read(write("cu.xyz", text), ReadOptions(map={"stress": "W"}, units={"stress": "virial"}))
    torch.testing.assert_close(graph.quantities["stress"], -torch.eye(3, dtype=torch.float64))
    (graph,) = read(write("cu.xyz", text), ReadOptions(map={"stress": "W"}, units={"stress": "-kbar"}))
    assert float(graph.quantities["stress"][0, 0]) == pytest.approx(-8 * 6.2415e-4, rel=1e-4)


def test_user_property(write: Write) -> None:
    text = "1\ngap=1.5\nHe 0 0 0\n1\ngap=2.5\nHe 0 0 0\n"
    graphs = list(read(write("he.xyz", text), ReadOptions(targets=("gap",), units={"gap": "eV"})))
    assert [float(g.quantities["gap"]) for g in graphs] == [1.5, 2.5]
    assert graphs[0].properties["gap"].unit == "eV"


def test_plain_xyz_and_rows_of_lattice(write: Write) -> None:
    (plain,) = read(write("a.xyz", "2\nany words at all\nC 0 0 0\nO 0 0 1.1 extra\n"))
    assert plain.species.tolist() == [6, 8]
    (skew,) = read(write("b.xyz", '1\nLattice="4 0 0 1 5 0 0 2 6"\nC 0 0 0\n'))
    assert skew.cell.tolist() == [[4, 0, 0], [1, 5, 0], [0, 2, 6]]
    assert skew.pbc.all()


BAD = {
    "NaN position": (WATER.replace("0.96", "nan"), "water.xyz:4 (record 0): position of atom 1 is [nan, 0.0, 0.0]"),
    "infinite energy": (WATER.replace("-10.5", "inf"), "'REF_energy' has a value that is not finite"),
    "word as energy": (WATER.replace("-10.5", "low"), "'REF_energy' is 'low', expected a number"),
    "NaN force": (WATER.replace(" 0.1 0.0", " nan 0.0"), "'REF_forces' has a value of atom 0 that is not finite"),
    "letters": (WATER.replace("0.93", "o.93"), "water.xyz:5 (record 0): pos of atom 2 is 'o.93', expected a number"),
    "element": (WATER.replace("\nO ", "\nQq "), "water.xyz:3 (record 0): element of atom 0 is 'Qq'"),
    "columns": (WATER.replace(" -0.1 0.0 0.0", ""), "water.xyz:4 (record 0): atom 1 has 4 columns, expected 7"),
    "cut short": (WATER.rsplit("\n", 2)[0] + "\n", "water.xyz:1 (record 0): the file ends after 2 of 3 atoms"),
    "count": ("three\n" + WATER[2:], "water.xyz:1 (record 0): line is 'three', expected the number of atoms"),
    "same place": (WATER.replace("0.96", "0.0"), "atoms 0 and 1 are 0 angstrom apart"),
    "no atoms": ("0\n\n", "the record has no atoms"),
    "no lattice": (WATER.replace("F F F", "T T T"), "there is no lattice"),
    "flat cell": (WATER.replace('pbc="F F F"', 'Lattice="1 0 0 2 0 0 0 0 1"'), "cell volume is 0"),
    "NaN cell": (WATER.replace('pbc="F F F"', 'Lattice="nan 0 0 0 5 0 0 0 5"'), "not finite"),
    "short lattice": (WATER.replace('pbc="F F F"', 'Lattice="1 2"'), "water.xyz:2 (record 0): the comment line cannot be parsed"),
    "properties": (WATER.replace("pos:R:3:", "pos:R:x:"), "expected name:kind:count"),
    "wrong shape": (WATER.replace("REF_energy=-10.5", 'REF_energy="1 2 3"'), "'REF_energy' has shape [3], expected []"),
    "empty": ("", "the file is empty"),
    "blank": ("\n\n", "no records found"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_frame(write: Write, name: str) -> None:
    text, expected = BAD[name]
    with pytest.raises(InputError) as caught:
        list(read(write("water.xyz", text), MAPPED))
    assert expected in str(caught.value)
    assert "water.xyz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overlap_across_the_border(write: Write) -> None:
    text = '2\nLattice="3 0 0 0 3 0 0 0 3"\nCu 0.01 0 0\nCu 2.99 0 0\n'
    with pytest.raises(
        InputError, match=r"atoms 0 and 1 are 0.02 angstrom apart \(periodic images counted\)"
    ):
        list(read(write("cu.xyz", text)))


def test_skipping_bad_records(write: Write) -> None:
    path = write("water.xyz", WATER + WATER.replace("0.96", "nan") + WATER)
    bad: list[BadRecord] = []
    graphs = list(read(path, ReadOptions(map=MAPPED.map, on_bad="skip"), bad))
    assert [g.provenance.record for g in graphs] == [0, 2]
    assert [(b.where.record, b.where.line) for b in bad] == [(1, 9)]
    with pytest.raises(InputError, match="all 1 records were refused, the first"):
        list(read(write("bad.xyz", WATER.replace("0.96", "nan")), ReadOptions(on_bad="skip"), []))


def test_partial_labels_are_kept(write: Write) -> None:
    text = "1\nenergy=1.0 gap=2.0\nHe 0 0 0\n1\nenergy=1.0\nHe 0 0 0\n"
    graphs = list(read(write("he.xyz", text), ReadOptions(targets=("energy", "gap"))))
    assert ["gap" in g.quantities for g in graphs] == [True, False]
    with pytest.raises(InputError, match="no record has a value of 'spam'"):
        list(read(write("he.xyz", text), ReadOptions(targets=("energy", "spam"))))


def test_six_numbers_of_a_stress(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """ASE's order is taken and said; VASP's, which has xy first, and its sign are a unit."""
    text = '1\nLattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3 stress="1 2 3 4 5 6"\nCu 0 0 0\n'
    (graph,) = read(write("six.xyz", text))
    assert graph.quantities["stress"].tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    assert "'stress' are read in ASE's order xx, yy, zz, yz, xz, xy" in caplog.text
    caplog.clear()
    (graph,) = read(write("six.xyz", text), ReadOptions(units={"stress": "vasp"}))
    kbar = factor("stress", "kbar")
    assert torch.allclose(
        graph.quantities["stress"] / -kbar, torch.tensor([[1.0, 4, 6], [4, 2, 5], [6, 5, 3]]).double()
    )
    assert not caplog.text


def test_a_virial_is_offered_for_a_stress(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    comment = 'Lattice="4 0 0 0 4 0 0 0 4" energy=-1.0 REF_virial="6.4 0 0 0 6.4 0 0 0 6.4" Properties=species:S:1:pos:R:3'
    path = write("he.xyz", f"1\n{comment}\nHe 0 0 0\n")
    with pytest.raises(InputError, match="did you mean --map stress=REF_virial --units stress=virial"):
        list(read(path, ReadOptions(targets=("stress",))))
    list(read(path, ReadOptions(targets=("energy",))))
    assert "'REF_virial' not read; if wanted: --map stress=REF_virial --units stress=virial" in caplog.text
    options = ReadOptions(targets=("stress",), map={"stress": "REF_virial"}, units={"stress": "virial"})
    (graph,) = read(path, options)
    assert graph.quantities["stress"].diagonal().tolist() == pytest.approx([-0.1] * 3)


@pytest.mark.parametrize("key", ["virial", "REF_virial"])
def test_a_virial_is_no_stress_without_a_unit(tmp_path: Path, key: str) -> None:
    atoms = bulk("Si")
    atoms.info[key] = np.eye(3) * 2.0
    ase_write(tmp_path / "si.xyz", atoms)
    with pytest.raises(
        InputError, match="is read as a stress and no unit is given, expected --units stress=virial"
    ):
        list(read(tmp_path / "si.xyz", ReadOptions(map={"stress": key})))
    for unit, expected in (("eV/angstrom^3", 2.0), ("virial", -2.0 / atoms.get_volume())):
        (graph,) = read(tmp_path / "si.xyz", ReadOptions(map={"stress": key}, units={"stress": unit}))
        assert float(graph.quantities["stress"][0, 0]) == pytest.approx(expected)


def test_keys_that_nobody_asked_for_are_named_where_no_label_is_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "atomfield")
    (tmp_path / "a.xyz").write_text(WATER.replace("REF_forces", "my_f").replace("REF_energy", "tot_e") * 2)
    list(read(tmp_path / "a.xyz", ReadOptions()))
    assert caplog.text.count("no label is read; there are tot_e, config, my_f: name those to be read") == 1
    caplog.clear()
    list(read(tmp_path / "a.xyz", ReadOptions(map={"energy": "tot_e"})))
    assert "no label" not in caplog.text
