"""Parquet and Arrow tables, data sets that Hugging Face datasets saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read

WATER = [[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]]


@pytest.fixture
def columns() -> dict[str, list[Any]]:
    return {
        "positions": [WATER, WATER[:2], [[0.0, 0.0, 0.0]]],
        "numbers": [[8, 1, 1], [8, 1], [29]],
        "cell": [None, None, [[2.5, 0, 0], [0, 2.5, 0], [0, 0, 2.5]]],
        "energy": [-1.0, -2.0, None],
        "forces": [WATER, WATER[:2], None],
        "gap": [1.0, 2.0, 3.0],
    }


def _check(graphs: list[Any]) -> None:
    assert [g.num_nodes for g in graphs] == [3, 2, 1]
    assert [g.world for g in graphs] == ["molecule", "molecule", "crystal"]
    assert [g.provenance.record for g in graphs] == [0, 1, 2]
    np.testing.assert_array_equal(graphs[1].quantities["forces"], WATER[:2])
    assert graphs[1].quantities["energy"].item() == -2.0
    assert "energy" not in graphs[2].quantities
    assert [g.quantities["gap"].item() for g in graphs] == [1.0, 2.0, 3.0]


def test_parquet_and_arrow(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    table = pa.table(columns)
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, str(tmp_path / "a.feather"))
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    options = ReadOptions(targets=("gap", "energy"))
    for name in ("a.parquet", "a.feather", "a.arrow"):
        _check(list(read(tmp_path / name, options)))
    symbols = [["O", "H", "H"], ["O", "H"], ["Cu"]]
    flat = [np.array(p).reshape(-1).tolist() for p in columns["positions"]]
    other = pa.table({**columns, "positions": flat, "numbers": symbols}).rename_columns(
        ["xyz", "who", "cell", "energy", "forces", "gap"]
    )
    pq.write_table(other, tmp_path / "b.parquet")
    named = ReadOptions(targets=("gap", "energy"), map={"positions": "xyz", "numbers": "who"})
    _check(list(read(tmp_path / "b.parquet", named)))


def test_saved_dataset(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    table = datasets.Dataset.from_dict(columns)
    table.save_to_disk(str(tmp_path / "one"))
    _check(list(read(tmp_path / "one", ReadOptions(targets=("gap", "energy")))))
    datasets.DatasetDict({"train": table, "test": table}).save_to_disk(str(tmp_path / "two"))
    assert len(list(read(tmp_path / "two"))) == 6
    next((tmp_path / "one").glob("*.arrow")).unlink()
    with pytest.raises(InputError, match=r"one: has no data-00000-of-00001.arrow"):
        list(read(tmp_path / "one"))


def test_smiles_in_parquet(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"smiles": ["CCO", "O", "C("], "log S": [1.0, None, 2.0]}), tmp_path / "a.parquet"
    )
    bad: list[BadRecord] = []
    (graph,) = read(tmp_path / "a.parquet", ReadOptions(targets=("log S",), on_bad="skip"), bad)
    assert graph.group == "CCO"
    assert [b.where.record for b in bad] == [1, 2]


def test_bad_rows(columns: dict[str, list[Any]], tmp_path: Path) -> None:
    wrong = {
        "positions": ([WATER[:2], WATER], "'positions' has shape [2, 3], expected [3, 3]"),
        "numbers": ([[8, 1, 0], [8, 1]], "atomic number of atom 2 is 0"),
        "forces": (
            [[[0.0, 0.0, float("nan")]] * 3, WATER[:2]],
            "'forces' has a value of atom 0 that is not finite",
        ),
        "energy": ([float("inf"), 1.0], "'energy' has a value"),
        "cell": ([[[0.0] * 3, [1.0] * 3, [1.0] * 3], None], "cell volume is 0"),
    }
    for name, (value, expected) in wrong.items():
        pq.write_table(
            pa.table({k: v[:2] for k, v in {**columns, name: value}.items()}), tmp_path / "a.parquet"
        )
        with pytest.raises(InputError) as caught:
            list(read(tmp_path / "a.parquet"))
        assert "a.parquet (record 0)" in str(caught.value)
        assert expected in str(caught.value)
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is not a whole Parquet file"):
        list(read(tmp_path / "a.parquet"))
