"""Molecules from SMILES in tables, and the conformers they get."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read
from atomfield.data.readers.class_names import class_names
from atomfield.data.readers.smiles import embed_smiles

Write = Callable[[str, str], Path]
CSV = 'name,SMILES,log S\nethanol,CCO,1.1\n"water, pure",O,0.5\nmissing,CC,\nsalt,[Na+].[Cl-],-0.2\n'


def test_csv_with_target(write: Write) -> None:
    bad: list[BadRecord] = []
    graphs = list(read(write("a.csv", CSV), ReadOptions(targets=("log S",), on_bad="skip"), bad))
    assert [g.group for g in graphs] == ["CCO", "O", "[Cl-].[Na+]"]
    assert [float(g.quantities["log S"]) for g in graphs] == [1.1, 0.5, -0.2]
    assert [g.num_nodes for g in graphs] == [9, 3, 2]
    assert graphs[1].provenance.line == 3
    assert graphs[0].conditions == {"charge": 0.0, "spin": 0.0}
    (refused,) = bad
    assert refused.where.line == 4
    assert refused.message == "target 'log S' has no value"


def test_separators_compression_and_names(write: Write, tmp_path: Path) -> None:
    assert len(list(read(write("a.tsv", CSV.replace('"water, pure"', "water").replace(",", "\t"))))) == 4
    assert (
        len(
            list(
                read(write("b.csv", "mol;y\nCC;1\nC;2\n"), ReadOptions(map={"smiles": "mol"}, targets=("y",)))
            )
        )
        == 2
    )
    with gzip.open(tmp_path / "c.csv.gz", "wt") as file:
        file.write(CSV)
    assert len(list(read(tmp_path / "c.csv.gz"))) == 4
    smi = list(read(write("d.smi", "CCO ethanol\n\n# note\nC methane\n")))
    assert [g.provenance.line for g in smi] == [1, 4]


def test_decimal_commas(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    """As spreadsheets of half of Europe write them: only where the cells are parted by something else, and only whole columns."""
    text = "name;smiles;E [eV];who\r\na;C;-1,25;1,5\r\nb;CC;3;x\r\nc;CCC;n/a;2\r\n"
    options = ReadOptions(targets=("E [eV]",))
    graphs = list(read(write("a.csv", "\ufeff" + text), options))
    assert [float(g.quantities["E [eV]"]) for g in graphs] == [-1.25, 3.0]
    assert "a.csv: decimal commas in 'E [eV]' are read as points" in caplog.text
    for wrong in ("-1,25.0", "1.234,5"):
        with pytest.raises(InputError, match="expected a number"):
            list(read(write("b.csv", text.replace("-1,25", wrong)), options))


def test_classes_and_several_targets(write: Write) -> None:
    text = "smiles,toxic,y\nC,yes,1\nCC,No,\nCCC,TRUE,3\nCCCC,0,4\nN,,5\n"
    graphs = list(read(write("a.csv", text), ReadOptions(targets=("toxic", "y"))))
    assert [float(g.quantities["toxic"]) if "toxic" in g.quantities else None for g in graphs] == [
        1,
        0,
        1,
        0,
        None,
    ]
    assert ["y" in g.quantities for g in graphs] == [True, False, True, True, True]


def test_conformers_are_seeded_and_of_one_group() -> None:
    first = embed_smiles("CCCCO", conformers=3, seed=5)
    again = embed_smiles("OCCCC", conformers=3, seed=5)
    assert len(first) == 3
    assert {g.group for g in first} == {"CCCCO"}
    assert not torch.equal(first[0].positions, first[1].positions)
    assert torch.equal(first[0].positions, embed_smiles("CCCCO", conformers=3, seed=5)[0].positions)
    assert again[0].group == first[0].group
    assert not torch.equal(first[0].positions, embed_smiles("CCCCO", seed=6)[0].positions)
    assert embed_smiles("[OH-]")[0].conditions == {"charge": -1.0, "spin": 0.0}
    assert embed_smiles("[CH3]")[0].conditions == {"charge": 0.0, "spin": 1.0}
    assert embed_smiles("[He]")[0].num_nodes == 1


def test_order_of_the_file_does_not_change_a_conformer(write: Write) -> None:
    a = list(read(write("a.smi", "CCO\nCCN\nc1ccccc1\n")))
    b = list(read(write("b.smi", "c1ccccc1\nCCO\n")))
    assert torch.equal(a[0].positions, b[1].positions)
    assert torch.equal(a[2].positions, b[0].positions)


def test_fragments_are_apart() -> None:
    (salt,) = embed_smiles("[Na+].[Cl-].O")
    distances = torch.cdist(salt.positions, salt.positions) + 10 * torch.eye(salt.num_nodes)
    assert float(distances[:2].min()) > 1.4


def test_geometry_is_sensible() -> None:
    (water,) = embed_smiles("O")
    oxygen, a, b = water.positions.numpy()
    angle = np.degrees(
        np.arccos(np.dot(a - oxygen, b - oxygen) / np.linalg.norm(a - oxygen) / np.linalg.norm(b - oxygen))
    )
    assert np.linalg.norm(a - oxygen) == pytest.approx(0.96, abs=0.03)
    assert angle == pytest.approx(104, abs=4)


BAD = {
    "syntax": ("smiles,y\nC,1\nC(C,2\n", "a.csv:3 (record 1): SMILES 'C(C' does not parse"),
    "valence": (
        "smiles,y\nC(C)(C)(C)(C)C,1\n",
        "Explicit valence for atom # 0 C, 5, is greater than permitted",
    ),
    "ring": ("smiles,y\nC1CC,1\n", "does not parse: unclosed ring"),
    "wildcard": ("smiles,y\nC*,1\n", "has a wildcard atom (*), expected elements only"),
    "nothing": ("smiles,y\n,1\n", "a.csv:2 (record 0): the SMILES is empty"),
    "no column": (
        "molecule,y\nC,1\n",
        "a.csv:1: no column is called smiles, cif or poscar; columns: molecule, y",
    ),
    "target": ("smiles,log_S\nC,1\n", "a.csv: target 'y' is not in the file; keys found: log_S"),
    "word": ("smiles,y\nC,high\n", "a.csv:2 (record 0): 'y' is 'high', expected a number, true or false"),
    "classes": (
        "smiles,y\nC,high\n",
        "(or nothing); a finetuning takes names as classes: of few kinds from the file itself, others by --set classes.y=",
    ),
    "infinite": ("smiles,y\nC,inf\n", "'y' is inf, expected a finite number"),
    "cells": ("smiles,y\nC,1,2\n", "a.csv:2 (record 0): row has 3 cells, expected 2 as in the header"),
    "doubled": ("smiles,y,y\nC,1,2\n", "a.csv:1: column 'y' is there twice"),
    "header only": ("smiles,y\n", "the table has no rows"),
    "empty": ("", "the file is empty"),
    "quote": ('smiles,y\nC,"1\n', "is not a table"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_row(write: Write, name: str) -> None:
    text, expected = BAD[name]
    with pytest.raises(InputError) as caught:
        list(read(write("a.csv", text), ReadOptions(targets=("y",))))
    assert expected in str(caught.value)
    assert "a.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_target_is_suggested_by_its_name(write: Write) -> None:
    with pytest.raises(InputError, match=r"did you mean 'log S'\?"):
        list(read(write("a.csv", CSV), ReadOptions(targets=("logS",))))
    with pytest.raises(
        InputError, match=r"column 'spam' \(for smiles\) is not in the table; columns: name, SMILES, log S"
    ):
        list(read(write("a.csv", CSV), ReadOptions(map={"smiles": "spam"})))


def test_a_molecule_too_large_to_embed_is_refused(write: Write) -> None:
    path = write("mols.csv", f"smiles,y\nCCO,1\n{'C' * 120},2\n")
    bad: list[BadRecord] = []
    graphs = list(read(path, ReadOptions(targets=("y",), on_bad="skip"), bad))
    assert len(graphs) == 1
    assert "362 atoms" in bad[0].message
    assert bad[0].where.line == 3


def test_columns_that_have_the_name_of_something_else_are_left_alone(
    write: Write, caplog: pytest.LogCaptureFixture
) -> None:
    """A temperature beside molecules is no field, and the length of a dipole no vector."""
    path = write("a.csv", "smiles,temperature,density,dipole,y\nCCO,25,0.79,1.7,1.0\nCC,25,0.54,0.0,2.0\n")
    with caplog.at_level("WARNING", logger="atomfield"):
        graphs = list(read(path, ReadOptions(targets=("y",))))
    assert [set(g.quantities) for g in graphs] == [{"y"}, {"y"}]
    assert "'dipole' is one number and not the dipole of the vocabulary" in caplog.text
    options = ReadOptions(targets=("rho", "length"), map={"rho": "density", "length": "dipole"})
    assert [float(g.quantities["length"]) for g in read(path, options)] == [1.7, 0.0]
    with pytest.raises(
        InputError, match=r"density is a field here: give the number a name of its own, --target my_density"
    ):
        list(read(path, ReadOptions(targets=("density",))))
    with pytest.raises(InputError, match=r"dipole is a vector or tensor here.*--map my_dipole=dipole"):
        list(read(path, ReadOptions(targets=("dipole",))))


def test_a_group_that_is_not_there_is_no_group(write: Write) -> None:
    """Records that should stay together would be parted, and nobody would know."""
    with pytest.raises(
        InputError, match=r"column 'scafold' \(for group\) is not in the table; columns: smiles, scaffold"
    ):
        list(read(write("a.csv", "smiles,scaffold\nC,x\n"), ReadOptions(map={"group": "scafold"})))
    with pytest.raises(InputError, match=r"column 'nr' \(for id\) is not in the table; columns: smiles, no"):
        list(read(write("b.csv", "smiles,no\nC,x\n"), ReadOptions(map={"id": "nr"})))
    text = "1\nset=a\nHe 0 0 0\n1\nrun=b\nHe 0 0 0\n"
    with pytest.raises(
        InputError, match=r"record 1\): key 'set' \(for group\) is not in the record; keys found: run"
    ):
        list(read(write("a.xyz", text), ReadOptions(map={"group": "set"})))


def test_a_cell_may_hold_a_large_structure(write: Write) -> None:
    """Beyond the limit of Python's csv, which is left as it was."""
    import csv

    before = csv.field_size_limit()
    path = write("a.csv", f"smiles,note,y\nC,{'x' * (before + 1)},1.0\n")
    (graph,) = read(path, ReadOptions(targets=("y",)))
    assert float(graph.quantities["y"]) == 1.0
    assert csv.field_size_limit() == before


