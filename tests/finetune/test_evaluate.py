"""One evaluation per world with a small untrained network: files, keys, table, and refusals."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.data.quantities import Quantity, scalar_property
from atomfield.finetune.assess import Assessment, step_starts
from atomfield.finetune.baselines import describe, fit_elements
from atomfield.finetune.evaluate import energies_against_forces, evaluate, print_table
from atomfield.finetune.metrics import measures_of
from atomfield.finetune.report import Table
from atomfield.finetune.sections import _residuals
from atomfield.inference.write import write_metrics
from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.network import AtomFieldNet


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    torch.manual_seed(0)
    properties = (PropertyConfig(name="gap", unit="eV"), PropertyConfig(name="active", kind="classification"))
    config = NetworkConfig(
        channels=4,
        channels_unnatural=2,
        lmax=1,
        layers=1,
        correlation=1,
        num_radial=4,
        radial_hidden=8,
        head_hidden=8,
        levels=("a", "f"),
        default_level_atoms="a",
        default_level_field="f",
        properties=properties,
    )
    return AtomFieldNet(config).eval()


def molecules(count: int, seed: int) -> list[Graph]:
    rng = np.random.default_rng(seed)
    out = []
    for i in range(count):
        num_atoms = int(rng.integers(2, 6))
        positions = np.arange(num_atoms)[:, None] * np.array([1.2, 0, 0]) + 0.05 * rng.normal(
            size=(num_atoms, 3)
        )
        quantities = {"energy": rng.normal(), "forces": rng.normal(size=(num_atoms, 3)), "gap": rng.normal()}
        if i % 3:
            quantities["active"] = float(i % 2)
        out.append(
            Graph(
                torch.from_numpy(positions),
                torch.from_numpy(rng.choice([1, 6, 8], num_atoms)),
                "molecule",
                quantities={k: torch.as_tensor(v, dtype=torch.float64) for k, v in quantities.items()},
                properties={"gap": scalar_property("gap", "eV"), "active": scalar_property("active")},
            )
        )
    return out


def flows(count: int, seed: int, size: int = 6, num_times: int = 6) -> list[Graph]:
    axis = 2 * np.pi * np.arange(size) / size
    x, y = (v.ravel() for v in np.meshgrid(axis, axis, indexing="ij"))
    positions = torch.from_numpy(np.stack([x, y, 0 * x], 1))
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        phase, t = rng.uniform(0, 6), np.arange(num_times) * 0.2
        pressure = np.exp(-0.3 * t)[:, None] * np.sin(x + y + phase - t[:, None])
        velocity = np.stack([pressure, -pressure, 0 * pressure], -1)
        cell = torch.diag(torch.tensor([2 * np.pi, 2 * np.pi, 1.0], dtype=torch.float64))
        out.append(
            Graph(
                positions,
                torch.zeros(len(x)),
                "field",
                times=torch.from_numpy(t),
                spacing=float(axis[1]),
                cell=cell,
                pbc=torch.tensor([True, True, False]),
                conditions={"viscosity": 0.3},
                edges={"grid": grid_edges((size, size), (True, True))},
                quantities={"velocity": torch.from_numpy(velocity), "pressure": torch.from_numpy(pressure)},
            )
        )
    return out


def screen() -> Console:
    return Console(file=io.StringIO(), width=140)


def test_atoms_end_with_metrics_table_plots_and_report(net: AtomFieldNet, tmp_path: Path) -> None:
    console = screen()
    history = [{"step": i, "train_loss": 1.0 / (i + 1), "valid_loss": 1.0} for i in range(4)]
    found = evaluate(
        net,
        molecules(12, 0),
        ("energy", "forces"),
        tmp_path,
        train=molecules(20, 1),
        history=history,
        control={"forces_rmse_eV_per_A": 7.77},
        title="Small molecules",
        console=console,
    )
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert written == found
    for key in (
        "energy_rmse_meV_per_molecule",
        "energy_mae_meV_per_atom",
        "forces_mae_eV_per_A",
        "forces_rmse_eV_per_A",
    ):
        assert key in found
        assert f"baseline_{key}" in found
    assert all(isinstance(v, float) for v in found.values())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "Small molecules" in text
    assert "7.77" in text
    assert "from scratch" in text
    for name in ("loss_curves.png", "parity.png", "residuals.png", "predictions.extxyz", "report.html"):
        assert (tmp_path / name).stat().st_size > 0
    page = (tmp_path / "report.html").read_text()
    assert page.index("<table") < page.index("<img")
    assert "worst records" in page


def test_properties_and_classes(net: AtomFieldNet, tmp_path: Path) -> None:
    found = evaluate(
        net, molecules(12, 0), ("gap", "active"), tmp_path, train=molecules(20, 1), console=screen()
    )
    assert {
        "gap_mae_eV",
        "gap_rmse_eV",
        "gap_r2",
        "active_roc_auc",
        "active_pr_auc",
        "active_accuracy",
    } <= found.keys()
    assert found["baseline_active_roc_auc"] == 0.5
    header = (tmp_path / "predictions.csv").read_text().splitlines()[0]
    assert {"gap", "active", "REF_gap", "REF_active"} <= set(header.split(","))
    assert "energy" not in header
    assert (tmp_path / "classifier_active.png").exists()


def test_fields_are_rolled_out_beside_persistence_and_pod(net: AtomFieldNet, tmp_path: Path) -> None:
    console = screen()
    found = evaluate(net, flows(3, 5), ("velocity", "pressure"), tmp_path, train=flows(6, 1), console=console)
    for name in ("velocity", "pressure"):
        # an untrained head has zero weights: the network is persistence
        assert found[f"{name}_rollout_vrmse"] == pytest.approx(
            found[f"baseline_persistence_{name}_rollout_vrmse"], rel=1e-5
        )
        assert found[f"{name}_step_vrmse"] == pytest.approx(
            found[f"baseline_persistence_{name}_step_vrmse"], rel=1e-5
        )
        assert found[f"baseline_pod_{name}_rollout_vrmse"] < 0.01
        assert (tmp_path / f"rollout_{name}_median.png").exists()
        assert (tmp_path / f"rollout_error_{name}.png").exists()
    with np.load(tmp_path / "predictions.npz") as arrays:
        assert arrays["0/velocity"].shape == (5, 36, 3)
        assert arrays["0/times"].shape == (5,)
        assert arrays["rollout_vrmse/pressure"].shape == (3, 5)
    assert "rank" in console.file.getvalue()  # type: ignore[attr-defined]


def test_without_training_records_only_what_needs_no_fit_is_compared(
    net: AtomFieldNet, tmp_path: Path
) -> None:
    found = evaluate(net, molecules(6, 0), ("energy", "forces"), tmp_path, console=screen())
    assert "baseline_forces_rmse_eV_per_A" in found
    assert not any(k.startswith("baseline_energy") for k in found)


def test_what_cannot_be_judged_is_refused(net: AtomFieldNet, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="target 'stress' is in none of the 4 test records, which have active, energy"
    ):
        evaluate(net, molecules(4, 0), ("stress",), tmp_path, console=screen())
    with pytest.raises(InputError, match="no test records"):
        evaluate(net, [], ("energy",), tmp_path, console=screen())
    with pytest.raises(InputError, match="atoms and fields"):
        evaluate(net, [*molecules(1, 0), *flows(1, 0)], ("energy",), tmp_path, console=screen())
    with pytest.raises(InputError, match="1 time, expected at least 2"):
        evaluate(net, [flows(1, 0)[0].snapshot(0)], ("pressure",), tmp_path, console=screen())
    strange = Graph(
        torch.zeros(1, 3),
        torch.ones(1),
        "molecule",
        quantities={"logS": torch.tensor(1.0)},
        properties={"logS": scalar_property("logS")},
    )
    with pytest.raises(InputError, match="does not predict 'logS'; it predicts"):
        evaluate(net, [strange], ("logS",), tmp_path, console=screen())


def test_steps_are_spread_and_divergence_is_null(tmp_path: Path) -> None:
    assert step_starts(2).tolist() == [0]
    assert step_starts(21).tolist()[0] == 0
    assert step_starts(21).tolist()[-1] == 19
    assert len(step_starts(21)) == 8
    write_metrics({"a": float("inf"), "b": 1.0}, tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": None, "b": 1.0}


def test_brackets_in_names_are_no_markup():
    console = Console(file=io.StringIO(), width=200)
    table = Table(("quantity", "model"), [["gap [eV] MAE", "0.1"]], "Trivial baseline: gap [/bold] mean.")
    print_table(table, "gap [eV] on 3 records", console)
    printed = " ".join(console.file.getvalue().split())
    assert "gap [eV] on 3 records" in printed and "gap [eV] MAE" in printed and "gap [/bold] mean" in printed


def far(count: int, seed: int) -> list[Graph]:
    """Molecules whose numbers a network that was not trained is far from."""
    graphs = molecules(count, seed)
    return [replace(g, quantities={n: g.quantities[n] + 9.0 for n in ("energy", "gap")}) for g in graphs]


@pytest.mark.parametrize("world", [far, flows])
def test_what_is_no_better_than_a_baseline_is_said(
    net: AtomFieldNet, tmp_path: Path, world: Callable[[int, int], list[Graph]]
) -> None:
    said = screen()
    targets = ("energy", "gap") if world is far else ("pressure",)
    evaluate(net, world(6, 0), targets, tmp_path, train=world(20, 1), calibrated_here=True, console=said)
    text = " ".join(said.file.getvalue().split())  # type: ignore[attr-defined]
    assert "6 validation records; bold" in text and "test record" not in text
    for name in targets:
        assert re.search(rf"{name} (RMSE|rollout VRMSE) [^(]* is no better than the trivial forecast", text)
    report = (tmp_path / "report.html").read_text()
    assert "nothing of use was learnt" in report and "test record" not in report


def test_energies_in_another_unit_than_forces_are_suspected() -> None:
    graphs, targets = molecules(12, 0), ("energy", "forces")
    constants = fit_elements(graphs, np.array([float(g.quantities["energy"]) for g in graphs]))

    def notes(factor: float, sign: float = 1.0) -> list[str]:
        predictions = []
        for g in graphs:
            base = constants[g.species.numpy()].sum()
            energy = base + factor * (float(g.quantities["energy"]) - base)
            predictions.append(
                {"energy": np.asarray(energy), "forces": sign * g.quantities["forces"].numpy()}
            )
        measures = measures_of(graphs, predictions, targets, {})
        return energies_against_forces(Assessment(graphs, targets, {}, predictions, measures))

    assert "energies vary 0.0368 times as much as these forces say" in notes(27.2)[0]
    assert "energies vary 23 times as much" in notes(0.0434)[0]
    assert notes(1.2) == [] and notes(27.2, sign=-1.0) == []


def test_values_per_atom_with_gaps(
    net: AtomFieldNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs = []
    for g in (g for g in molecules(12, 0) if g.species.ne(8).any()):
        shift = g.species.double() * 10
        shift[g.species == 8] = float("nan")
        quantity = Quantity("shift", "0e", "node", "", "")
        graphs.append(replace(g, quantities={"shift": shift}, properties={"shift": quantity}))
    predictions = [{"shift": np.nan_to_num(g.quantities["shift"].numpy()) + 1.0} for g in graphs]
    shown: dict[str, tuple[float, int]] = {}
    monkeypatch.setattr(
        "atomfield.finetune.atom_plots.residuals", lambda by_element, *_: shown.update(by_element)
    )
    monkeypatch.setattr("atomfield.finetune.sections.save_picture", lambda *_: None)
    _residuals(Assessment(graphs, ("shift",), {"shift": "regression"}, predictions, []), tmp_path)
    assert set(shown) == {"H", "C"} and all(error == pytest.approx(1.0) for error, _ in shown.values())
    assert describe("shift", {}, "node") == "mean per element"
