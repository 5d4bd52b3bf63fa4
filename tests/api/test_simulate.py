"""What the command reads of a structure, and the options that it refuses."""

from __future__ import annotations

import errno
import sys
from dataclasses import replace
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.constraints import FixAtoms

from atomfield.cli import main
from atomfield.commands.simulate import USED_BY, atoms_of
from atomfield.data.fragments import with_fragments
from atomfield.data.store import write_store
from atomfield.inference.convert import graph_from_atoms
from atomfield.models.checkpoint import save
from tests.physics.subjects import water
from tests.small import morse_clusters, small_network, waves


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = small_network(cutoff=4.0)
    net.atom_head.reference[0, [1, 6]] = -10.0
    return save(net, tmp_path_factory.mktemp("run") / "model")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(morse_clusters(3), tmp_path / "store")
    return tmp_path / "store"


def said(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("every", [False, True])
def test_a_bad_record_is_not_to_be_skipped_by_an_option_that_is_not_there(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], every: bool
) -> None:
    (tmp_path / "two.csv").write_text("smiles\nC\nnope(\n")
    words = ("simulate", checkpoint, tmp_path / "two.csv", "--out", tmp_path / "out")
    line = said(capsys, *words, *(["--all"] if every else []))
    assert "two.csv:3 (record 1): SMILES 'nope(' does not parse" in line
    assert "--on-bad" not in line and "leave it out of the file" in line
    assert not (tmp_path / "out").exists()


def test_charges_of_fragments_come_along() -> None:
    graph = with_fragments(replace(water(), conditions={}), torch.tensor([0, 1, 1]), [-1.0, 1.0], [0.0, 1.0])
    again = graph_from_atoms(atoms_of(graph))
    for name in ("fragment_charge", "fragment_spin"):
        assert torch.equal(again.quantities[name], graph.quantities[name])


@pytest.mark.parametrize(
    ("mode", "option", "value"),
    [
        ("elastic", "--pressure", 5),
        ("nvt", "--pressure", 1),
        ("npt", "--cell", "full"),
        ("npt", "--thermostat", "bussi"),
        ("relax", "--temperature", 500),
        ("eos", "--stop-when", "force>5"),
        ("vibrations", "--resume", None),
        ("nve", "--as-it-is", None),
        ("nve", "--images", 3),
        ("nve", "--fmax", 0.1),
    ],
)
def test_an_option_that_a_mode_leaves_unread_is_refused(
    tmp_path: Path,
    checkpoint: Path,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    option: str,
    value: object,
) -> None:
    given = [option] if value is None else [option, value]
    error = said(capsys, "simulate", checkpoint, store, "--mode", mode, *given, "--out", tmp_path / "out")
    assert f"{option}: --mode {mode} does not use it, only {', '.join(USED_BY[option])}" in error
    assert not (tmp_path / "out").exists()


