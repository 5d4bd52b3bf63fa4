"""Files of folds: record numbers, ids by any key, and what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.data.folds import read_parts_file
from atomfield.data.source import open_source

from .test_partition import named


def test_files_of_folds(tmp_path: Path) -> None:
    graphs = [replace(g, id=f"mol-{i}") for i, g in enumerate(named(list("abcdef")))]
    (tmp_path / "a.json").write_text(json.dumps({"train": [0, 1, 2], "test": [4], "note": "official"}))
    assert read_parts_file(tmp_path / "a.json", graphs) == {"train": [0, 1, 2], "test": [4]}
    (tmp_path / "a.csv").write_text("id,split\nmol-3,test\nmol-1,train\n")
    assert read_parts_file(tmp_path / "a.csv", graphs, "name") == {"test": [3], "train": [1]}
    (tmp_path / "a.txt").write_text("5\n2\n")
    assert read_parts_file(tmp_path / "a.txt", graphs) == {"train": [0, 1, 3, 4], "test": [2, 5]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"train": [0], "test": [9]}', "entry '9' is no record, expected a record number below 6"),
        ("a.json", '{"train": [0, 1], "test": [1]}', "record 1 is in train and in test"),
        ("a.json", "[1, 2]", "expected an object of lists"),
        ("a.json", "{", "cannot be read"),
        ("a.csv", "name,fold\nx,1\n", "expected id and split"),
        ("a.txt", "3\n1\n3\n", "entry '3' is there twice in test"),
        ("a.txt", "mol-1\n", "entry 'mol-1' is no record.*name the key of the ids with --by-id"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_parts_file(tmp_path / name, named(list("abcdef")))


def test_ids_that_are_unknown_or_doubled(tmp_path: Path) -> None:
    graphs = [
        replace(g, id=i) for g, i in zip(named(list("abcde")), ["x1", "x2", "x2", "", "x5"], strict=True)
    ]
    file = tmp_path / "a.json"
    cases = {
        '{"test": ["x55"]}': r"entry 'x55' is the id of no record, expected ids such as 'x1', 'x2', 'x5'; did you mean 'x5'",
        '{"test": ["0"]}': "entry '0' is the id of no record",
        '{"test": ["x2"]}': r"id 'x2' is that of two records, b.xyz \(record 1\) and c.xyz \(record 2\)",
        '{"test": ["x1", "x1"]}': "entry 'x1' is there twice in test",
        '{"train": ["x1"], "test": ["x1"]}': r"record 0 \('x1'\) is in train and in test",
    }
    for text, message in cases.items():
        file.write_text(text)
        with pytest.raises(InputError, match=message):
            read_parts_file(file, graphs, "name")
    file.write_text('{"test": ["x1", "x5"]}')
    assert read_parts_file(file, graphs, "name") == {"train": [1, 2, 3], "test": [0, 4]}
    with pytest.raises(InputError, match="no record has the key 'name'"):
        read_parts_file(file, named(list("ab")), "name")


SDF = """{0}
     RDKit          3D

  2  1  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 H   0  0
    0.0000    0.0000    0.7{0}00 H   0  0
  1  2  1  0
M  END
>  <code>
H-{0}

$$$$
"""


@pytest.mark.parametrize("kind", ["csv", "sdf", "xyz", "parquet", "db"])
def test_prepare_splits_by_the_ids_of_any_format(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a.{kind}"
    table = [("C" * (n + 1), f"H-{n}") for n in range(6)]
    match kind:
        case "csv":
            path.write_text("smiles,code\n" + "".join(f"{s},{c}\n" for s, c in table))
        case "sdf":
            path.write_text("".join(SDF.format(n) for n in range(6)))
        case "xyz":
            path.write_text("".join(f"1\ncode=H-{n} energy=-{n}.0\nH 0 0 0\n" for n in range(6)))
        case "parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"smiles": [s for s, _ in table], "code": [c for _, c in table]}), path)
        case _:
            from ase import Atoms
            from ase.db import connect

            with connect(path) as db:
                for n in range(6):
                    db.write(Atoms("H"), code=f"H-{n}")
    (tmp_path / "folds.csv").write_text("code,split\nH-3,test\nH-5,test\nH-0,train\n")
    words = ["prepare", str(path), "--out", str(tmp_path / "s"), "--no-check", "--conformers", "2"]
    assert main([*words, "--split", str(tmp_path / "folds.csv"), "--by-id", "code"]) == 0
    capsys.readouterr()
    test = open_source(f"{tmp_path / 's'}:test")
    many = 2 if kind in ("csv", "parquet") else 1
    assert [g.id for g in test] == ["H-3"] * many + ["H-5"] * many
    assert main([*words, "--by-id", "code"]) == 2
    assert "is for a file of ids" in capsys.readouterr().err
    assert main([*words, "--split", str(tmp_path / "folds.csv"), "--by-id", "code", "--map", "id=name"]) == 2
    assert "but --map has id=name" in capsys.readouterr().err


def test_numbers_do_not_name_rows_where_some_were_left_out(tmp_path: Path) -> None:
    graphs = [replace(g, id=f"mol-{i}") for i, g in enumerate(named(list("abcdef")))]
    (tmp_path / "a.txt").write_text("5\n2\n")
    with pytest.raises(
        InputError, match="2 bad records were left out, so record numbers do not count the rows"
    ):
        read_parts_file(tmp_path / "a.txt", graphs, left_out=2)
    with pytest.raises(InputError, match="a row has up to 3 conformers, so record numbers do not count"):
        read_parts_file(tmp_path / "a.txt", graphs, conformers=3)
    (tmp_path / "b.txt").write_text("mol-5\ngone\nmol-2\n")
    assert read_parts_file(tmp_path / "b.txt", graphs, "name", left_out=1)["test"] == [2, 5]
    with pytest.raises(InputError, match="'gone' is the id of no record"):
        read_parts_file(tmp_path / "b.txt", graphs, "name")
