"""Which frames of a trajectory are equally far apart."""

from __future__ import annotations

import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms

from atomfield.cli import main
from atomfield.commands.analyze import _frames
from atomfield.data.errors import InputError


def written(folder: Path, times: list[float]) -> Path:
    frames = [Atoms("H", [[t, 0, 0]]) for t in times]
    ase.io.write(folder / "trajectory.extxyz", frames, format="extxyz")
    (folder / "log.csv").write_text(
        "\n".join(["step,time_fs", *(f"{k},{t}" for k, t in enumerate(times))]) + "\n"
    )
    return folder


def test_a_last_frame_between_two_intervals_is_left_out(tmp_path: Path) -> None:
    """Where a run was stopped after 32.5 fs, and where it then was resumed."""
    for times in ([0, 10, 20, 30, 32.5], [0, 10, 20, 30, 32.5, 40, 50]):
        frames, apart = _frames(written(tmp_path, times), None)
        assert apart == 10
        assert [f.positions[0, 0] for f in frames] == [t for t in times if t != 32.5]
    frames, apart = _frames(tmp_path, 7.0)
    assert (len(frames), apart) == (7, 7.0)


def test_other_gaps_are_refused(tmp_path: Path) -> None:
    for times in ([0, 10, 20, 40, 50], [0, 10, 30, 60], [5, 5, 5]):
        with pytest.raises(InputError, match="not equally spaced"):
            _frames(written(tmp_path, times), None)


def gas(folder: Path, count: int, pbc: bool, log: str = "step,time_fs") -> Path:
    random = np.random.default_rng(0)
    folder.mkdir()
    frames = [Atoms("Ar8", random.uniform(0, 9, (8, 3)), cell=[9] * 3, pbc=pbc) for _ in range(count)]
    ase.io.write(folder / "trajectory.extxyz", frames, format="extxyz")
    rows = [log, *(f"{k},{10.0 * k}" for k in range(count))]
    (folder / "log.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_short_run_has_neighbours_and_no_diffusion(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `simulate` writes by default is 51 frames; nothing was left of them but half of the files."""
    out = tmp_path / "out"
    assert main(["analyze", str(gas(tmp_path / "solid", 51, True)), "--out", str(out)]) == 0
    assert (
        "note: 46 frames are left, expected at least 100 for 5 blocks: no diffusion"
        in capsys.readouterr().err
    )
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "rdf.csv", "rdf.png"]
    assert "first_peak_Ar-Ar_A" in json.loads((out / "metrics.json").read_text())
    assert main(["analyze", str(gas(tmp_path / "gas", 51, False)), "--out", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert "46 frames are left" in error and "no g(r)" in error
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_analyzed_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relaxed = gas(tmp_path / "relaxed", 30, True, "step,energy")
    assert main(["analyze", str(relaxed), "--out", str(tmp_path / "out")]) == 2
    assert "log.csv: is the log of a relaxation, which has no times" in capsys.readouterr().err
    for option in ("--reach", "--frame-time"):
        assert main(["analyze", str(relaxed), "--out", str(tmp_path / "out"), option, "-1"]) == 2
        assert f"{option}: found -1, expected a positive number" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_killed_run_may_have_a_row_without_a_frame(tmp_path: Path) -> None:
    folder = written(tmp_path, [0, 10, 20, 30])
    with (folder / "log.csv").open("a") as file:
        file.write("4,40\n")
    assert len(_frames(folder, None)[0]) == 4