def test_rows_without_a_label_are_left_out_and_counted(write: Write) -> None:
    """They are no mistakes: nothing has to be allowed for them. Only a column without any value is one."""
    text = "smiles,y\n" + "".join(
        f"{'C' * n},{value}\n" for n, value in ((1, "1.5"), (2, ""), (3, "n/a"), (4, "-"))
    )
    bad: list[BadRecord] = []
    (graph,) = read(write("a.csv", text), ReadOptions(targets=("y",)), bad)
    assert float(graph.quantities["y"]) == 1.5
    assert [(one.where.line, one.gap) for one in bad] == [(3, "empty"), (4, "empty"), (5, "empty")]
    with pytest.raises(InputError, match=r"b\.csv:2 \(record 0\): target 'y' has no value"):
        list(read(write("b.csv", "smiles,y\nC,\nCC,-\n"), ReadOptions(targets=("y",))))
    with pytest.raises(InputError, match="does not parse"):
        list(read(write("c.csv", "smiles,y\nC,\nC(,1\n"), ReadOptions(targets=("y",))))


def test_names_of_classes(write: Write) -> None:
    """Only a column that is all text of few kinds is one of classes; ids, numbers, truth values and censored numbers are not."""
    words = ["low", "high", "", "n/a"]
    rows = "".join(
        f"C,{words[i % 4]},m{i},{i % 3},{'yes' if i % 2 else 'no'},{'>5' if i == 7 else i},{'3,5' if i % 2 else '1,0'}\n".replace(
            "3,5", '"3,5"'
        ).replace("1,0", '"1,0"')
        for i in range(24)
    )
    path = write("a.csv", "smiles,class,id,rank,toxic,censored,comma\n" + rows)
    assert class_names(path, "class") == {"high": 6, "low": 6}
    for key in ("id", "rank", "toxic", "censored", "comma", "smiles", "absent"):
        assert class_names(path, key) == {}
    frames = write("b.xyz", "".join(f'1\nphase="{p} x" z=1\nHe 0 0 0\n' for p in "abab" * 2))
    assert class_names(frames, "phase") == {"a x": 4, "b x": 4}
    entries = write("c.json", json.dumps([{"phase": p, "structure": {}} for p in "abab" * 2]))
    assert class_names(entries, "phase") == {"a": 4, "b": 4}
    assert class_names(write("d.csv", 'smiles,y\n"C'), "y") == {}


