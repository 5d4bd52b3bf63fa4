"""``prepare`` writes the same store with any number of workers and after any interruption, and says what is wrong in order."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atomfield.data import chunks as chunks_module
from atomfield.data import copying as copying_module
from atomfield.data import journal as journal_module
from atomfield.data import parts as parts_module
from atomfield.data import shards as shards_module
from atomfield.data.checks import check_share, listed_bad
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.journal import Journal
from atomfield.data.parts import parts_of
from atomfield.data.prepare import prepare
from atomfield.data.readers import ReadOptions, read
from atomfield.data.shards import Form
from atomfield.data.store import Store, is_store, write_store

from .test_store import assert_equal

SKIP = ReadOptions(on_bad="skip")


def frames(path: Path, count: int, *, seed: int = 0, bad: tuple[int, ...] = ()) -> Path:
    """An extxyz file of ``count`` molecules; in ``bad`` ones two atoms are on one place."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(count):
        size = int(rng.integers(2, 6))
        positions = rng.normal(size=(size, 3)) + 3 * np.arange(size)[:, None]
        if i in bad:
            positions[1] = positions[0]
        forces = rng.normal(size=(size, 3))
        lines += [
            str(size),
            f"Properties=species:S:1:pos:R:3:forces:R:3 energy={rng.normal()!r} charge={i % 2}",
        ]
        lines += [" ".join(["CHNO"[k % 4], *map(repr, (*map(float, p), *map(float, f)))]) for k, (p, f) in
                  enumerate(zip(positions, forces, strict=True))]  # fmt: skip
    path.write_text("\n".join(lines) + "\n")
    return path


def files_of(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.iterdir()}


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of any size are cut into chunks."""
    monkeypatch.setattr(parts_module, "_GROUP_BYTES", 0)


@pytest.fixture
def sources(tmp_path: Path, samples: list[Graph], cut: None) -> list[str]:
    """Two files that are cut into chunks, a folder of structures with their table, and a store."""
    one, two = frames(tmp_path / "one.xyz", 53, bad=(7, 31)), frames(tmp_path / "two.xyz", 24, seed=1)
    write_store(samples, tmp_path / "given", shard_records=5)
    folder = tmp_path / "cifs"
    folder.mkdir()
    rows = ["id,gap"]
    for i in range(7):
        (folder / f"s{i}.vasp").write_text(
            f"NaCl\n1.0\n4 0 0\n0 4 0\n0 0 {4 + i / 10}\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
        )
        rows.append(f"s{i},{i}")
    (folder / "table.csv").write_text("\n".join(rows) + "\n")
    return [str(one), str(folder), str(two), str(tmp_path / "given")]


def test_what_is_written_is_what_is_read(sources: list[str], tmp_path: Path, samples: list[Graph]) -> None:
    done = prepare(sources, tmp_path / "store", SKIP, chunk_records=10)
    expected = [g for s in sources[:3] for g in read(s, SKIP, [])] + samples
    store = Store(tmp_path / "store")
    assert len(store) == len(expected) == 51 + 7 + 24 + 14 == done.new_records
    for a, b in zip(expected, store, strict=True):
        assert_equal(a, b)
    assert [b.where.record for b in done.bad] == [7, 31]
    assert store.index["num_bad_records"] == 2
    store.verify()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifs", "given", "one.xyz", "store", "two.xyz"]
    assert not [
        p for p in (tmp_path / "store").iterdir() if p.name in (journal_module.JOURNAL, journal_module.LOCK)
    ]


def test_workers_write_the_same_bytes(sources: list[str], tmp_path: Path) -> None:
    prepare(sources, tmp_path / "a", SKIP, chunk_records=10)
    shards = Store(tmp_path / "a").index["shards"]
    assert [s["rows"] for s in shards] == [9, 10, 10, 9, 10, 3, 7, 10, 10, 4, 10, 4]
    seen: list[int] = []
    prepare(sources, tmp_path / "b", SKIP, chunk_records=10, workers=3, progress=seen.append)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert seen[-1] == 98
    place = r"one.xyz:\d+ \(record 7\): atoms 0 and 1 are 0 angstrom apart.*--on-bad skip"
    with pytest.raises(InputError, match=place):
        prepare(sources, tmp_path / "c", chunk_records=10, workers=2)
    assert not is_store(tmp_path / "c")


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [0, 1, 3, 7, 9, 14])
def test_interrupted_and_given_again(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Ended at the ``after``-th line of the journal; the next run rebuilds only what is missing."""
    prepare(sources, tmp_path / "whole", SKIP, chunk_records=10)
    add, lines = Journal.add, []

    def dying(self: Journal, entry: dict[str, Any]) -> None:
        if len(lines) == after:
            raise _Killed
        lines.append(entry)
        add(self, entry)

    monkeypatch.setattr(Journal, "add", dying)
    with pytest.raises(_Killed):
        prepare(sources, tmp_path / "again", SKIP, chunk_records=10)
    assert not is_store(tmp_path / "again")
    later: list[tuple[int, int]] = []

    def noting(self: Journal, entry: dict[str, Any]) -> None:
        later.append((entry["part"], entry.get("chunk", -1)))
        add(self, entry)

    monkeypatch.setattr(Journal, "add", noting)
    done = prepare(sources, tmp_path / "again", SKIP, chunk_records=10)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "again")
    assert not {(e["part"], e["chunk"]) for e in lines if "chunk" in e} & set(later)
    assert [b.where.record for b in done.bad] == [7, 31]


