"""Which frames of a trajectory are equally far apart."""

from __future__ import annotations

from pathlib import Path

import ase.io
import pytest
from ase import Atoms

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
