"""ASE's databases and trajectories and fairchem's LMDB, against the Atoms that were written."""

from __future__ import annotations

import json
import pickle
import sqlite3
import zlib
from pathlib import Path

import ase.db
import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.jsonio import encode

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.readers import BadRecord, ReadOptions, read


@pytest.fixture
def frames() -> list[Atoms]:
    rng = np.random.default_rng(0)
    out = []
    for i in range(3):
        atoms = (
            bulk("NaCl", "rocksalt", a=5.6)
            if i
            else Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        )
        atoms.rattle(0.01, seed=i)
        stress = rng.normal(size=6) if i else None
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=rng.normal(),
            free_energy=rng.normal(),
            forces=rng.normal(size=(len(atoms), 3)),
            stress=stress,
        )
        out.append(atoms)
    return out


def _same(graphs: list[Graph], frames: list[Atoms]) -> None:
    assert len(graphs) == len(frames)
    for i, (graph, atoms) in enumerate(zip(graphs, frames, strict=True)):
        assert graph.provenance.record == i
        assert graph.species.tolist() == atoms.numbers.tolist()
        assert graph.pbc.tolist() == atoms.pbc.tolist()
        np.testing.assert_array_equal(graph.positions, atoms.positions)
        if atoms.pbc.any():
            np.testing.assert_array_equal(graph.cell, atoms.cell[:])
            np.testing.assert_allclose(graph.quantities["stress"], atoms.get_stress(voigt=False))
        assert graph.quantities["energy"].item() == atoms.get_potential_energy()
        np.testing.assert_array_equal(graph.quantities["forces"], atoms.get_forces())


@pytest.mark.parametrize("name", ["a.db", "a.json"])
def test_databases(name: str, frames: list[Atoms], tmp_path: Path) -> None:
    with ase.db.connect(tmp_path / name) as database:
        for i, atoms in enumerate(frames):
            database.write(atoms, key_value_pairs={"gap": 0.5 + i}, data={"volume_ratio": np.arange(3.0)})
    before = (tmp_path / name).read_bytes()
    _same(list(read(tmp_path / name)), frames)
    assert (tmp_path / name).read_bytes() == before
    graphs = list(read(tmp_path / name, ReadOptions(targets=("gap",))))
    assert [g.quantities["gap"].item() for g in graphs] == [0.5, 1.5, 2.5]
    free = [
        g.quantities["energy"].item()
        for g in read(tmp_path / name, ReadOptions(map={"energy": "free_energy"}))
    ]
    assert free == [a.get_potential_energy(force_consistent=True) for a in frames]


def test_trajectory(frames: list[Atoms], tmp_path: Path) -> None:
    ase.io.write(tmp_path / "a.traj", frames)
    _same(list(read(tmp_path / "a.traj")), frames)
    ase.io.write(tmp_path / "b.traj", frames[1:])
    _same(list(read(tmp_path / "b.traj")), frames[1:])


def test_lmdb(frames: list[Atoms], tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(tmp_path / "a.aselmdb"), subdir=False, map_size=2**20)
    with environment, environment.begin(write=True) as transaction:
        for i, atoms in enumerate([*frames, frames[0]], start=1):
            row = {"numbers": atoms.numbers, "positions": atoms.positions, "cell": atoms.cell[:], "pbc": atoms.pbc,
                       **atoms.calc.results, "key_value_pairs": {"gap": 1.0}, "data": {"sid": "x"}}  # fmt: skip
            row = {k: v for k, v in row.items() if v is not None}
            transaction.put(str(i).encode(), zlib.compress(encode(row).encode()))
        transaction.put(b"nextid", zlib.compress(b"5"))
        transaction.put(b"deleted_ids", zlib.compress(b"[4]"))
        transaction.put(b"metadata", zlib.compress(b"{}"))
    _same(list(read(tmp_path / "a.aselmdb")), frames)


def test_pickles_are_refused(tmp_path: Path) -> None:
    lmdb = pytest.importorskip("lmdb")
    environment = lmdb.open(str(tmp_path / "a.aselmdb"), subdir=False, map_size=2**20)
    with environment, environment.begin(write=True) as transaction:
        transaction.put(b"1", pickle.dumps({"numbers": [1]}))
    with pytest.raises(InputError, match=r"a.aselmdb \(record 0\): is a pickle, which can run code"):
        list(read(tmp_path / "a.aselmdb"))
    (tmp_path / "a.traj").write_bytes(b"PickleTrajectory" + pickle.dumps([1]))
    with pytest.raises(InputError, match="is a pickle"):
        list(read(tmp_path / "a.traj"))
    (tmp_path / "a.lmdb").write_bytes(b"x")
    with pytest.raises(InputError, match="is a pickle"):
        list(read(tmp_path / "a.lmdb"))


def test_bad_rows(frames: list[Atoms], tmp_path: Path) -> None:
    """One row of three is damaged: it is named, the others are read."""
    path = tmp_path / "a.db"
    with ase.db.connect(path) as database:
        for atoms in frames:
            database.write(atoms)
    wrong = {
        "positions": (b"\0" * 7, "no array of float64"),
        "numbers": (np.array([0, 11], dtype="<i4").tobytes(), "atomic number of atom 0 is 0"),
        "cell": (np.full(9, np.nan).tobytes(), "not finite"),
        "forces": (np.zeros(3).tobytes(), "forces have 3 numbers"),
        "key_value_pairs": ("{broken", "is not ASE's JSON"),
        "energy": ("text", "expected a number"),
    }
    for column, (value, expected) in wrong.items():
        with sqlite3.connect(path) as connection:
            (old,) = connection.execute(f"SELECT {column} FROM systems WHERE id = 2").fetchone()
            connection.execute(f"UPDATE systems SET {column} = ? WHERE id = 2", (value,))
        bad: list[BadRecord] = []
        assert len(list(read(path, ReadOptions(on_bad="skip"), bad))) == 2, column
        assert bad[0].where.record == 1
        assert expected in bad[0].message
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE systems SET {column} = ? WHERE id = 2", (old,))
        connection.close()
    assert json.dumps(len(list(read(path)))) == "3"
