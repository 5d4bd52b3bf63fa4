"""The table of transfer: parts are nested, apart and the same again; the page's arithmetic; cells that can be run."""

from __future__ import annotations

import argparse
import importlib
import json
import math
from pathlib import Path

import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.strategy import RATES

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def structures(count: int) -> list[Graph]:
    """Molecules that their bond length tells apart."""
    return [
        Graph(
            torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.7 + 0.001 * k]]),
            torch.tensor([1, 1]),
            "molecule",
            group=f"m{k}",
        )
        for k in range(count)
    ]


def trajectories(count: int, times: int) -> list[Graph]:
    """One-point fields whose value says trajectory and time."""
    return [
        Graph(
            torch.zeros(1, 3),
            torch.zeros(1),
            "field",
            quantities={"pressure": (100.0 * k + torch.arange(times))[:, None]},
            times=torch.arange(times, dtype=torch.float64),
            group=f"t{k}",
        )
        for k in range(count)
    ]


def states(graphs: list[Graph]) -> set[float]:
    return {float(v) for g in graphs for v in g.quantities["pressure"].flatten()}


# ---------------------------------------------------------------- parts
def test_parts_of_structures_are_nested_and_apart():
    parts, tasks = importlib.import_module("transfer_parts"), importlib.import_module("transfer_tasks")
    pool = structures(400)
    names, ever = {}, set()
    for samples in (10, 50, 200, tasks.ALL):
        train, valid = parts.split(pool, samples, seed=1)
        names[samples] = [g.group for g in train]
        assert len(train) == samples or samples == tasks.ALL
        assert len(valid) == parts.validation_size(len(train))
        assert not {g.group for g in train} & {g.group for g in valid}
        assert [g.group for g in parts.split(pool, samples, seed=1)[0]] == names[samples]
        ever |= {g.group for g in valid}
    assert names[50][:10] == names[10] and names[200][:50] == names[50]
    assert names[tasks.ALL][:200] == names[200]
    assert len(names[tasks.ALL]) + parts.validation_size(len(names[tasks.ALL])) == pytest.approx(400, abs=1)
    assert [g.group for g in parts.split(pool, 50, seed=2)[0]] != names[50]


def test_parts_of_trajectories_count_pairs_and_share_none():
    parts, tasks = importlib.import_module("transfer_parts"), importlib.import_module("transfer_tasks")
    pool = trajectories(20, 13)
    before: set[float] = set()
    for samples in (10, 50, tasks.ALL):
        train, valid = parts.split(pool, samples, seed=0)
        assert sum(parts.samples_in(g) for g in train) == samples or samples == tasks.ALL
        assert sum(parts.samples_in(g) for g in valid) >= 10
        assert not {g.group for g in train} & {g.group for g in valid}
        assert before <= states(train)
        before = states(train)


def test_validation_records_that_are_set_aside():
    parts = importlib.import_module("transfer_parts")
    held = trajectories(5, 11)
    train, valid = parts.split(structures(100), 50, 0, held)
    assert len(train) == 50 and sum(parts.samples_in(g) for g in valid) == 10
    assert {g.world for g in valid} == {"field"}


def test_too_few_samples_make_no_part():
    parts = importlib.import_module("transfer_parts")
    assert parts.split(structures(211), 200, 0) is None
    assert parts.split(structures(100), 200, 0, structures(30)) is None


def test_pieces_share_only_their_ends():
    parts = importlib.import_module("transfer_parts")
    found = parts.pieces(trajectories(1, 24)[0], 10)
    assert [parts.samples_in(g) for g in found] == [10, 10]
    assert states(found[:1]) & states(found[1:]) == {10.0}


def test_compositions_do_not_depend_on_the_cell():
    sources = importlib.import_module("transfer_sources")
    one = Graph(torch.tensor([[0.0, 0, 0], [0, 0, 2.0]]), torch.tensor([11, 17]), "molecule")
    two = Graph(torch.arange(12.0).reshape(4, 3), torch.tensor([17, 11, 17, 11]), "molecule")
    assert sources.composition(one) == sources.composition(two) == "11:1 17:1"


# ---------------------------------------------------------------- cells
def table_of(*words: str):
    table = importlib.import_module("table").module(BENCHMARKS / "tables" / "transfer.py")
    parser = argparse.ArgumentParser()
    table.options(parser)
    return table, parser.parse_args(list(words))


