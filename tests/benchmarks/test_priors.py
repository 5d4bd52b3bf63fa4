"""The table of priors: what its cells ask for exists, and shares of the data are nested and apart from what judges them."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import pytest

from atomfield.finetune.config import FinetuneConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def priors():
    return importlib.import_module("priors")


def test_cells(priors):
    cells, table = importlib.import_module("cells"), importlib.import_module("table")
    definition = table.module(BENCHMARKS / "tables" / "priors.py")
    parser = argparse.ArgumentParser()
    definition.options(parser)
    found = definition.cells(parser.parse_args(["--source", "flows=mine.h5"]))
    rows = sum(map(len, priors.APPLY.values()))
    assert len(found) == rows * 3 * 3 and len({c.name for c in found}) == len(found)
    order = cells.in_order(found)
    assert {c.seed for c in order[: 3 * rows]} == {0}
    for start, share in enumerate((" 10 %", " 30 %", " 100 %")):
        assert all(c.column.endswith(share) for c in order[rows * start : rows * (start + 1)])
    assert all(("--source" in c.command) == c.column.startswith("flows") for c in found)


def test_what_a_prior_changes_is_told_seed_by_seed(priors, tmp_path):
    cells, table = importlib.import_module("cells"), importlib.import_module("table")
    definition = table.module(BENCHMARKS / "tables" / "priors.py")
    values = {
        ("none", 0): 1.0,
        ("none", 1): 2.0,
        ("none", 2): 4.0,
        ("zbl", 0): 0.9,
        ("zbl", 1): 1.82,
        ("zbl", 2): 3.56,
    }
    values |= {("electrostatics", 0): 1.1, ("electrostatics", 1): 1.9}
    places = [cells.Cell(row, "molecules, 10 %", seed, (), 1, 1) for row, seed in values]
    (tmp_path / "priors").mkdir()
    for cell, error in zip(places, values.values(), strict=True):
        cells.write(
            tmp_path / "priors",
            cell,
            {"values": {"error": error, "processor_s": 10.0}, "busy": False, "failure": ""},
        )
    (tmp_path / "priors.md").write_text("# priors\n")
    definition.finish(places, tmp_path / "priors", argparse.Namespace(results=tmp_path, name="priors"))
    text = (tmp_path / "priors.md").read_text()
    assert "| molecules, 10 % | zbl | **-10.0 ± 1.0** | +0.0 ± 0.0 | 3 |" in text
    assert "| molecules, 10 % | electrostatics | +2.5 ± 10.6 | +0.0 ± 0.0 | 2 |" in text


def test_settings_are_configurations(priors):
    for task, applied in priors.APPLY.items():
        assert applied[0] == "none" and len(applied) >= 3
        for prior in applied:
            FinetuneConfig(
                **{
                    "from": "scratch",
                    "train": ("x",),
                    "target": priors.TASKS[task].target,
                    **priors.settings(task, prior),
                }
            )


def test_a_tenth_of_the_salts_has_all_their_elements(priors):
    parts = priors.parts_of(priors.TASKS["insulators"], None, 10)
    elements = [
        {z for g in part for z in g.species.tolist()} for part in (parts.train, parts.valid, parts.test)
    ]
    assert elements[0] >= elements[1] | elements[2]
    assert 5 < len(parts.train) < 12 and len(parts.valid) > 5 and len(parts.test) > 15


def test_shares_are_nested_and_apart(priors):
    groups = {}
    for percent in (10, 30, 100):
        parts = priors.parts_of(priors.TASKS["flows"], None, percent)
        groups[percent] = {g.group for g in parts.train}
        held = {g.group for g in [*parts.valid, *parts.test]}
        assert not groups[percent] & held
        assert all(g.grid_shape is not None for g in [*parts.train, *parts.test])
    assert groups[10] < groups[30] < groups[100]
    assert len(groups[10]) == round(len(groups[100]) / 10)
