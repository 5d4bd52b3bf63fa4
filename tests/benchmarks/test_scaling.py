"""The table of scaling: the fit, nested shares, a validation part that no share trains on, and the section it writes."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.splits import split_of

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def grid(noise: float = 0.0, seed: int = 0) -> list[tuple[float, float, float]]:
    rng = np.random.default_rng(seed)
    points = [(n, d) for n in (1e4, 1e5, 1e6) for d in (1e3, 4e3, 16e3)]
    return [(n, d, 30.0 * n**-0.2 * d**-0.35 * float(np.exp(noise * rng.normal()))) for n, d in points]


def test_exact_law_is_found_and_extrapolated():
    law = importlib.import_module("power_law").fit(grid())
    assert law.exponents == pytest.approx((0.2, 0.35), abs=1e-9)
    assert law.explained == pytest.approx(1.0)
    middle, low, high = law.predict(1e8, 1e6)
    assert middle == pytest.approx(30.0 * 1e8**-0.2 * 1e6**-0.35, rel=1e-9)
    assert low == pytest.approx(high, rel=1e-6)


def test_intervals_hold_the_truth_as_often_as_they_say():
    fit = importlib.import_module("power_law").fit
    inside, predicted = 0, 0
    for seed in range(300):
        law = fit(grid(0.1, seed))
        inside += abs(law.exponents[1] - 0.35) < law.half_widths(0.9)[1]
        truth = (
            30.0 * 1e7**-0.2 * 1e5**-0.35 * float(np.exp(0.1 * np.random.default_rng(10_000 + seed).normal()))
        )
        _, low, high = law.predict(1e7, 1e5, 0.9)
        predicted += low < truth < high
    assert 0.85 < inside / 300 < 0.95 and 0.85 < predicted / 300 < 0.95


def test_no_law_without_points():
    fit = importlib.import_module("power_law").fit
    assert fit(grid()[:4]) is None
    assert fit([(1e5, d, 1.0) for d in (1, 2, 3, 4, 5)]) is None


def records(count: int) -> list[Graph]:
    where = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 0.8]])
    return [
        Graph(where, torch.tensor([1, 1 if k % 2 else 9]), "molecule", group=f"g{k // 2}", level="a" if k % 4 < 2 else "b")
        for k in range(count)
    ]  # fmt: skip


def test_shares_are_nested_and_validation_is_apart():
    scaling = importlib.import_module("scaling")
    graphs = records(4000)
    shares = [{g.group for g in graphs if scaling.in_share(g.group, d)} for d in scaling.SHARES]
    assert shares[0] < shares[1] < shares[2]
    assert len(shares[0]) / len(shares[2]) == pytest.approx(1 / 16, rel=0.3)
    held = scaling.validation_of(graphs, {("a", 1), ("a", 9), ("b", 9)})
    assert held and {g.group for g in held} == {
        g.group for g in scaling.validation_of(graphs[::-1], {("a", 1), ("a", 9)})
    }
    assert all(split_of(g.group) == "valid" and g.level == "a" for g in held)
    assert len({g.group for g in held}) == len(held)


def test_section_stands_between_its_marks(tmp_path):
    cells_of, table = importlib.import_module("cells"), importlib.import_module("table")
    definition = table.module(BENCHMARKS / "tables" / "scaling.py")
    parser = argparse.ArgumentParser()
    definition.options(parser)
    options = parser.parse_args(["--docs", str(tmp_path)])
    cells = definition.cells(options)
    assert len(cells) == 9 * (1 + 3 * 2)
    sizes, shares = {"half s": 1e4, "s": 1e5, "m": 1e6}, {"1/16": 1e3, "1/4": 4e3, "all": 16e3}
    for cell in cells:
        share, what = cell.column.split(", ")
        n, d = sizes[cell.row], shares[share]
        values: dict[str, float] = {"error": 30.0 * n**-0.2 * d**-0.35}
        if what == "pretraining":
            values = {
                "parameters": n,
                "records": d,
                "valid/x/forces": 4.0 * n**-0.2,
                "valid/x/energy": 9.0 * n**-0.2,
            }
            values |= {} if cell.row == "half s" else {"valid/x/vorticity": 100.0}
        if cell.row != "m" or share != "all":
            cells_of.write(tmp_path, cell, {"values": values, "failure": "", "busy": False})
    file = tmp_path / "scaling.md"
    file.write_text("# Scaling\n\nBefore.\n")
    definition.finish(cells, tmp_path, options)
    once = file.read_text()
    definition.finish(cells, tmp_path, options)
    assert file.read_text() == once and once.startswith("# Scaling\n\nBefore.\n")
    assert "56 of 63 cells are finished" in once
    assert (
        "| half s, 10,000 parameters | 0.9509 | 0.9509 | 0.9509 |" in once
    )  # 6 x 1e4^-0.2, without the vorticity
    assert "| m, 1,000,000 parameters |" in once and "not run |" in once
    said = " ".join(once.split())
    assert "(parameters)^(-0.200 ± 0.000) (records)^(-0.350 ± 0.000)" in said
    assert "The exponent of data is not told from zero" in said
