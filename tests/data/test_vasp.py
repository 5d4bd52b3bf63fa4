"""vasprun.xml and OUTCAR: what they hold, beside ASE's parsers, and files that stop in the middle."""

from __future__ import annotations

import gzip
from pathlib import Path

import ase.io
import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, ReadOptions, read

from . import vasp_files


def _compare(path: Path, kind: str) -> None:
    graphs = list(read(path))
    reference = ase.io.read(path, ":", format=kind)
    assert len(graphs) == len(reference) == 3
    for graph, atoms in zip(graphs, reference, strict=True):
        assert graph.species.tolist() == atoms.numbers.tolist()
        np.testing.assert_allclose(graph.positions, atoms.positions, atol=1e-8)
        np.testing.assert_allclose(graph.cell, atoms.cell[:], atol=1e-8)
        np.testing.assert_allclose(graph.quantities["forces"], atoms.get_forces(), atol=1e-8)
        np.testing.assert_allclose(graph.quantities["stress"], atoms.get_stress(voigt=False), atol=1e-8)
        free = atoms.get_potential_energy(force_consistent=True)
        assert graph.quantities["energy"].item() == pytest.approx(free, abs=1e-9)


def test_vasprun(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "vasprun.xml"
    path.write_text(vasp_files.vasprun())
    _compare(path, "vasp-xml")
    assert "stress in kbar (opposite sign) (VASP's convention; energy is the free energy TOTEN" in caplog.text


def test_outcar(tmp_path: Path) -> None:
    path = tmp_path / "OUTCAR"
    path.write_text(vasp_files.outcar())
    _compare(path, "vasp-out")
    assert next(iter(read(path))).provenance.line is not None
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert len(list(read(tmp_path / "OUTCAR.gz"))) == 3


def test_groups_that_the_file_does_not_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vasprun.xml").write_text(vasp_files.vasprun())
    with pytest.raises(
        InputError, match=r"key 'family' \(for group\) is not in the record; keys found: forces"
    ):
        list(read(tmp_path / "vasprun.xml", ReadOptions(map={"group": "family"})))


def test_other_energy(tmp_path: Path) -> None:
    """VASP 5 writes a zero e_0_energy after the loop: the difference of the last electronic step is taken."""
    (tmp_path / "vasprun.xml").write_text(vasp_files.vasprun())
    (tmp_path / "OUTCAR").write_text(vasp_files.outcar())
    for name in ("vasprun.xml", "OUTCAR"):
        free = [g.quantities["energy"].item() for g in read(tmp_path / name)]
        zero = [
            g.quantities["energy"].item()
            for g in read(tmp_path / name, ReadOptions(map={"energy": "e_0_energy"}))
        ]
        np.testing.assert_allclose(np.subtract(zero, free), 0.05, atol=1e-9)


def test_not_converged(tmp_path: Path) -> None:
    for name, text in (("vasprun.xml", vasp_files.vasprun(nelm=2)), ("OUTCAR", vasp_files.outcar(nelm=2))):
        (tmp_path / name).write_text(text)
        with pytest.raises(
            InputError, match=rf"{name}.*\(record 0\): the electronic loop ended after NELM=2"
        ):
            list(read(tmp_path / name))


def test_cut_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, text in (("vasprun.xml", vasp_files.vasprun()), ("OUTCAR", vasp_files.outcar())):
        (tmp_path / name).write_text(text[: int(len(text) * 0.9)])
        assert len(list(read(tmp_path / name))) == 2
        assert "the file ends in the middle of a step" in caplog.text
        caplog.clear()
        (tmp_path / name).write_text(text[:400])
        with pytest.raises(InputError, match=name):
            list(read(tmp_path / name))


def test_overflown_numbers_are_refused(tmp_path: Path) -> None:
    """Fortran writes stars where a number does not fit."""
    for name, text in (("vasprun.xml", vasp_files.vasprun()), ("OUTCAR", vasp_files.outcar())):
        wrong = text.replace("0.101234", "********", 1)
        assert wrong != text
        (tmp_path / name).write_text(wrong)
        bad: list[BadRecord] = []
        assert len(list(read(tmp_path / name, ReadOptions(on_bad="skip"), bad))) == 2
        assert "not finite" in bad[0].message


def test_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><modeling>&b;</modeling>'
    (tmp_path / "vasprun.xml").write_text(bomb)
    with pytest.raises(InputError, match="has a document type or entities"):
        list(read(tmp_path / "vasprun.xml"))
