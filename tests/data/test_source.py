"""SRC of the command line: files, folders, stores; and what is none of these."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.prepare import prepare
from atomfield.data.readers import ReadOptions, read
from atomfield.data.readers.files import SUFFIXES
from atomfield.data.source import open_source
from atomfield.data.store import Store, write_store

Write = Callable[[str, str | bytes], Path]


def test_store_and_file(samples: list[Graph], tmp_path: Path, write: Write) -> None:
    write_store(samples, tmp_path / "store")
    opened = open_source(tmp_path / "store", ReadOptions(targets=("energy",)))
    assert isinstance(opened, Store)
    with pytest.raises(
        InputError, match=r"store: target 'spam' is not in the store; it holds concentration, energy"
    ):
        open_source(tmp_path / "store", ReadOptions(targets=("spam",)))
    assert len(open_source(write("a.xyz", "1\n\nHe 0 0 0\n"))) == 1


def test_a_store_is_taken_for_the_level_that_is_named(
    samples: list[Graph], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_store(samples, tmp_path / "store")
    assert {g.level for g in open_source(tmp_path / "store")} != {"mine"}
    opened = open_source(tmp_path / "store", ReadOptions(level="mine"))
    assert [g.level for g in opened] == ["mine"] * len(samples)
    assert opened[1:3][0].level == opened[-1].level == "mine"
    with caplog.at_level("WARNING", logger="atomfield"):
        open_source(tmp_path / "store", ReadOptions(units={"energy": "kcal/mol"}))
    assert "--units is ignored: a store has been in eV" in caplog.text
    caplog.clear()
    open_source(tmp_path / "store", ReadOptions(map={"viscosity": "0.5"}))
    assert "--map is ignored: the names of a store are those" in caplog.text


def test_missing_and_unknown(write: Write, tmp_path: Path) -> None:
    path = write("water.xyz", "1\n\nHe 0 0 0\n")
    with pytest.raises(InputError, match=r"watr.xyz: no such file or folder; did you mean .*water.xyz\?"):
        open_source(tmp_path / "watr.xyz")
    with pytest.raises(InputError, match="there is no folder"):
        open_source(tmp_path / "nowhere" / "a.xyz")
    with pytest.raises(InputError, match=r"a.docx: suffix '.docx' is not known; supported: .xyz .extxyz"):
        open_source(write("a.docx", "text"))
    with pytest.raises(InputError, match="is a pickle, which can run code"):
        open_source(write("a.pkl", b"text"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no file with a reader in this folder \(it is empty\)"):
        open_source(tmp_path / "empty")
    (tmp_path / "empty" / "notes.md").write_text("x")
    with pytest.raises(InputError, match=r"\(it holds notes.md\)"):
        open_source(tmp_path / "empty")
    assert path.exists()


def test_starter_part_that_is_not_there() -> None:
    with pytest.raises(InputError, match="the starter corpus has no such part; it has"):
        open_source("starter/spam")


def test_folder_of_files(write: Write) -> None:
    write("f/a.xyz", "1\n\nHe 0 0 0\n")
    folder = write("f/b.smi", "C\nCC\n").parent
    assert [g.dataset for g in read(folder)] == ["a", "b", "b"]


def test_options_are_checked() -> None:
    with pytest.raises(InputError, match="map has 'enrgy', which is neither"):
        ReadOptions(map={"enrgy": "E"})
    with pytest.raises(InputError, match="conformers is 0"):
        ReadOptions(conformers=0)
    with pytest.raises(InputError, match="unit 'stone' of energy is not known"):
        ReadOptions(units={"energy": "stone"})


def test_a_unit_that_would_convert_nothing_is_refused() -> None:
    with pytest.raises(InputError, match=r"--units: found 'REF_energy'.*did you mean energy=kcal/mol\?"):
        ReadOptions(map={"energy": "REF_energy"}, units={"REF_energy": "kcal/mol"})
    with pytest.raises(InputError, match=r"found 'force'.*did you mean forces=hartree/bohr\?"):
        ReadOptions(units={"force": "hartree/bohr"})
    with pytest.raises(InputError, match="found 'gap', which is neither positions, a quantity nor a target"):
        ReadOptions(units={"gap": "meV"})
    ReadOptions(targets=("gap",), units={"gap": "meV", "positions": "bohr"})
    ReadOptions(map={"time": "t"}, units={"x": "m"})  # a series in time names its own columns


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(write: Write) -> None:
    path = write("a.xyz", "1\n\nHe 0 0 0\n")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read"):
        open_source(path)


GARBAGE = {
    "zeros": b"\0" * 200,
    "random": random.Random(0).randbytes(3000),
    "text": b"lorem ipsum, dolor; sit amet\n" * 20,
    "numbers": b"1 2 3\n4 5 6\n" * 10,
    "json": b'{"a": [1, {"b": null}], "structure": 7}',
    "empty": b"",
    "gzip": b"\x1f\x8b\x08\x00broken",
    "zip": b"PK\x03\x04broken",
    "hdf5": b"\x89HDF\r\n\x1a\nbroken",
}


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".json.gz", ".csv.gz", ".csv.zip", ".POSCAR"])
@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_never_gives_a_traceback(write: Write, suffix: str, content: str) -> None:
    """Every reader refuses what is not its kind with one line that names the file."""
    name = "POSCAR" if suffix == ".POSCAR" else f"a{suffix}"
    path = write(name, GARBAGE[content])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(InputError) as caught:
            list(read(path, ReadOptions(on_bad="skip"), []))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_short_files(tmp_path: Path) -> None:
    """Files of which the end is missing."""
    import gzip

    import h5py
    import numpy as np

    arrays = {
        "x": np.arange(50.0),
        "time": np.arange(40.0),
        "pressure": np.random.default_rng(0).normal(size=(40, 50)),
    }
    np.savez(tmp_path / "a.npz", **arrays)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, value in arrays.items():
            file[name] = value
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"smiles,y\n" + b"C,1\n" * 5000))
    for name in ("a.npz", "a.h5", "a.csv.gz"):
        path = tmp_path / name
        assert name in str(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(InputError, match=name):
            list(read(path))


def test_a_mapped_key_that_is_nowhere_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "water.xyz"
    file.write_text(
        "3\nProperties=species:S:1:pos:R:3 REF_energy=-1.0\nO 0 0 0\nH 0 0 0.96\nH 0.93 0 -0.24\n"
    )
    options = ReadOptions(map={"energy": "DFT_energy"})
    with pytest.raises(InputError, match="no record has 'DFT_energy' \\(for energy\\)"):
        list(read(file, options))
    with pytest.raises(InputError, match="'DFT_energy'"):
        prepare([str(file)], tmp_path / "store", options)
    assert next(iter(read(file, ReadOptions(map={"energy": "REF_energy"})))).quantities["energy"] == -1.0
