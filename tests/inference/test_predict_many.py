"""Predictions in parts: the same file for any number of processes and kills, nothing lost or doubled."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from ase import Atoms

from atomfield.cli import main
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.store import Store, write_store
from atomfield.inference.parts import Parts
from atomfield.inference.predict import predict_graphs
from atomfield.inference.predict_many import Work, identity_of, predict_many
from atomfield.models import checkpoint
from tests.physics.subjects import crystal
from tests.small import morse_clusters, small_network


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = small_network(levels=("morse", "wave"), cutoff=4.0)
    net.atom_head.reference[0, [1, 6]] = -10.0
    return checkpoint.save(net, tmp_path_factory.mktemp("checkpoint") / "model")


def records() -> list[Graph]:
    """Clusters, and one crystal with a stress that only its part has."""
    known = replace(crystal(), species=torch.tensor([6, 6, 1, 1, 6]), level="morse", quantities={})
    return [*morse_clusters(20), known, *morse_clusters(16, seed=1)]


def work_of(folder: Path, source, out: Path, skip_bad: bool = False, chunk: int = 5) -> Work:
    parts = Parts(out, len(source), {"source": identity_of(source)}, chunk)
    return Work(folder, "cpu", None, source, parts, True, None, skip_bad, 60_000)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".extxyz"])
def test_parts_are_one_file_in_order(folder: Path, tmp_path: Path, suffix: str) -> None:
    source = records()
    out = tmp_path / f"answers{suffix}"
    count, bad = predict_many(work_of(folder, source, out))
    assert (count, bad) == (37, [])
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    expected = np.array([float(p["energy"]) for p in predict_graphs(checkpoint.load(folder), source)])
    match suffix:
        case ".csv":
            rows = list(csv.DictReader(out.read_text().splitlines()))
            found = [float(r["energy"]) for r in rows]
            assert [int(r["index"]) for r in rows] == list(range(37))
            assert [bool(r["stress_xx"]) for r in rows] == [k == 20 for k in range(37)]
        case ".parquet":
            table = parquet.read_table(out)
            found = table["energy"].to_pylist()
            assert table["index"].to_pylist() == list(range(37))
            assert [v is not None for v in table["stress_xx"].to_pylist()] == [k == 20 for k in range(37)]
            assert len(table["forces"][20].as_py()) == 15
        case ".extxyz":
            found = [a.get_potential_energy() for a in ase.io.read(out, ":")]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("suffix", [".npz", ".nc", ".csv"])
def test_unseen_elements_are_refused_whatever_is_written(
    folder: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ase.io.write(
        tmp_path / "in.xyz", [Atoms("CH", [[0, 0, 0], [0, 0, 1.1]]), Atoms("CXe", [[0, 0, 0], [0, 0, 2.0]])]
    )
    command = ["predict", str(folder), str(tmp_path / "in.xyz"), "--out", str(tmp_path / f"out{suffix}")]
    assert main(command) == 2
    assert "has not seen Xe" in capsys.readouterr().err
    assert not (tmp_path / f"out{suffix}").exists()
    assert main([*command, "--on-bad", "skip", "--max-bad", "0.5"]) == 0
    told = capsys.readouterr()
    assert "skipped 1 bad record" in told.err
    assert "(1 record)" in told.out
    (tmp_path / "in.csv").write_text("smiles\nC\nnope(\n[Xe]\n")
    command[2] = str(tmp_path / "in.csv")  # one of two is read, and one of these answered
    assert main([*command, "--on-bad", "skip", "--max-bad", "0.6"]) == 2
    assert "skipped 2 of 3 records (66.7%)" in capsys.readouterr().err
    (tmp_path / "in.csv").write_text("smiles\n[Xe]\n")
    assert main([*command, "--on-bad", "skip", "--max-bad", "1"]) == 2
    assert "all 1 records were refused, the first:" in (error := capsys.readouterr().err)
    assert "has not seen Xe" in error


def test_what_is_finished_is_not_done_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atomfield.inference import predict_many as module

    source, out = records(), tmp_path / "answers.csv"
    predict_many(work_of(folder, source, tmp_path / "whole.csv"))
    calls: list[int] = []
    real = module.do_part

    def dying(work: Work, net, number: int) -> None:
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(number)
        real(work, net, number)

    monkeypatch.setattr(module, "do_part", dying)
    with pytest.raises(KeyboardInterrupt):
        predict_many(work_of(folder, source, out))
    assert not out.exists()
    calls.clear()
    monkeypatch.setattr(
        module, "do_part", lambda work, net, number: (calls.append(number), real(work, net, number))
    )
    predict_many(work_of(folder, source, out))
    assert calls == [3, 4, 5, 6, 7]
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_parts_of_other_work_are_thrown_away(folder: Path, tmp_path: Path) -> None:
    source, out = records(), tmp_path / "answers.csv"
    work = work_of(folder, source, out)
    work.parts.prepare()
    work.parts.path(0).with_suffix(".json").write_text('{"count": 5, "bad": []}')
    other = [replace(g, conditions={"charge": 1.0}) for g in source]
    assert identity_of(other) != identity_of(source)
    neutral, ions = (
        [replace(g, quantities={"fragment_charge": torch.full((g.num_nodes,), charge)}) for g in source]
        for charge in (0.0, 1.0)
    )
    assert identity_of(neutral) != identity_of(ions)
    again = work_of(folder, other, out)
    assert again.parts.prepare() == list(range(8))
    assert again.parts.prepare() == list(range(8))


SCRIPT = """
if __name__ == "__main__":
    import sys
    from pathlib import Path
    from atomfield.data.store import Store
    from atomfield.inference.parts import Parts
    from atomfield.inference.predict_many import Work, identity_of, predict_many
    store = Store(sys.argv[2])
    parts = Parts(Path(sys.argv[3]), len(store), {"source": identity_of(store)}, 10)
    predict_many(Work(Path(sys.argv[1]), "cpu", None, store, parts, True, None, False, 60_000), workers=2)
