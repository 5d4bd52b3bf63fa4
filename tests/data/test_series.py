"""Tables of time series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from atomfield.data.errors import InputError
from atomfield.data.readers import ReadOptions, read
from atomfield.data.store import Store, write_store

Write = Callable[[str, str | bytes], Path]
TABLE = "# pelts in thousands\nYear, Lynx, Hare, temperature, note\n1900, 4.0, 30, 1, a\n1901, 6.1, 47.2, 2, b\n1903,9,70,3,c\n"
BY_YEAR = ReadOptions(map={"time": "Year"})


def test_series(write: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (graph,) = read(write("lynx.csv", TABLE), BY_YEAR)
    assert graph.times.tolist() == [1900, 1901, 1903]
    assert graph.quantities["Hare"][:, 0].tolist() == [30, 47.2, 70]
    assert set(graph.quantities) == {"Lynx", "Hare", "temperature"}
    assert "not all cells are numbers: note" in caplog.text
    write_store(iter([graph]), tmp_path / "store")
    assert Store(tmp_path / "store")[0].quantities["Lynx"].tolist() == [[4.0], [6.1], [9.0]]
    (chosen,) = read(tmp_path / "lynx.csv", ReadOptions(map={"time": "Year"}, targets=("Lynx",)))
    assert set(chosen.quantities) == {"Lynx"}


def test_groups(write: Write) -> None:
    path = write("runs.tsv", "t\trun\tc\n0\ta\t1\n1\ta\t2\n0\tb\t3\n5\tb\t4\n")
    one, two = read(path, ReadOptions(map={"time": "t", "group": "run", "concentration": "c"}))
    assert (one.group, two.group) == ("runs/a", "runs/b")
    assert two.times.tolist() == [0, 5]
    assert two.quantities["concentration"].tolist() == [[3.0], [4.0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Year,a\n1900,1\n1900,2\n",
            "t.csv:3 (record 0): 'Year' is 1900 after 1900, expected increasing times",
        ),
        ("Year,a\n1900,nan\n", "t.csv:2 (record 0): 'a' is 'nan', expected a finite number"),
        ("Year,a\n1900,1,2\n", "t.csv:2: row has 3 cells, expected 2"),
        ("Year,a\nx,1\n", "t.csv:2 (record 0): 'Year' is 'x'"),
        ("year,a\n1,1\n", "t.csv: column 'Year' (for time) is not in the table; columns: year, a"),
        ("Year,a\n", "t.csv: the table has no rows"),
        ("Year,a\n1,x\n", "no column but 'Year' holds numbers"),
        ("Year,a,a\n1,1,1\n", "column 'a' is there twice"),
    ],
)
def test_bad_tables(write: Write, text: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        list(read(write("t.csv", text), BY_YEAR))
    assert expected in str(caught.value)
