"""Records of a test set stay out of a store."""

from __future__ import annotations

import json

import pytest
from ase.build import bulk, molecule
from ase.io import write

from atomfield.data.errors import InputError
from atomfield.data.excluding import identities_of, identity
from atomfield.data.prepare import prepare
from atomfield.data.source import open_source
from atomfield.data.store import Store


def _rattled(atoms, seed):
    other = atoms.copy()
    other.rattle(0.03, seed=seed)
    return other


@pytest.fixture
def files(tmp_path):
    """A corpus of molecules and crystals, and a test set with other geometries of some of them."""
    corpus = [molecule(n) for n in ("CH3CH2OH", "H2O", "CH3OCH3", "C6H6")]
    corpus += [bulk("Si"), bulk("NaCl", "rocksalt", a=5.6), bulk("MgO", "rocksalt", a=4.2)]
    write(tmp_path / "corpus.extxyz", corpus)
    tests = [_rattled(corpus[0], 1), _rattled(corpus[0], 2), _rattled(corpus[4].repeat((2, 1, 1)), 3)]
    write(tmp_path / "test.extxyz", tests)
    return tmp_path


def test_geometries_of_a_molecule_are_one_and_isomers_are_two(files):
    ethanol, _, ether, *_ = open_source(files / "corpus.extxyz")
    again = open_source(files / "test.extxyz")
    assert identity(ethanol) == identity(again[0]) == identity(again[1]) != identity(ether)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_the_other_source_has_is_left_out_and_counted(files, workers):
    test = str(files / "test.extxyz")
    done = prepare([str(files / "corpus.extxyz")], files / "store", without=[test], workers=workers)
    assert done.left_out == {test: 2} and done.new_records == 5
    left = {identity(g) for g in Store(files / "store")}
    assert len(left) == 5 and not left & set(identities_of([test]))


def test_a_store_is_filtered_too_and_another_set_makes_another_store(files):
    first, test = files / "first", str(files / "test.extxyz")
    prepare([str(files / "corpus.extxyz")], first)
    assert len(Store(first)) == 7
    prepare([str(first)], files / "second", without=[test])
    assert len(Store(files / "second")) == 5
    index = json.loads((files / "second" / "index.json").read_text())
    with pytest.raises(InputError, match="second"):
        prepare([str(first)], files / "second")
    assert json.loads((files / "second" / "index.json").read_text()) == index


def test_nothing_left_is_said(files):
    with pytest.raises(InputError, match="all its records are in what --without names"):
        prepare([str(files / "test.extxyz")], files / "store", without=[str(files / "corpus.extxyz")])


def test_fields_are_refused():
    with pytest.raises(InputError, match="fields have no identity"):
        identity(open_source("starter/task_fields")[0])


def test_a_table_of_smiles_is_read_without_embedding(files, monkeypatch):
    """Its bonds are those of geometries of the same molecules, hydrogens included; parts of a salt count by themselves."""
    from rdkit.Chem import rdDistGeom

    def refuse(*_):
        raise AssertionError("nothing is embedded for the sake of its bonds")

    monkeypatch.setattr(rdDistGeom, "EmbedMolecule", refuse)
    monkeypatch.setattr(rdDistGeom, "EmbedMultipleConfs", refuse)
    table = files / "test.csv"
    table.write_text("name,smiles,y\na,OCC,1\nb,c1ccccc1.[Cl-],2\nc,not a molecule,3\n")
    names = identities_of([str(table)])
    ethanol, water, ether, benzene, *_ = open_source(files / "corpus.extxyz")
    assert {identity(ethanol), identity(benzene)} < set(names)
    assert identity(water) not in names and identity(ether) not in names
    done = prepare([str(files / "corpus.extxyz")], files / "filtered", without=[str(table)])
    assert done.left_out == {str(table): 2}
