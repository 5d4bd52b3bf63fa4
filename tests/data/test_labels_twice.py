"""A label that is given twice is refused in every format, unless both say the same or the user says which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.readers import ReadOptions, read

Write = Callable[[str, str | bytes], Path]


def _xyz(write: Write, first: float, second: float) -> Path:
    return write("a.xyz", f"1\nProperties=species:S:1:pos:R:3 energy={first} REF_energy={second}\nAr 0 0 0\n")


def _sdf(write: Write, first: float, second: float) -> Path:
    items = f">  <energy>\n{first}\n\n>  <REF_energy>\n{second}\n\n$$$$\n"
    atom = "    0.0000    0.0000    0.0000 Ar  0  0"
    return write("a.sdf", f"x\n\n\n  1  0  0  0  0  0  0  0  0  0999 V2000\n{atom}\nM  END\n{items}")


def _csv(write: Write, first: float, second: float) -> Path:
    return write("a.csv", f"smiles,energy,REF_energy\n[Ar],{first},{second}\n")


def _columns(write: Write, first: float, second: float) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = write("a.parquet", "")
    table = {"positions": [[[0.0, 0, 0]]], "numbers": [[18]], "energy": [first], "REF_energy": [second]}
    pq.write_table(pa.table(table), path)
    return path


def _db(write: Write, first: float, second: float) -> Path:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.db import connect

    path = write("x", "").parent / "a.db"
    path.unlink(missing_ok=True)
    atoms = Atoms("Ar")
    atoms.calc = SinglePointCalculator(atoms, energy=first)
    with connect(path) as db:
        db.write(atoms, REF_energy=second)
    return path


def _npz(write: Write, first: float, second: float) -> Path:
    path = write("a.npz", b"")
    arrays = {"positions": np.zeros((2, 1, 3)), "numbers": [18], "energy": [first, first]}
    np.savez(path, **arrays, REF_energy=[second, second])  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("make", [_xyz, _sdf, _csv, _columns, _db, _npz])
def test_two_energies_of_one_record(make: Callable[..., Path], write: Write) -> None:
    path = make(write, -1.5, -2.5)
    with pytest.raises(
        InputError, match=r"'energy' and 'REF_energy' are both energy and differ: -1.5 and -2.5; say which"
    ):
        list(read(path))
    for key, value in (("energy", -1.5), ("REF_energy", -2.5)):
        (graph, *_) = read(path, ReadOptions(map={"energy": key}))
        assert float(graph.quantities["energy"]) == value
    (graph, *_) = read(make(write, -1.5, -1.5))
    assert float(graph.quantities["energy"]) == -1.5


def test_forces_twice(write: Write) -> None:
    text = "1\nProperties=species:S:1:pos:R:3:forces:R:3:REF_forces:R:3\nAr 0 0 0 0 0 {0} 0 0 1\n"
    with pytest.raises(InputError, match="'forces' and 'REF_forces' are both forces and differ"):
        list(read(write("a.xyz", text.format(2))))
    assert len(list(read(write("a.xyz", text.format(1))))) == 1


def test_free_energy_beside_energy_is_usual(write: Write) -> None:
    path = write("a.xyz", "1\nProperties=species:S:1:pos:R:3 energy=-1.0 free_energy=-1.1\nAr 0 0 0\n")
    (graph,) = read(path)
    assert float(graph.quantities["energy"]) == -1.0


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("energy=-1 energy=-2", "a.xyz:2.*key 'energy' is there twice"),
        ('config="a energy=1" energy=-1 config=b', "key 'config' is there twice"),
        ("Properties=species:S:1:pos:R:3:q:R:1:q:R:1", "column 'q' is there twice"),
        (
            "charges=1 Properties=species:S:1:pos:R:3:charges:R:1:q:R:1",
            "is a key of the comment line and a column",
        ),
    ],
)
def test_doubled_keys_and_columns_of_extxyz(write: Write, comment: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(read(write("a.xyz", f"1\n{comment}\nAr 0 0 0 1 1\n")))


def test_quoted_text_is_no_key(write: Write) -> None:
    comment = """note="energy=1 energy=2" other='x=1' list=[1, 2] energy=-1 Lattice="9 0 0 0 9 0 0 0 9" """
    (graph,) = read(write("a.xyz", f"1\n{comment}\nAr 0 0 0\n"))
    assert float(graph.quantities["energy"]) == -1.0


def test_a_doubled_data_item(write: Write) -> None:
    path = _sdf(write, -1.0, -1.0)
    path.write_text(path.read_text().replace("REF_energy", "energy"))
    with pytest.raises(InputError, match="data item 'energy' is there twice"):
        list(read(path))


def test_a_result_and_a_key_of_a_trajectory(tmp_path: Path) -> None:
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write as write_ase

    def graphs(info: float, options: ReadOptions | None = None) -> list[Graph]:
        atoms = Atoms("Ar", info={"energy": info, "mine": -7.0})
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
        write_ase(tmp_path / "a.traj", atoms)
        return list(read(tmp_path / "a.traj", options))

    with pytest.raises(
        InputError, match="'energy' is a result of the calculator and a key of the row, and they differ"
    ):
        graphs(-2.0)
    assert float(graphs(-1.0)[0].quantities["energy"]) == -1.0
    assert float(graphs(-2.0, ReadOptions(map={"energy": "mine"}))[0].quantities["energy"]) == -7.0


def test_one_key_for_two_names() -> None:
    with pytest.raises(
        InputError, match="'energy' and 'dipole' are both read from 'x', expected a key for each"
    ):
        ReadOptions(map={"energy": "x", "dipole": "x"})
    with pytest.raises(InputError, match="'energy' and 'U0' are both read from 'U0'"):
        ReadOptions(map={"energy": "U0"}, targets=("U0",))
    ReadOptions(map={"energy": "U0", "id": "name", "group": "name"}, targets=("energy",))
