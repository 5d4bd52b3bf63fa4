"""The queue behind the big tables, with cells that take no time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TABLE = Path(__file__).parents[2] / "benchmarks" / "table.py"

DEFINITION = '''
import sys
from cells import Cell

METRICS = {{"value": "Value"}}
SCRIPT = """
import json, os, sys, time
row, seed, result, marks = sys.argv[1:]
wait = os.path.exists(os.path.join(marks, "wait"))
open(os.path.join(marks, f"{{row}}.{{seed}}.{{os.getpid()}}"), "w").close()
if wait:
    time.sleep(60)
if row == "bad" and not os.path.exists(os.path.join(marks, "mended")):
    sys.exit("no luck")
json.dump({{"value": float(seed) + len(row)}}, open(result, "w"))
"""

def options(parser):
    parser.add_argument("--marks", required=True)

def cells(options):
    return [
        Cell(row, "column", seed, (sys.executable, "-c", SCRIPT, row, str(seed), "{{result}}", options.marks), 1, {limit})
        for row in ("good", "bad") for seed in (0, 1)
    ]
'''


@pytest.fixture
def table(tmp_path: Path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "marks").mkdir()
    (tmp_path / "tables" / "fake.py").write_text(DEFINITION.format(limit=30))
    return tmp_path


def command(root: Path, *arguments: str) -> list[str]:
    folders = [
        "--tables",
        str(root / "tables"),
        "--results",
        str(root / "results"),
        "--marks",
        str(root / "marks"),
    ]
    return [sys.executable, str(TABLE), "fake", *folders, *arguments]


def call(root: Path, *arguments: str) -> str:
    return subprocess.run(command(root, *arguments), check=True, capture_output=True, text=True).stdout


def started(root: Path) -> list[str]:
    """Cells in the order in which their commands began."""
    files = [p for p in (root / "marks").iterdir() if p.name.count(".") == 2]
    return [p.name.rsplit(".", 1)[0] for p in sorted(files, key=lambda p: p.stat().st_mtime_ns)]


def record(root: Path, name: str) -> dict:
    return json.loads((root / "results" / "fake" / f"{name}.json").read_text())


def test_first_seeds_first_nothing_twice_and_failures_are_said(table):
    out = call(table)
    assert started(table) == ["good.0", "bad.0", "good.1", "bad.1"]
    assert "2 of 4 cells" in out and "2 failed" in out
    assert "| good | 4.5 ± 0.71" in out and "| bad | failed |" in out
    good = record(table, "good__column__0")
    assert good["values"] == {"value": 4.0} and good["wall_s"] > 0 and good["processor_s"] > 0
    assert "no luck" in record(table, "bad__column__0")["failure"]
    call(table)
    assert len(started(table)) == 4
    (table / "marks" / "mended").touch()
    assert "4 of 4 cells" in call(table, "--rerun-failed", "--only", "bad")
    assert len(started(table)) == 6


def test_a_cell_of_a_busy_machine_is_marked_and_run_again_on_demand(table):
    call(table, "--only", "good")
    path = table / "results" / "fake" / "good__column__0.json"
    for name in ("good__column__0", "good__column__1"):  # as if one had been disturbed and the other not
        content = {**record(table, name), "busy": name.endswith("0")}
        (path.parent / f"{name}.json").write_text(json.dumps(content))
    assert "1 measured while the machine was busy" in call(table, "--page")
    assert "busy" in call(table, "--list").splitlines()[0]
    call(table, "--only", "good")
    assert len(started(table)) == 2
    call(table, "--only", "good", "--rerun-busy")
    assert sorted(started(table)) == ["good.0", "good.0", "good.1"]


def test_a_killed_queue_leaves_the_cell_locked_while_its_command_lives_and_open_after(table):
    (table / "marks" / "wait").touch()
    queue = subprocess.Popen(command(table, "--only", "good"), stdout=subprocess.DEVNULL)
    until(lambda: started(table) == ["good.0"])
    queue.send_signal(signal.SIGKILL)
    queue.wait()
    (table / "marks" / "wait").unlink()
    out = call(table, "--only", "good")
    assert "good__column__0: another queue is at it" in out and "1 of 4 cells" in out
    orphan = next(p for p in (table / "marks").iterdir() if p.name.startswith("good.0."))
    os.kill(int(orphan.name.rsplit(".", 1)[1]), signal.SIGKILL)
    until(lambda: "another queue" not in call(table, "--only", "good"))
    assert "2 of 4 cells" in call(table, "--page")


def test_a_command_that_takes_too_long_is_ended(table):
    (table / "tables" / "fake.py").write_text(DEFINITION.format(limit=0.5))
    (table / "marks" / "wait").touch()
    assert "0 of 4 cells" in call(table, "--only", "good")
    assert record(table, "good__column__0")["failure"] == "ended after 0.5 s"


def test_a_value_that_a_finished_cell_lacks_is_blank_and_no_row_or_column_is_empty(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TABLE.parent))
    from cells import Cell, write
    from table_page import page

    values = {
        ("none", "atoms"): {"error": 1.0},
        ("none", "flows"): {"error": 2.0, "divergence": 0.1},
        ("zbl", "atoms"): {"error": 3.0},
        ("equation", "flows"): {"error": 4.0},
    }
    places = [*values, ("equation", "waves"), ("zbl", "waves")]  # the last two are not finished
    cells = [Cell(row, column, 0, (), 1, 1) for row, column in places]
    for cell, found in zip(cells, values.values(), strict=False):
        write(tmp_path, cell, {"values": found, "busy": False, "failure": ""})
    write(tmp_path, cells[-1], {"values": {}, "busy": False, "failure": "no luck"})
    text = page("fake", "", cells, tmp_path, {"error": "Error", "divergence": "Divergence", "force": "Force"})
    everything, some = text.split("## Divergence")
    assert "|  | atoms | flows | waves |" in everything
    assert "| equation |  | 4 | not run |" in everything and "| zbl | 3 |  | failed |" in everything
    assert "|  | flows | waves |" in some and "| none | 0.1 |  |" in some
    assert "| zbl" not in some and "| equation" not in some  # measured, and without a divergence
    assert "## Force" not in text and "No finished cell has: Force." in some


def until(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_records_hold_no_path_of_the_machine(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(TABLE.parent))
    from table import shown

    inside = str(TABLE.parent / "accuracy.py")
    words = shown((sys.executable, inside, "--data", str(tmp_path / "sets"), "--seed", "0"))
    assert words == ["python", "benchmarks/accuracy.py", "--data", ".../sets", "--seed", "0"]


def test_a_row_and_a_seed_are_chosen_exactly(table):
    call(table, "--row", "good", "--seed", "1")
    assert started(table) == ["good.1"]
    wrong = subprocess.run(command(table, "--row", "goo"), capture_output=True, text=True)
    assert wrong.returncode == 1 and "rows of fake: good, bad" in wrong.stderr
