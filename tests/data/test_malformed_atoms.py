"""Every malformed file of molecules and crystals is refused by one line that names the file, and the record if there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import BadRecord, read

from .malformed import atoms

UNLABELLED = ("energy is NaN", "no energy", "number is missing", "value is missing", "energy is missing")
"""Labels of cases with nothing wrong but that the second record has no label."""
CASES = [c for c in atoms.cases() if c.label not in UNLABELLED or c.record is None]
GAPS = [c for c in atoms.cases() if c.label in UNLABELLED and c.record is not None]


def test_there_are_enough() -> None:
    assert len(CASES) + len(GAPS) >= 170


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


@pytest.mark.parametrize("case", GAPS, ids=str)
def test_left_out_for_want_of_a_label(case: atoms.Case, tmp_path: Path) -> None:
    """Whatever ``on_bad`` says, the record is named and the others are read."""
    path = tmp_path / case.name
    case.write(path)
    bad: list[BadRecord] = []
    labelled = list(read(path, case.options, bad))
    assert labelled and all(set(case.options.targets) & g.quantities.keys() for g in labelled)
    assert [(one.where.record, bool(one.gap)) for one in bad] == [(case.record, True)]
    assert case.says in bad[0].message


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
