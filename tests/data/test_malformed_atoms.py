"""Every malformed file of molecules and crystals is refused by one line that names the file, and the record if there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import read

from .malformed import atoms

CASES = atoms.cases()


def test_there_are_enough() -> None:
    assert len(CASES) >= 170


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused(case: atoms.Case, tmp_path: Path) -> None:
    path = tmp_path / case.name
    case.write(path)
    with pytest.raises(InputError) as caught:
        list(read(path, case.options))
    said = str(caught.value)
    assert case.name in said
    assert "\n" not in said
    assert case.says in said
    if case.record is not None:
        assert f"(record {case.record})" in said


@pytest.mark.parametrize("case", atoms.good_files(), ids=str)
def test_what_they_are_made_from_is_read(case: atoms.Case, tmp_path: Path) -> None:
    case.write(tmp_path / case.name)
    assert list(read(tmp_path / case.name))


COMMANDS = [c for c in CASES if c.record == 1 and c.label in ("position is NaN", "pickle", "cut short")]


@pytest.mark.parametrize("case", COMMANDS, ids=str)
def test_exit_code(case: atoms.Case, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The command prints the line and returns 2."""
    from atomfield.cli import main

    case.write(tmp_path / case.name)
    assert main(["prepare", str(tmp_path / case.name), "--out", str(tmp_path / "store")]) == 2
    printed = capfd.readouterr().err
    assert case.name in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "store").exists()