@pytest.mark.parametrize("damage", ["torn line", "shard cut", "shard altered", "shard gone"])
def test_a_damaged_draft_is_mended(
    sources: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    prepare(sources, tmp_path / "whole", SKIP, chunk_records=10)
    with monkeypatch.context() as patch:
        patch.setattr("atomfield.data.prepare._finish", lambda *given: (_ for _ in ()).throw(_Killed))
        with pytest.raises(_Killed):
            prepare(sources, tmp_path / "again", SKIP, chunk_records=10)
    draft = tmp_path / ".again.partial"
    shard = sorted(draft.glob("*.arrow"))[2]
    content = shard.read_bytes()
    match damage:
        case "torn line":
            journal = (draft / journal_module.JOURNAL).read_bytes()
            (draft / journal_module.JOURNAL).write_bytes(journal[: len(journal) // 2])
        case "shard cut":
            shard.write_bytes(content[:-9])
        case "shard altered":
            shard.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
        case _:
            shard.unlink()
    prepare(sources, tmp_path / "again", SKIP, chunk_records=10)
    assert files_of(tmp_path / "whole") == files_of(tmp_path / "again")


def test_a_changed_source_begins_anew(tmp_path: Path, cut: None, monkeypatch: pytest.MonkeyPatch) -> None:
    source = frames(tmp_path / "one.xyz", 30)
    with monkeypatch.context() as patch:
        patch.setattr("atomfield.data.prepare._finish", lambda *given: (_ for _ in ()).throw(_Killed))
        with pytest.raises(_Killed):
            prepare([str(source)], tmp_path / "store", chunk_records=10)
    frames(source, 30, seed=5)
    prepare([str(source)], tmp_path / "store", chunk_records=10)
    for a, b in zip(read(source), Store(tmp_path / "store"), strict=True):
        assert_equal(a, b)


def test_bad_record_leaves_finished_chunks_for_the_next_run(
    tmp_path: Path, cut: None, caplog: pytest.LogCaptureFixture
) -> None:
    source = frames(tmp_path / "one.xyz", 40, bad=(25,))
    with pytest.raises(InputError, match=r"record 25"):
        prepare([str(source)], tmp_path / "store", chunk_records=10)
    with caplog.at_level(logging.WARNING):
        prepare([str(source)], tmp_path / "store", SKIP, chunk_records=10)
    assert "goes on after 2 chunks" in caplog.text
    assert len(Store(tmp_path / "store")) == 39


def test_the_same_call_again_does_nothing(tmp_path: Path) -> None:
    source = frames(tmp_path / "one.xyz", 9)
    assert prepare([str(source)], tmp_path / "store").new_records == 9
    before = files_of(tmp_path / "store")
    (tmp_path / "store" / journal_module.JOURNAL).write_text("left over by a kill after the rename")
    again = prepare([str(source)], tmp_path / "store")
    assert (again.new_records, again.index["num_records"]) == (0, 9)
    assert files_of(tmp_path / "store") == before
    os.utime(source)
    with pytest.raises(InputError, match="is a store already"):
        prepare([str(source)], tmp_path / "store")


def test_append(tmp_path: Path, samples: list[Graph], cut: None) -> None:
    one, two = frames(tmp_path / "one.xyz", 20, bad=(3,)), frames(tmp_path / "two.xyz", 25, seed=1, bad=(8,))
    prepare([str(one)], tmp_path / "store", SKIP, chunk_records=10)
    reader = Store(tmp_path / "store")
    first = reader[0]
    done = prepare([str(two)], tmp_path / "store", SKIP, append=True, chunk_records=10)
    assert done.new_records == 24
    assert [b.where.record for b in done.bad] == [8]
    store = Store(tmp_path / "store")
    expected = [*read(one, SKIP, []), *read(two, SKIP, [])]
    for a, b in zip(expected, store, strict=True):
        assert_equal(a, b)
    store.verify()
    assert_equal(first, reader[0])  # who has the store open keeps what it had
    index = store.index
    assert index["num_records"] == 43
    assert index["num_nodes"] == sum(g.num_nodes for g in expected)
    assert index["quantities"]["energy"]["records"] == 43
    assert index["conditions"] == dict(Counter({"charge": 43}))
    assert index["num_bad_records"] == 2
    assert len(json.loads((tmp_path / "store" / "bad_records.json").read_text())) == 2
    assert prepare([str(two)], tmp_path / "store", SKIP, append=True, chunk_records=10).new_records == 0
    assert len(Store(tmp_path / "store")) == 43
    with pytest.raises(InputError, match="is not a store, so nothing can be appended"):
        prepare([str(two)], tmp_path / "other", append=True)


def test_append_that_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: None) -> None:
    """At any rename: the store is whole all the time, and the rerun appends once."""
    one, two = frames(tmp_path / "one.xyz", 12), frames(tmp_path / "two.xyz", 35, seed=1, bad=(8,))
    prepare([str(one)], tmp_path / "base", SKIP, chunk_records=10)
    shutil.copytree(tmp_path / "base", tmp_path / "expected")
    prepare([str(two)], tmp_path / "expected", SKIP, append=True, chunk_records=10)
    replace = os.replace
    for survived in range(1, 8):
        store = tmp_path / f"store{survived}"
        shutil.copytree(tmp_path / "base", store)
        left = [survived]

        def dying(a: Any, b: Any, left: list[int] = left) -> None:
            if left[0] == 0:
                raise _Killed
            left[0] -= 1
            replace(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", dying)
            try:
                prepare([str(two)], store, SKIP, append=True, chunk_records=10)
            except _Killed:
                Store(store).verify()
                assert len(Store(store)) in (12, 46)
        prepare([str(two)], store, SKIP, append=True, chunk_records=10)
        assert files_of(store) == files_of(tmp_path / "expected")
        assert not (tmp_path / f".store{survived}.partial").exists()


def test_append_follows_the_rules_of_the_store(tmp_path: Path, write: Callable[[str, str], Path]) -> None:
    table = write("a.csv", "smiles,y\nCCO,1\n")
    prepare([str(table)], tmp_path / "store", ReadOptions(targets=("y",), units={}))
    other = write("b.csv", "smiles,y\nCC,2\n")
    with pytest.raises(InputError, match="property 'y' is defined as"):
        prepare(
            [str(other)], tmp_path / "store", ReadOptions(targets=("y",), units={"y": "g/l"}), append=True
        )
    assert len(Store(tmp_path / "store")) == 1


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    source = frames(tmp_path / "one.xyz", 9)
    journal = Journal(tmp_path / ".store.partial", "recipe")
    with pytest.raises(InputError, match="another process is writing here"):
        prepare([str(source)], tmp_path / "store")
    journal.close()


class Sizes:
    """A watch that counts atoms and refuses records of two."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def see(self, graph: Graph) -> None:
        if graph.num_nodes == 2:
            raise InputError("has two atoms")
        self.sizes.append(graph.num_nodes)

    def findings(self) -> list[int]:
        return self.sizes


def test_watch_sees_every_record_in_order(tmp_path: Path, cut: None) -> None:
    source = frames(tmp_path / "one.xyz", 40)
    done = prepare([str(source)], tmp_path / "store", SKIP, chunk_records=10, watch=Sizes)
    sizes = [g.num_nodes for g in read(source)]
    assert [len(f) > 0 for f in done.findings] == [True] * 4
    assert [n for found in done.findings for n in found] == [n for n in sizes if n > 2]
    assert [b.where.record for b in done.bad] == [i for i, n in enumerate(sizes) if n == 2]
    assert done.bad[0].message == "has two atoms"


def test_sources_that_hold_nothing(tmp_path: Path, write: Callable[[str, str], Path]) -> None:
    good, bad = frames(tmp_path / "good.xyz", 3), frames(tmp_path / "bad.xyz", 2, bad=(0, 1))
    with pytest.raises(
        InputError, match=r"bad.xyz: all 2 records were refused, the first: .*bad.xyz:1 \(record 0\)"
    ):
        prepare([str(good), str(bad)], tmp_path / "store", SKIP)
    empty = write("empty.xyz", "\n")
    with pytest.raises(InputError, match="empty.xyz: no records found"):
        prepare([str(good), str(empty)], tmp_path / "store")
    with pytest.raises(InputError, match="no such file"):
        prepare([str(tmp_path / "none.xyz")], tmp_path / "store")
    truncated = write("cut.xyz", good.read_text()[:-40])
    with pytest.raises(InputError, match="cut.xyz"):
        prepare([str(truncated)], tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_warning_is_said_once(tmp_path: Path, cut: None, caplog: pytest.LogCaptureFixture) -> None:
    source = frames(tmp_path / "one.xyz", 100)
    source.write_text(source.read_text().replace(" energy=", " dft_energy="))
    with caplog.at_level(logging.WARNING):
        prepare([str(source)], tmp_path / "store", workers=2, chunk_records=10)
    assert caplog.text.count("'dft_energy' not read") == 1


@pytest.mark.parametrize("name", ["a.csv", "a.sdf", "a.cif"])
def test_every_kind_that_is_shared(
    tmp_path: Path, cut: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one worker passes over another builds: two passes that take every other chunk make the whole."""
    from rdkit import Chem

    path, options = tmp_path / name, ReadOptions(on_bad="skip", conformers=2)
    smiles = ["CCO", "CC", "C1", "OO", "CN", "CCC", "CF", "N", "CO", "CCl", "C#N"]
    match name:
        case "a.csv":
            path.write_text("\n".join(["smiles", *smiles]) + "\n")
        case "a.sdf":
            blocks = [Chem.MolToMolBlock(m) + "$$$$\n" for s in smiles if (m := Chem.MolFromSmiles(s))]
            path.write_text("".join([*blocks[:4], blocks[4].replace("C", "Q"), *blocks[4:]]))
        case _:
            sites = "loop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n"
            lengths = "_cell_length_a {a}\n_cell_length_b 4\n_cell_length_c 4\n"
            cell = lengths + "".join(f"_cell_angle_{x} 90\n" for x in ("alpha", "beta", "gamma"))
            path.write_text(
                "".join(f"data_{i}\n{cell.format(a=4 + i)}{sites}Na 0 0 0\nCl .5 .5 .5\n" for i in range(11))
            )
    prepare([str(path)], tmp_path / "one", options, chunk_records=3)
    prepare([str(path)], tmp_path / "two", options, chunk_records=3, workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert len(Store(tmp_path / "one").index["shards"]) >= 4
    bad: list[Any] = []
    for a, b in zip(read(path, options, bad), Store(tmp_path / "one"), strict=True):
        assert_equal(a, b)
    assert len(bad) == Store(tmp_path / "one").index["num_bad_records"]


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_records_of_a_store_are_copied_as_they_would_be_encoded(
    tmp_path: Path, samples: list[Graph], form: Form, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames(tmp_path / "one.xyz", 20)
    write_store([*samples, *read(str(tmp_path / "one.xyz"))], tmp_path / "given", shard_records=7, form=form)
    prepare([str(tmp_path / "given")], tmp_path / "copied", chunk_records=10, form=form)
    monkeypatch.setattr(chunks_module, "copied", lambda store, start, stop: None)
    prepare([str(tmp_path / "given")], tmp_path / "encoded", chunk_records=10, form=form)
    assert files_of(tmp_path / "copied") == files_of(tmp_path / "encoded")
    monkeypatch.undo()
    monkeypatch.setattr(copying_module, "SHARD_BYTES", 1000)
    monkeypatch.setattr(shards_module, "SHARD_BYTES", 1000)
    prepare([str(tmp_path / "given")], tmp_path / "small", chunk_records=10, form=form)
    store = Store(tmp_path / "small")
    assert len(store.index["shards"]) > 4
    for a, b in zip(Store(tmp_path / "given"), store, strict=True):
        assert_equal(a, b)


def test_a_table_of_many_rows_is_cut_into_chunks(tmp_path: Path) -> None:
    """A row is small and takes long: a file of few bytes is shared among workers all the same."""
    rows = "".join(f"{'C' * (1 + i % 3)}O,{i}\n" for i in range(5000))
    (tmp_path / "large.csv").write_text("smiles,y\n" + rows)
    (tmp_path / "small.csv").write_text("smiles,y\nCCO,1\n")
    parts = parts_of([str(tmp_path)], ("y",), 2000)
    assert [(Path(part.paths[0]).name, part.shared) for part in parts] == [
        ("large.csv", True),
        ("small.csv", False),
    ]


def test_what_has_no_label_is_left_out_of_a_store_and_listed(tmp_path: Path) -> None:
    """As when a file is read, whatever ``on_bad`` says; a file whose records all lack the key is refused."""
    table = tmp_path / "a.csv"
    table.write_text("smiles,y\nC,1\nCC,\nCCC,3\n")
    done = prepare([str(table)], tmp_path / "store", ReadOptions(targets=("y",)))
    assert done.new_records == 2
    assert [(one.where.line, one.gap) for one in done.bad] == [(3, "empty")]
    assert [one.gap for one in listed_bad(tmp_path / "store")] == ["empty"]
    check_share(done.bad, 2, 0.01, "a.csv")
    frames = tmp_path / "b.xyz"
    frames.write_text("1\ngap=1.5\nHe 0 0 0\n" * 3)
    with pytest.raises(InputError, match="target 'energy' is not in the file; keys found: gap"):
        prepare([str(frames)], tmp_path / "other", ReadOptions(targets=("energy",)))