"""


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As each of two workers has on two cores: sums over several threads round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_killed_with_its_workers_and_resumed(folder: Path, tmp_path: Path) -> None:
    """kill -9 of the main process while two workers write; the same call goes on and the file is that of an undisturbed run."""
    write_store(morse_clusters(400), tmp_path / "store")
    predict_many(work_of(folder, Store(tmp_path / "store"), tmp_path / "whole.csv", chunk=10))
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    out = tmp_path / "answers.csv"
    command = [sys.executable, str(script), str(folder), str(tmp_path / "store"), str(out)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, cwd=root)
    parts = tmp_path / ".answers.csv.parts"
    end = time.monotonic() + 60
    while time.monotonic() < end and len(list(parts.glob("part-*.json"))) < 4:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(list(parts.glob("part-*.json")))
    assert 4 <= done <= 40
    predict_many(work_of(folder, Store(tmp_path / "store"), out, chunk=10))
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [int(r["index"]) for r in csv.DictReader(out.read_text().splitlines())] == list(range(400))


def test_what_cannot_be_answered(folder: Path, tmp_path: Path) -> None:
    source = records()
    species = source[7].species.clone()
    species[2] = 54
    source[7] = replace(source[7], species=species)
    with pytest.raises(
        InputError, match=r"record 7\): the model has not seen Xe \(atom 2\) at level 'morse'.*it knows H, C"
    ):
        predict_many(work_of(folder, source, tmp_path / "a.csv"))
    count, bad = predict_many(work_of(folder, source, tmp_path / "b.csv", skip_bad=True))
    assert count == 36
    assert "Xe" in bad[0].message
    rows = list(csv.DictReader((tmp_path / "b.csv").read_text().splitlines()))
    assert [int(r["index"]) for r in rows] == [k for k in range(37) if k != 7]
    with pytest.raises(InputError, match="workers is 0"):
        predict_many(work_of(folder, source, tmp_path / "c.csv"), workers=0)


def test_a_level_that_is_named_answers_for_every_record(tmp_path: Path) -> None:
    """Of a store too, whose records have levels of their own."""
    net = small_network(levels=("morse", "other"), cutoff=4.0)
    net.atom_head.reference[:, [1, 6]] = -10.0
    folder = checkpoint.save(net, tmp_path / "model")
    write_store(morse_clusters(4), tmp_path / "store")
    store = Store(tmp_path / "store")
    work = replace(work_of(folder, store, tmp_path / "answers.csv"), level="other")
    predict_many(work)
    found = [float(r["energy"]) for r in csv.DictReader((tmp_path / "answers.csv").read_text().splitlines())]
    for level, same in (("other", True), ("morse", False)):
        expected = predict_graphs(checkpoint.load(folder), [replace(g, level=level) for g in store])
        assert np.allclose(found, [float(p["energy"]) for p in expected], rtol=1e-6) == same
