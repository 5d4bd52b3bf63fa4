"""The table beside published numbers: its page, and a cell on records of our own."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from atomfield.data.source import open_source
from atomfield.data.store import write_store

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import cells
    import published_page
    import published_sets

    return cells, published_page, published_sets


def record(values: dict) -> dict:
    return {"values": values, "failure": "", "busy": False, "machine": {"processor": "a processor"}}


def test_page_averages_folds_and_marks_what_is_better(modules, tmp_path):
    cells, page, sets = modules
    known = {
        "mlearn Cu": {"error": 12.0, "trivial": 900.0, "coverage_energy": 0.871, "coverage_p_energy": 0.6},
        "mlearn Li": {"error": 40.0},
        "phonons, fold 0": {"error": 20.0},
        "phonons, fold 3": {"error": 30.0},
        "Darcy": {"error": 0.1, "error_finer": 0.2},
    }
    all_cells = [
        cells.Cell(row, s.name, 0, (), 1, 1) for row in ("atomfield-s", "from scratch") for s in sets.SETS
    ]
    for cell in all_cells:
        if cell.row == "atomfield-s" and cell.column in known:
            cells.write(tmp_path, cell, record(known[cell.column]))
    page.write_page(all_cells, tmp_path, tmp_path / "published.md", 300)
    text = (tmp_path / "published.md").read_text()
    assert f"{len(known)} of {len(all_cells)} cells" in text and "(a processor)" in text
    assert (
        "| mlearn Cu: its own | meV/Å | **12** | not run | 900 | MatGL 17.7, ALIGNN-FF 19.4, SNAP 59.6 |"
        in text
    )
    assert "| mlearn Li: its own | meV/Å | 40 | not run |" in text
    assert "| phonons: official five folds | 1/cm | **25 ± 7** (2 of 5 folds) | not run |" in text
    assert "| 0.1; 0.2 at 32 x 32 | not run |" in text
    assert "| mlearn Cu | atomfield-s | 0 | energy | 87.1 % | 0.6 |" in text
    assert "mlearn Li, mlearn Si, mlearn Ni, mlearn Cu: JARVIS" in text


def test_sets_name_metrics_in_the_right_direction(modules):
    _, _, sets = modules
    for public in sets.SETS:
        order = [value for _, value in public.published]
        assert order == sorted(order, reverse=public.higher_is_better)
        assert bool(public.published) == bool(public.source)
    assert (
        len({s.name for s in sets.SETS})
        == len({sets.folder_of(s.name, Path()) for s in sets.SETS})
        == len(sets.SETS)
    )


def test_a_cell_trains_judges_and_says_what_it_did(modules, tmp_path):
    _, _, sets = modules
    aluminium = [
        g for g in open_source("starter/crystals") if g.level == "emt" and set(g.species.tolist()) == {13}
    ]
    crystals = [replace(g, level="mine") for g in aluminium[:46]]
    folder = sets.folder_of("mlearn Cu", tmp_path / "cache")
    write_store(crystals[:-6], folder / "train")
    write_store(crystals[-6:], folder / "test")
    result = tmp_path / "result.json"
    subprocess.run(
        [
            sys.executable, str(BENCHMARKS / "published.py"), "cell", "--set", "mlearn Cu", "--seconds", "2",
            "--cache", str(tmp_path / "cache"), "--work", str(tmp_path), "--result", str(result),
        ],
        check=True,
    )  # fmt: skip
    values = json.loads(result.read_text())
    assert 0 < values["error"] < values["trivial"] and values["steps"] > 0
    assert values["records"] == {"train": 32, "valid": 8, "test": 6}
