"""The store gives back what was put in, bit for bit, and says what is wrong with a damaged one."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph
from atomfield.data.quantities import scalar_property
from atomfield.data.readers import BadRecord
from atomfield.data.store import Store, is_store, write_store

Form = Literal["arrow", "parquet"]
FORMS: tuple[Form, ...] = ("arrow", "parquet")


def assert_equal(a: Graph, b: Graph) -> None:
    for name, value in vars(a).items():
        other = getattr(b, name)
        match name:
            case "edges":
                assert value.keys() == other.keys()
                for kind in value:
                    assert torch.equal(value[kind].index, other[kind].index)
                    assert torch.equal(value[kind].shift, other[kind].shift)
            case "quantities" | "next_quantities":
                assert value.keys() == other.keys()
                for q in value:
                    assert value[q].dtype == other[q].dtype
                    assert torch.equal(value[q], other[q])
            case "grid_shape":
                assert value in (None, other)
            case _ if isinstance(value, torch.Tensor):
                assert value.dtype == other.dtype
                assert torch.equal(value, other)
            case _:
                assert value == other, name


@pytest.mark.parametrize("form", FORMS)
def test_round_trip(samples: list[Graph], tmp_path: Path, form: Form) -> None:
    index = write_store(samples, tmp_path / "store", shard_records=4, form=form)
    store = Store(tmp_path / "store")
    assert len(store) == len(samples) == index["num_records"] == sum(s["rows"] for s in index["shards"])
    assert len(index["shards"]) == 4
    for a, b in zip(samples, store, strict=True):
        assert_equal(a, b)
    assert_equal(store[-1], samples[-1])
    assert len(store[2:5]) == 3
    with pytest.raises(IndexError):
        store[len(samples)]
    store.verify()


def test_records_are_independent_of_the_store(samples: list[Graph], tmp_path: Path) -> None:
    write_store(samples, tmp_path / "store")
    store = Store(tmp_path / "store")
    graph = store[0]
    graph.positions.zero_()
    graph.quantities["forces"].zero_()
    assert_equal(store[0], samples[0])


def test_snapshots_and_pairs_are_kept(samples: list[Graph], tmp_path: Path) -> None:
    flow = next(g for g in samples if g.times is not None)
    pair = flow.pair(0)
    write_store([pair, flow.snapshot(1)], tmp_path / "store")
    back = Store(tmp_path / "store")
    assert_equal(pair, back[0])
    assert_equal(flow.snapshot(1), back[1])


def test_grid_edges_and_positions_are_not_stored(samples: list[Graph], tmp_path: Path) -> None:
    flow = next(g for g in samples if "grid" in g.edges)
    write_store([flow], tmp_path / "store")
    import pyarrow as pa

    table = pa.ipc.open_file(tmp_path / "store" / "shard-00000.arrow").read_all()
    assert "axes" in table.column_names
    assert not [c for c in table.column_names if c.startswith(("e/", "positions", "species", "node_type"))]
    assert len(table.column("volume64")[0].as_py()) == 1
    back = Store(tmp_path / "store")[0]
    assert back.grid_shape == (8, 6)
    assert back.edges["grid"].num_edges == flow.edges["grid"].num_edges


def test_columns_without_decoding(samples: list[Graph], tmp_path: Path) -> None:
    write_store(samples, tmp_path / "store", shard_records=3)
    store = Store(tmp_path / "store")
    columns = store.columns
    for i, graph in enumerate(samples):
        assert columns["num_nodes"][i] == graph.num_nodes
        assert columns["num_times"][i] == graph.num_times
        for name in ("world", "level", "dataset", "group"):
            assert columns[name][i] == getattr(graph, name)
        counts = [int((graph.species == z).sum()) for z in columns["elements"].tolist()]
        assert columns["species_counts"][i].tolist() == counts
    assert columns["formula"][7] == "O2Si2"
    energies = store.values("energy")
    expected = [float(g.quantities["energy"]) if "energy" in g.quantities else np.nan for g in samples]
    np.testing.assert_array_equal(energies, expected)
    np.testing.assert_array_equal(np.isnan(store.values("log S")), [i >= 7 for i in range(len(samples))])
    assert store.values("charge")[1] == 1.0
    assert np.isnan(store.values("charge")[0])
    assert store.values("stress").shape == (len(samples), 3, 3)


def test_float64_positions_that_are_float32_are_stored_small(tmp_path: Path) -> None:
    graph = Graph(
        torch.tensor([[0.5, 0.25, 0.0], [2.0, 0.0, 0.0]], dtype=torch.float64),
        torch.tensor([1, 1]),
        "molecule",
    )
    write_store([graph], tmp_path / "store")
    import pyarrow as pa

    names = pa.ipc.open_file(tmp_path / "store" / "shard-00000.arrow").read_all().column_names
    assert "positions32" in names
    assert_equal(Store(tmp_path / "store")[0], graph)


def test_index_says_what_is_inside(samples: list[Graph], tmp_path: Path) -> None:
    bad = [BadRecord(Provenance("a.xyz", 3, 17), "position is nan")]
    write_store(samples, tmp_path / "store", bad=bad)
    index = json.loads((tmp_path / "store" / "index.json").read_text())
    assert index["worlds"] == {"molecule": 7, "crystal": 3, "field": 4}
    assert index["levels"]["test-level"] == 7
    assert index["quantities"]["energy"] == {"records": 7, "unit": "eV"}
    assert index["properties"]["log S"]["unit"] == "mol/l"
    assert index["num_bad_records"] == 1
    assert json.loads((tmp_path / "store" / "bad_records.json").read_text()) == [
        {"where": "a.xyz:17 (record 3)", "message": "position is nan"}
    ]


def test_same_graphs_give_the_same_bytes(samples: list[Graph], tmp_path: Path) -> None:
    for form in FORMS:
        first = write_store(samples, tmp_path / f"a-{form}", form=form)
        second = write_store(samples, tmp_path / f"b-{form}", form=form)
        assert first == second


def test_store_can_be_sent_to_a_worker(samples: list[Graph], tmp_path: Path) -> None:
    write_store(samples, tmp_path / "store")
    assert_equal(pickle.loads(pickle.dumps(Store(tmp_path / "store")))[3], samples[3])


def test_occupied_folder_is_refused(samples: list[Graph], tmp_path: Path) -> None:
    write_store(samples, tmp_path / "store")
    with pytest.raises(InputError, match="is a store already"):
        write_store(samples, tmp_path / "store")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds other things \(notes.txt\)"):
        write_store(samples, tmp_path / "other")
    (tmp_path / "interrupted").mkdir()
    (tmp_path / "interrupted" / "shard-00000.arrow").write_bytes(b"half")
    write_store(samples, tmp_path / "interrupted")
    assert is_store(tmp_path / "interrupted")


def test_failure_leaves_nothing_behind(samples: list[Graph], tmp_path: Path) -> None:
    def failing() -> object:
        yield samples[0]
        raise InputError("broken")

    with pytest.raises(InputError, match="broken"):
        write_store(failing(), tmp_path / "store", shard_records=1)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no record"):
        write_store([], tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_two_definitions_of_one_property_are_refused(samples: list[Graph], tmp_path: Path) -> None:
    from dataclasses import replace

    other = replace(samples[1], properties={"log S": scalar_property("log S", "g/l")})
    with pytest.raises(InputError, match="'log S' is defined as"):
        write_store([samples[0], other], tmp_path / "store")


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_found(samples: list[Graph], tmp_path: Path, form: Form) -> None:
    write_store(samples, tmp_path / "store", form=form)
    shard = tmp_path / "store" / f"shard-00000.{form}"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-100])
    with pytest.raises(
        InputError, match=rf"shard-00000.{form}: shard has {len(whole) - 100} bytes, expected {len(whole)}"
    ):
        Store(tmp_path / "store")
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 1
    shard.write_bytes(bytes(flipped))
    with pytest.raises(InputError, match=r"sha256 is \w{12}..., expected \w{12}"):
        Store(tmp_path / "store").verify()
    if form == "parquet":
        with pytest.raises(InputError, match="sha256"):
            Store(tmp_path / "store")[0]
    shard.unlink()
    with pytest.raises(InputError, match="shard is missing"):
        Store(tmp_path / "store")


def test_index_that_is_garbage(tmp_path: Path) -> None:
    for content in ("{", "[]", '{"format": "x"}', ""):
        (tmp_path / "index.json").write_text(content)
        with pytest.raises(InputError, match="is not the index of a store"):
            Store(tmp_path)
    with pytest.raises(InputError, match="is not a store"):
        Store(tmp_path / "nothing")