def test_cells_can_be_run():
    table, options = table_of("--checkpoints", "ckpts")
    cells = table.cells(options)
    tasks = {t.name: t for t in importlib.import_module("transfer_tasks").TASKS}
    assert {t.world: 3 for t in tasks.values()} == {"molecules": 3, "crystals": 3, "fields": 3}
    first = [c for c in cells if c.column.endswith(", 50")]
    assert len(first) == 9 * 4 * 3 and all(c.stage == 0 for c in first)
    assert not any(c.column == "silicon, 200" for c in cells)
    assert len({c.name for c in cells}) == len(cells)
    settings_of = importlib.import_module("transfer").settings_of
    for cell in cells:
        given = dict(zip(cell.command[3::2], cell.command[4::2], strict=True))
        start = given["--start"]
        assert (
            Path(start).name
            == {
                "scratch": "scratch",
                "own world": tasks[given["--task"]].world,
                "all worlds": "all",
                "shipped": "atomfield-s",
            }[cell.row]
        )
        FinetuneConfig.model_validate(
            {"from": start, "train": ("x",), "target": ("y",), **settings_of(given["--set"])}
        )


# ---------------------------------------------------------------- results
def result(error: float, curve: list[list[float]], start: str = "scratch") -> dict:
    return {
        "error": error, "trivial": 4.0, "curve": curve, "start": start, "steps": 100, "training_processor_s": 60.0,
        "processor_s": 70.0, "samples": {"train": 50, "valid": 10, "test": 100},
    }  # fmt: skip


def filled(tmp_path: Path):
    """Two tasks: the first gains by pretraining in both seeds, the second loses."""
    cells_of, table = importlib.import_module("cells"), table_of()[0]
    cells = table.cells(table_of("--seeds", "2", "--samples", "50,10")[1])
    errors = {
        ("scratch", "ethanol"): (2.0, 4.0), ("own world", "ethanol"): (1.0, 1.0), ("all worlds", "ethanol"): (0.5, 2.0),
        ("scratch", "3BPA"): (1.0, 1.0), ("own world", "3BPA"): (1.0, 0.5), ("all worlds", "3BPA"): (2.0, 3.0),
    }  # fmt: skip
    for cell in cells:
        task, samples = cell.column.split(", ")
        if samples != "50" or (cell.row, task) not in errors:
            continue
        error = errors[cell.row, task][cell.seed]
        curve = [[10.0, 2 * error], [30.0, 1.2 * error], [60.0, error]]
        record = {"values": result(error, curve, cell.row), "failure": "", "busy": False}
        cells_of.write(tmp_path, cell, json.loads(json.dumps(record)))
    return cells


def test_arithmetic(tmp_path):
    found = importlib.import_module("transfer_results")
    results = found.collect(filled(tmp_path), tmp_path)
    assert results.finished == 12 and results.wanted == 9 * 4 * 2 + 9 * 4
    assert results.ratios("all worlds", "ethanol", "50") == [0.25, 0.5]
    assert found.median_ratio(results, "all worlds", "ethanol", "50") == 0.375
    assert found.summary(results, "all worlds", "50").startswith("lower in 1 of 2 tasks, median INCREASE 44%")
    assert found.summary(results, "own world", "50").startswith("lower in 2 of 2 tasks, median reduction 44%")
    assert results.times("all worlds", "ethanol", "50") == [10.0, 10.0]
    assert results.times("all worlds", "3BPA", "50") == [math.inf, math.inf]
    assert results.times("scratch", "3BPA", "50") == [60.0, 60.0]
    assert found.verdict(results.ratios("all worlds", "3BPA", "50", "own world")) == "hurts"
    assert found.verdict(results.ratios("all worlds", "ethanol", "50", "own world")) == "undecided"
    assert found.verdict([0.5]) == "one seed"


def written(cells, folder: Path) -> tuple[str, Path]:
    """The page and its folder."""
    page = importlib.import_module("transfer_page")
    docs = folder / "docs"
    docs.mkdir()
    settings, trials = {("scratch", "surface"): "learning_rate=8e-3"}, {("scratch", "3BPA"): 3}
    page.write_page(cells, folder, docs, page.About(400, ["50", "10"], settings, trials, "- A note."))
    return (docs / "transfer.md").read_text(), docs


