"""The report needs nothing but itself, and every figure draws what it is given."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges, mesh_edges
from atomfield.finetune import atom_plots, field_plots, plots
from atomfield.finetune.report import Code, Picture, Section, Table, number, provenance_section, write_report

PNG = b"\x89PNG\r\n\x1a\n"


def test_the_report_is_one_self_contained_file(tmp_path: Path) -> None:
    image = plots.png(plots.loss_curves([{"step": i, "train_loss": 1 / (i + 1)} for i in range(5)]), dpi=40)
    (tmp_path / "a.png").write_bytes(image)
    sections = [
        Section(
            "Results",
            ("A <b>claim</b>.", Table(["quantity", "model"], [["forces", "1"]], "note", frozenset({(0, 1)}))),
        ),
        Section("Pictures", (Picture(image, "from bytes"), Picture(tmp_path / "a.png", "from a file"))),
        Section("Empty", ()),
        Section("Command", (Code("atomfield finetune --out 'a b'"),)),
        provenance_section(),
    ]
    path = write_report(tmp_path / "out", "Ethanol & friends", sections)
    assert path == tmp_path / "out" / "report.html"
    text = path.read_text(encoding="utf-8")
    assert "http://" not in text
    assert "https://" not in text
    assert "<script" not in text
    sources = re.findall(r'(?:src|href)="([^"]{0,30})', text)
    assert all(s.startswith(("data:image/png;base64,", "#")) for s in sources)
    assert text.count("data:image/png;base64,") == 2
    assert "&lt;b&gt;claim" in text
    assert "<strong>1</strong>" in text
    assert "Ethanol &amp; friends" in text
    assert "Empty" not in text
    assert "torch" in text
    assert write_report(tmp_path / "named.html", "x", sections).name == "named.html"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1.00"),
        (0.05, "0.0500"),
        (123.456, "123"),
        (12345.6, "12,346"),
        (2.5e-6, "2.50e-06"),
        (-0.31, "-0.310"),
        (float("nan"), "–"),
        (float("inf"), "diverged"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text


def test_figures_about_atoms_draw() -> None:
    rng = np.random.default_rng(0)
    history = [
        {"step": i, "train_loss": 1 / (i + 1)}
        | ({"valid_loss": 1.0, "valid/a_mae_eV_per_A": 0.1} if i % 9 == 0 else {})
        for i in range(100)
    ]
    few, many = rng.normal(size=50), rng.normal(size=atom_plots.HEXBIN_FROM)
    panels = [
        atom_plots.Parity(few, few + 0.1, "energy", "eV", "MAE 0.1"),
        atom_plots.Parity(many, 2 * many, "forces", "eV/Å"),
        atom_plots.Parity(np.array([1.0]), np.array([np.nan]), "a very long name " * 4),
    ]
    label = rng.random(50) < 0.5
    trace, drift = plots.nve_energy(np.linspace(0, 10, 50), np.linspace(0, 0.2, 50), np.zeros(50), 10)
    assert drift == pytest.approx(2.0)
    elements = {"H": (0.1, 20_000), "C": (0.2, 3)}
    figures = [
        plots.loss_curves(history),
        atom_plots.parity(panels),
        atom_plots.classifier("active", label, rng.random(50)),
        trace,
        atom_plots.residuals(elements, np.full(50, 9), few**2, "error", "error"),
        atom_plots.residuals(elements, np.arange(50), few**2, "error", "error"),
    ]
    assert all(plots.png(f, dpi=30).startswith(PNG) for f in figures)
    assert "matplotlib.pyplot" not in sys.modules or "matplotlib.pyplot" not in plots.__dict__


def field(points: np.ndarray, edges: dict | None = None) -> Graph:
    positions = np.concatenate([points, np.zeros((len(points), 3 - points.shape[1]))], axis=1)
    times = np.linspace(0, 1, 4)
    wave = np.sin(3 * positions.sum(1)[None] + times[:, None])
    vector = np.stack([wave, -wave, 0 * wave], -1)
    axial = np.stack([0 * wave, 0 * wave, wave], -1)
    quantities = {"pressure": wave, "velocity": vector, "vorticity": axial}
    return Graph(
        torch.from_numpy(positions),
        torch.zeros(len(points)),
        "field",
        times=torch.from_numpy(times),
        spacing=0.1,
        edges=edges or {},
        quantities={k: torch.from_numpy(v) for k, v in quantities.items()},
    )


def test_rollouts_draw_on_grids_meshes_points_lines_and_in_space() -> None:
    axis = np.arange(8) / 8
    square = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    cube = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    scattered = np.random.default_rng(0).random((60, 2))
    cells = np.array(
        [(8 * i + j, 8 * i + j + 1, 8 * i + j + 9, 8 * i + j + 8) for i in range(7) for j in range(7)]
    )
    skewed = square + 0.01 * np.random.default_rng(1).normal(size=square.shape)
    graphs = [
        field(square, {"grid": grid_edges((8, 8), (True, True))}),
        field(skewed, {"mesh": mesh_edges(cells)}),
        field(scattered),
        field(axis[:, None]),
        field(cube),
    ]
    for graph in graphs:
        for name in ("pressure", "velocity", "vorticity"):
            predicted = graph.quantities[name].numpy().copy()
            predicted[-1] = np.nan  # a forecast that diverged still draws
            assert plots.png(field_plots.field_rollout(graph, name, predicted), dpi=20).startswith(PNG)
    order, shape = field_plots.grid_order(square[::-1])
    assert shape == (8, 8)
    assert (square[::-1][order] == square).all()
    assert field_plots.grid_order(scattered)[0] is None


def test_error_curves_draw_with_divergence_and_padding() -> None:
    times = np.arange(1, 4.0)
    rows = np.array([[0.1, 0.2, 0.3], [0.1, 0.2, np.nan], [0.1, np.inf, np.inf]])
    curves = {
        "model": (times, rows),
        "persistence": (times, np.full((3, 3), np.inf)),
        "POD linear map": (times, rows[:1]),
    }
    assert plots.png(field_plots.rollout_error("velocity", curves), dpi=30).startswith(PNG)