def test_a_name_with_a_comma_is_offered_as_it_is_written(write: Write) -> None:
    path = write("a.csv", 'smiles,"K, VRH (GPa)"\nC,1\n')
    with pytest.raises(InputError, match=r"did you mean --target 'K\\, VRH \(GPa\)' \(a comma within a name"):
        list(read(path, ReadOptions(targets=("K, VRH", "VRH (GPa)"))))


def test_encoding_of_windows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is no text at all is refused as before."""
    path = tmp_path / "a.csv"
    path.write_bytes("Canonical SMILES,T (\u00b0C)\nCC,1.5\n".encode("cp1252"))
    (graph,) = read(path, ReadOptions(targets=("T (\u00b0C)",)))
    assert float(graph.quantities["T (\u00b0C)"]) == 1.5
    assert "a.csv: is not in UTF-8, and is read as Windows-1252" in caplog.text
    for content in (b"smiles,y\nCC,\x00\xb01\n", b"smiles,y\nCC,\x81\xb01\n"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="is not a text file in UTF-8"):
            list(read(path, ReadOptions(targets=("y",))))


def test_the_only_column_with_smiles_in_its_name(write: Write) -> None:
    assert len(list(read(write("a.csv", "id,SMILES (RDKit),y\n1,CC,2\n")))) == 1
    with pytest.raises(InputError, match="no column is called smiles"):
        list(read(write("b.csv", "smiles_a,smiles_b,y\nC,CC,2\n")))
