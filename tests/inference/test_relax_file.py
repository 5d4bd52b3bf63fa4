"""Many structures relaxed in parts: the same files whether or not the work was broken off, and nothing computed twice."""

from __future__ import annotations

import csv
from pathlib import Path

import ase.io
import numpy as np
import pytest

from atomfield.inference import relax_file as module
from atomfield.inference.relax_file import relax_file
from atomfield.inference.together import relax_many
from atomfield.models.network import AtomFieldNet
from tests.small import morse_clusters, small_network


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    net = small_network(cutoff=4.0)
    net.atom_head.reference[0, [1, 6]] = -10.0
    return net


def go(net: AtomFieldNet, folder: Path, done=lambda count: None, **about: object) -> list[dict[str, str]]:
    return relax_file(net, morse_clusters(8), folder, fmax=1e-4, steps=4, about=about, chunk=3, done=done)


def test_the_files_are_those_of_one_call(net: AtomFieldNet, tmp_path: Path) -> None:
    counted: list[int] = []
    rows = go(net, tmp_path, counted.append)
    assert sum(counted) == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["relaxed.csv", "relaxed.extxyz"]
    assert rows == list(csv.DictReader((tmp_path / "relaxed.csv").read_text().splitlines()))
    assert [int(row["index"]) for row in rows] == list(range(8))
    whole = relax_many(net, morse_clusters(8), fmax=1e-4, steps=4)
    for row, atoms, one in zip(rows, ase.io.read(tmp_path / "relaxed.extxyz", ":"), whole, strict=True):
        assert float(row["energy_eV"]) == pytest.approx(one.energy, rel=1e-6)
        assert atoms.get_potential_energy() == pytest.approx(one.energy, rel=1e-6)
        np.testing.assert_allclose(atoms.positions, one.positions, atol=1e-4)


def test_after_a_kill_what_is_there_is_kept(
    net: AtomFieldNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go(net, tmp_path / "whole")
    asked: list[int] = []

    def mortal(net, graphs, **options):
        asked.append(len(graphs))
        if len(asked) == 2:
            raise KeyboardInterrupt
        return relax_many(net, graphs, **options)

    monkeypatch.setattr(module, "relax_many", mortal)
    with pytest.raises(KeyboardInterrupt):
        go(net, tmp_path / "cut")
    assert not (tmp_path / "cut" / "relaxed.extxyz").exists()
    counted: list[int] = []
    go(net, tmp_path / "cut", counted.append)
    assert asked == [3, 3, 3, 2]
    assert counted[0] == 3
    assert sum(counted) == 8
    for name in ("relaxed.csv", "relaxed.extxyz"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    asked.clear()
    with pytest.raises(KeyboardInterrupt):
        go(net, tmp_path / "cut")
    go(net, tmp_path / "cut", model="another")  # parts of one model are not those of another
    assert asked == [3, 3, 3, 3, 2]
