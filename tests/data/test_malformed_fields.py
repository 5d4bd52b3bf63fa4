"""Every malformed file of a field is refused by one line that names the file, and the record where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("meshio")
pytest.importorskip("netCDF4")
pytest.importorskip("xarray")
pytest.importorskip("zarr")

from atomfield.cli import main
from atomfield.data.errors import InputError, Provenance
from atomfield.data.readers import read

from .malformed.fields import CASES, Case


def test_there_are_enough_and_labels_are_unique() -> None:
    assert len(CASES) >= 140
    assert len({c.label for c in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.label)
def test_refused(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / case.name
    path.parent.mkdir(exist_ok=True)
    case.write(path)
    source = path.parent if path.parent != tmp_path else path
    with pytest.raises(InputError) as caught:
        list(read(source, case.options))
    message = str(caught.value)
    assert case.says in message, message
    assert message.startswith(str(path)), message
    assert "\n" not in message
    where = caught.value.where
    record = where.record if isinstance(where, Provenance) else None
    assert record == case.record, message


@pytest.mark.parametrize(
    "label", ["npz: NaN in a field", "The Well: boundary without mask", "VTU: no data", "NetCDF of noise"]
)
def test_refused_on_the_command_line(label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (case,) = (c for c in CASES if c.label == label)
    case.write(tmp_path / case.name)
    assert main(["prepare", str(tmp_path / case.name), "--out", str(tmp_path / "store")]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert case.says in error[-1]
    assert "Traceback" not in "".join(error)
    assert not (tmp_path / "store").exists()