def test_page_says_what_is_missing(tmp_path):
    """Also that the picture of ratios is drawn with most cells missing, and that of one number of samples is not."""
    text, docs = written(filled(tmp_path), tmp_path)
    assert "12 of 108 cells are finished" in text
    assert "2 of 9 tasks are measured" in text
    assert "| 3BPA, meV/Å | 4 | 1 (1 to 1) | 0.75 (0.5 to 1) | 2.5 (2 to 3) |  | 0.75 | 2.50 |  |" in text
    assert "| 3BPA | 60 | 60 | not reached |  |" in text
    assert "| ethanol, 3BPA, silicon | scratch | `learning_rate=8e-3` | 3 on 3BPA |" in text
    assert (
        f"| ethanol, 3BPA, silicon | pretrained | defaults (strategy=full,learning_rate={RATES['full']:g}) | none |"
        in text
    )
    assert "python benchmarks/table.py transfer --checkpoints CKPTS --steps 400\n" in text
    assert "Not run: the tasks with 10 samples." in text and "transfer_curves" not in text
    assert text.endswith("- A note.\n")
    assert (docs / "images" / "transfer_ratios.png").read_bytes().startswith(b"\x89PNG")
    assert not (docs / "images" / "transfer_curves.png").exists()


def test_an_earlier_run_keeps_its_own_scratch(tmp_path):
    """Rows that only it has are compared with its cells from scratch, not with those of today."""
    cells_of, cells = importlib.import_module("cells"), filled(tmp_path)
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for file in sorted(tmp_path.glob("*.json")):
        file.rename(earlier / file.name)
    for cell in cells:
        if cell.column == "ethanol, 50" and cell.row in ("scratch", "shipped"):
            error = {"scratch": 10.0, "shipped": 5.0}[cell.row]
            record = {"values": result(error, [[60.0, error]], cell.row), "failure": "", "busy": False}
            cells_of.write(tmp_path, cell, record)
    text, _ = written(cells, tmp_path)
    assert "4 of 108 cells are finished" in text
    assert "| ethanol, meV/Å | 4 | 10 (10 to 10) | 5 (5 to 5) | 0.50 |" in text
    assert "| ethanol, meV/Å | 4 | 3 (2 to 4) | 1 (1 to 1) | 1.25 (0.5 to 2) |  | 0.38 | 0.38 |  |" in text
    assert "| 3BPA | molecules | 4 (2 to 6) | hurts |" in text


def test_a_second_number_of_samples_makes_the_curve(tmp_path):
    cells_of, cells = importlib.import_module("cells"), filled(tmp_path)
    cell = next(c for c in cells if (c.row, c.column) == ("scratch", "ethanol, 10"))
    values = result(3.0, [[30.0, 3.0]]) | {"samples": {"train": 10, "valid": 10, "test": 100}}
    machine = {"date": "2026-11-26T12:00:00+00:00"}
    cells_of.write(tmp_path, cell, {"values": values, "failure": "", "busy": False, "machine": machine})
    text, docs = written(cells, tmp_path)
    assert "Cells: 1 of 2026-11-26. Before 2026-11-27 finetuning had no coarse" in " ".join(text.split())
    assert "### 10 samples" in text and "Not run: the tasks" not in text
    assert "(images/transfer_curves.png)" in text
    assert (docs / "images" / "transfer_curves.png").read_bytes().startswith(b"\x89PNG")


def test_trials_are_those_that_have_results(tmp_path):
    cells_of = importlib.import_module("cells")
    for row, failure in (
        ("scratch: a=1", ""),
        ("scratch: a=2", ""),
        ("pretrained: a=1", ""),
        ("scratch: a=3", "ended"),
    ):
        cell = cells_of.Cell(row, "flows", 0, (), 1, 1.0)
        record = {"row": row, "column": "flows", "values": {}, "failure": failure, "busy": True}
        cells_of.write(tmp_path, cell, record)
    found = importlib.import_module("transfer_results").trials(tmp_path)
    assert found == {("scratch", "flows"): 2, ("pretrained", "flows"): 1}


def test_page_of_no_results(tmp_path):
    results = importlib.import_module("transfer_results").Results(wanted=5)
    page = importlib.import_module("transfer_page")
    assert "0 of 5 cells" in page.page(results, page.About(400, ["50"], {}, {}))