def test_options_of_one_structure_are_refused_with_all(
    tmp_path: Path, checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["simulate", checkpoint, store, "--all", "--out", tmp_path / "out"]
    assert "--record: --all does not use it" in said(capsys, *words, "--record", 1)
    assert "--interval: --all does not use it" in said(capsys, *words, "--interval", 1)
    assert main([str(word) for word in [*words, "--steps", 1, "--fmax", 1e-6]]) == 0


def test_a_level_is_that_of_every_record_of_a_store(
    tmp_path: Path, checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It used to be read of files alone, and went unread where a store keeps levels of its own."""
    for words in (
        ["simulate", checkpoint, store, "--out", tmp_path / "out"],
        ["simulate", checkpoint, store, "--all", "--out", tmp_path / "out"],
        ["predict", checkpoint, store, "--out", tmp_path / "out.csv"],
        ["predict", checkpoint, store, "--out", tmp_path / "out.npz"],
    ):
        assert "level 'dft' is unknown to this model" in said(capsys, *words, "--level", "dft")
    write_store(waves(1), tmp_path / "waves")
    words = ["rollout", checkpoint, tmp_path / "waves", "--out", tmp_path / "out", "--steps", 1]
    assert "level 'les' is unknown to this model" in said(capsys, *words, "--level", "les")


@pytest.mark.parametrize("name", ["slab.extxyz", "POSCAR"])
def test_atoms_that_the_file_holds_stay(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    slab = Atoms("C4H2", np.random.default_rng(0).uniform(0, 4, (6, 3)), cell=[5, 5, 15], pbc=True)
    slab.set_constraint(FixAtoms([0, 1, 3]))
    ase.io.write(tmp_path / name, slab)
    words = [
        str(w) for w in ("simulate", checkpoint, tmp_path / name, "--steps", 3, "--out", tmp_path / "out")
    ]
    for mode in ("relax", "nve", "nvt"):
        assert main([*words, "--mode", mode]) == 0
        assert "note: 3 of 6 atoms are held fixed" in capsys.readouterr().err
        frames = ase.io.read(tmp_path / "out" / "trajectory.extxyz", ":")
        moved = np.abs(frames[-1].positions - frames[0].positions).max(axis=1)
        assert (moved[[0, 1, 3]] == 0).all()
        assert (moved[[2, 4, 5]] > 0).all()
    for more in (["--mode", "npt"], ["--cell", "full"], ["--mode", "phonons"], ["--all"]):
        assert "all atoms have to move, and the file holds some" in said(capsys, *words, *more)


def test_ends_of_a_path_stay_as_they_are(
    tmp_path: Path,
    checkpoint: Path,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def path(*_: object, relax_ends: bool, **__: object) -> None:
        asked.append(relax_ends)
        raise KeyboardInterrupt

    monkeypatch.setattr("atomfield.inference.reaction_path.reaction_path", path)
    words = ["simulate", checkpoint, store, "--mode", "neb", "--end", store, "--out", tmp_path / "out"]
    for more in ([], ["--as-it-is"]):
        assert main([str(word) for word in [*words, *more]]) == 130
        assert capsys.readouterr().err == "atomfield: interrupted\n"
    assert asked == [True, False]


def test_a_property_of_other_structures_is_refused_before_they_are_relaxed(
    tmp_path: Path, checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for mode in ("eos", "elastic", "phonons"):
        error = said(capsys, "simulate", checkpoint, store, "--mode", mode, "--out", tmp_path / "out")
        assert "periodic in three directions" in error
    assert not (tmp_path / "out" / "relaxed.extxyz").exists()


def test_another_record_is_another_run(
    tmp_path: Path, checkpoint: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clusters of the store have one formula: the first would have gone on under the name of the second."""
    words = ["simulate", checkpoint, store, "--mode", "nve", "--out", tmp_path / "out", "--steps"]
    assert main([str(word) for word in [*words, 2]]) == 0
    assert main([str(word) for word in [*words, 4, "--resume"]]) == 0
    error = said(capsys, *words, 4, "--resume", "--record", 1)
    assert (
        "the run to resume had another structure, or other atoms held fixed; give the same options" in error
    )


def test_all_structures_of_a_file_are_asked_for_held_atoms(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Atoms("CH", [[0, 0, 0], [0, 0, 1.1]]) for _ in range(3)]
    frames[2].set_constraint(FixAtoms([0]))
    ase.io.write(tmp_path / "three.extxyz", frames)
    error = said(
        capsys, "simulate", checkpoint, tmp_path / "three.extxyz", "--all", "--out", tmp_path / "out"
    )
    assert "three.extxyz (record 2): --all: all atoms have to move" in error
    assert not (tmp_path / "out").exists()


def test_nothing_that_could_move(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = Atoms("CH", [[0, 0, 0], [0, 0, 1.1]], constraint=FixAtoms([0, 1]))
    ase.io.write(tmp_path / "still.extxyz", still)
    for mode in ("relax", "nvt"):
        words = ("simulate", checkpoint, tmp_path / "still.extxyz", "--mode", mode, "--out", tmp_path / "out")
        assert "the file holds all atoms fixed, expected some that can move" in said(capsys, *words)


def test_ends_of_a_path_hold_the_same_atoms(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = Atoms("CH", [[0, 0, 0], [0, 0, 1.1]])
    end = Atoms("CH", [[0, 0, 0], [0, 0, 1.5]], constraint=FixAtoms([0]))
    for name, atoms in (("a", start), ("b", end)):
        ase.io.write(tmp_path / f"{name}.extxyz", atoms)
    words = ("simulate", checkpoint, tmp_path / "a.extxyz", "--mode", "neb", "--end", tmp_path / "b.extxyz")
    error = said(capsys, *words, "--out", tmp_path / "out")
    assert "--end: the ends of the path hold other atoms fixed" in error


def test_a_missing_package_is_told_before_the_time_is_spent(
    tmp_path: Path,
    checkpoint: Path,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ase.io.write(tmp_path / "cell.cif", Atoms("CH", [[0, 0, 0], [1, 1, 1.1]], cell=[4, 4, 4], pbc=True))
    write_store(waves(1), tmp_path / "waves")
    for package, words in (
        ("phonopy", ("simulate", checkpoint, tmp_path / "cell.cif", "--mode", "phonons")),
        ("netCDF4", ("predict", checkpoint, store)),
        ("meshio", ("rollout", checkpoint, tmp_path / "waves", "--steps", 2, "--vtk")),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        error = said(capsys, *words, "--out", tmp_path / "out" / ("a.nc" if package == "netCDF4" else ""))
        assert "which is not installed; pip install 'atomfield[" in error
        assert not list((tmp_path / "out").glob("*"))
    error = said(capsys, "predict", checkpoint, tmp_path / "waves", "--out", tmp_path / "out" / "a.extxyz")
    assert "an extxyz file holds atoms, but these are fields" in error


def test_a_full_disk_is_one_line(
    tmp_path: Path,
    checkpoint: Path,
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atomfield.inference.recorder.Recorder.sample", full)
    words = ["simulate", checkpoint, store, "--mode", "nve", "--out", tmp_path / "out"]
    assert main([str(word) for word in words]) == 1
    assert (
        "atomfield: no space left on device; make room and give the command again" in capsys.readouterr().err
    )
    assert "file name too long" in said(capsys, *words[:-1], tmp_path / ("a" * 300))
