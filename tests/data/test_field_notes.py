"""What a file of fields does not say, and what is said about it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read

N, K, T = 16, 4, 3


def waves(periodic: bool = True, walls: bool = False) -> np.ndarray:
    """``[K, T, N, N]``: travelling waves that go round, or are cut off in the middle of one, or vanish at the edges."""
    x = np.arange(N) * 2 * np.pi / (N if periodic else 1.45 * N)
    phase = np.arange(K)[:, None, None, None] + 0.3 * np.arange(T)[:, None, None]
    wave = np.sin(x[:, None] + phase) + np.cos(2 * x[None, :] - phase)
    return (
        wave
        * np.sin(np.pi * np.arange(N) / (N - 1))[:, None] ** 2
        * np.sin(np.pi * np.arange(N) / (N - 1)) ** 2
        if walls
        else wave
    )


def said(tmp_path: Path, caplog: pytest.LogCaptureFixture, options: ReadOptions, **arrays: object) -> str:
    given = {"u": waves(), "t": np.arange(T) * 0.1, "x": np.arange(N), "y": np.arange(N), **arrays}
    np.savez(tmp_path / "a.npz", **given)
    caplog.clear()
    with caplog.at_level(logging.WARNING, "atomfield"):
        assert len(list(read(tmp_path / "a.npz", options))) == K
    return caplog.text


def test_numbers_of_trajectories(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plain = ReadOptions(map={"concentration": "u", "periodic": "1"})
    numbers = {
        "nu": np.linspace(1, 2, K),
        "a": np.linspace(0, 1, K),
        "same": np.ones(K),
        "signed": np.linspace(-1, 1, K),
    }
    text = said(tmp_path, caplog, plain, **numbers)
    assert "'nu', 'a' differ from trajectory to trajectory and are not read" in text
    assert "--map viscosity=nu,diffusivity=a " in text
    named = ReadOptions(map={**plain.map, "viscosity": "nu", "feed": "a"})
    assert said(tmp_path, caplog, named, **numbers) == ""
    assert [g.conditions["feed"] for g in read(tmp_path / "a.npz", named)] == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
    below = ReadOptions(map={**plain.map, "viscosity": "signed"})
    with pytest.raises(
        InputError, match="'signed' .for viscosity. is -1, expected a number that is not negative"
    ):
        list(read(tmp_path / "a.npz", below))


def test_fields_beside_those_that_are_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options = ReadOptions(map={"concentration": "u", "periodic": "1"})
    text = said(tmp_path, caplog, options, v=waves(), coefficient=np.ones((N, N)), ids=np.arange(7))
    assert "'v', 'coefficient' have a value at every point and are not read" in text
    steady = ReadOptions(map={"solution": "sol", "spacing": "0.1+0.1"})
    np.savez(tmp_path / "b.npz", sol=waves()[:, 0], a=waves()[:, 1])
    list(read(tmp_path / "b.npz", steady))
    assert "--map permeability=a (" in caplog.text


@pytest.mark.parametrize(
    ("field", "wraps"), [(waves(), True), (waves(periodic=False), False), (waves(walls=True), False)]
)
def test_edges_that_look_like_neighbours(
    field: np.ndarray, wraps: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = said(tmp_path, caplog, ReadOptions(map={"concentration": "u"}), u=field)
    assert ("if the domain is periodic, say --map periodic=1;" in text) == wraps
    for given in ("0", "1"):
        assert (
            said(tmp_path, caplog, ReadOptions(map={"concentration": "u", "periodic": given}), u=field) == ""
        )
