"""Numbers worked out by hand, ties in rankings, masks, and the interval of the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.quantities import Quantity, scalar_property
from atomfield.finetune.bootstrap import interval
from atomfield.finetune.field_errors import nrmse, vrmse_curve, vrmse_rows
from atomfield.finetune.metrics import GPA, kind_of, metrics_of, unit_key
from atomfield.finetune.scores import average_precision, curves, roc_auc


def molecule(num_atoms: int, **quantities: object) -> Graph:
    positions = torch.arange(num_atoms)[:, None] * torch.tensor([1.0, 0.0, 0.0])
    definitions: dict[str, Quantity] = {
        "gap": scalar_property("gap", "eV/angstrom^3"),
        "active": scalar_property("active"),
    }
    values = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in quantities.items()}
    return Graph(
        positions,
        torch.ones(num_atoms),
        "molecule",
        quantities=values,
        properties={k: d for k, d in definitions.items() if k in values},
    )


def trajectory(values: np.ndarray, volume: torch.Tensor | None = None) -> Graph:
    """A scalar field ``[T, N]`` on a line."""
    num_nodes = values.shape[1]
    positions = torch.stack(
        [torch.arange(num_nodes) * 1.0, torch.zeros(num_nodes), torch.zeros(num_nodes)], 1
    )
    return Graph(
        positions,
        torch.zeros(num_nodes),
        "field",
        quantities={"solution": torch.tensor(values)},
        volume=volume,
        times=torch.arange(len(values)) * 0.5,
    )


def test_energies_per_atom_and_per_molecule() -> None:
    graphs = [molecule(2, energy=1.0), molecule(4, energy=2.0), molecule(3)]
    predictions = [{"energy": np.array(1.003)}, {"energy": np.array(1.996)}, {"energy": np.array(9.0)}]
    found = metrics_of(graphs, predictions, ["energy"], {})
    assert found["energy_mae_meV_per_molecule"] == pytest.approx(3.5)
    assert found["energy_rmse_meV_per_molecule"] == pytest.approx(np.sqrt(12.5))
    assert found["energy_mae_meV_per_atom"] == pytest.approx((1.5 + 1.0) / 2)
    assert found["energy_rmse_meV_per_atom"] == pytest.approx(np.sqrt((2.25 + 1.0) / 2))


def test_forces_over_components_and_their_cosine() -> None:
    graphs = [molecule(1, forces=[[1.0, 0, 0]]), molecule(2, forces=[[0, 2.0, 0], [0, 0, 0]])]
    predictions = [{"forces": np.array([[0, 1.0, 0]])}, {"forces": np.array([[0, 1.0, 0], [0, 0, 0.0]])}]
    found = metrics_of(graphs, predictions, ["forces"], {})
    assert found["forces_mae_eV_per_A"] == pytest.approx(3 / 9)
    assert found["forces_rmse_eV_per_A"] == pytest.approx(np.sqrt(3 / 9))
    assert found["forces_cosine"] == pytest.approx(0.5)  # 0 and 1; the atom without a force does not count


def test_stress_in_gigapascal_over_six_components() -> None:
    wrong = np.zeros((3, 3))
    wrong[0, 1] = wrong[1, 0] = 0.6
    found = metrics_of([molecule(1, stress=np.zeros((3, 3)))], [{"stress": wrong}], ["stress"], {})
    assert found["stress_mae_GPa"] == pytest.approx(0.1 * GPA)
    assert pytest.approx(160.21766, abs=1e-5) == GPA


def test_properties_have_their_unit_and_missing_labels_are_masked() -> None:
    graphs = [molecule(1, gap=0.0), molecule(1), molecule(1, gap=2.0), molecule(1, gap=4.0)]
    predictions = [{"gap": np.array(v)} for v in (1.0, 100.0, 2.0, 4.0)]
    found = metrics_of(graphs, predictions, ["gap"], {"gap": "regression"})
    assert found == {
        "gap_mae_eV_per_A3": pytest.approx(1 / 3),
        "gap_rmse_eV_per_A3": pytest.approx(np.sqrt(1 / 3)),
        "gap_r2": pytest.approx(1 - 1 / 8),
    }
    assert unit_key("e*angstrom") == "e_A"
    assert unit_key("log(mol/L)") == "log_mol_per_L"
    assert unit_key("1") == unit_key("field") == ""
    assert kind_of("velocity", {}) == "field"
    assert kind_of("dipole", {}) == "regression"


def test_classification_reads_logits() -> None:
    graphs = [molecule(1, active=v) for v in (0.0, 0.0, 1.0, 1.0)]
    predictions = [{"active": np.array(v)} for v in (-2.0, 1.0, 1.0, 3.0)]
    found = metrics_of(graphs, predictions, ["active"], {"active": "classification"})
    assert found["active_roc_auc"] == pytest.approx(3.5 / 4)
    assert found["active_accuracy"] == pytest.approx(3 / 4)
    assert found["active_pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_ranking_scores_with_ties_and_weights() -> None:
    label = np.array([True, False, True, False])
    assert roc_auc(label, np.zeros(4)) == 0.5
    assert average_precision(label, np.zeros(4)) == 0.5
    assert roc_auc(label, np.array([2.0, 1.0, 3.0, 0.0])) == 1.0
    rng = np.random.default_rng(0)
    label, score = rng.random(60) < 0.3, rng.integers(0, 6, 60).astype(float)
    pairs = [(p > n) + 0.5 * (p == n) for p in score[label] for n in score[~label]]
    assert roc_auc(label, score) == pytest.approx(np.mean(pairs))
    weight = rng.integers(0, 3, 60)
    repeated = np.repeat(np.arange(60), weight)
    for statistic in (roc_auc, average_precision):
        assert statistic(label, score, weight.astype(float)) == pytest.approx(
            statistic(label[repeated], score[repeated])
        )
    assert np.isnan(roc_auc(np.ones(3, bool), np.arange(3.0)))
    assert np.isnan(average_precision(np.zeros(3, bool), np.arange(3.0)))
    points = curves(label, score)
    area = np.trapezoid(points["true_positive_rate"], points["false_positive_rate"])
    assert area == pytest.approx(roc_auc(label, score))


def test_vrmse_of_the_best_constant_is_one() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(3, 50, 3))
    best = np.broadcast_to(truth.mean(axis=1, keepdims=True), truth.shape)
    assert vrmse_curve(best, truth) == pytest.approx(np.ones(3))
    weights = rng.random(50)
    best = np.broadcast_to(np.average(truth, axis=1, weights=weights)[:, None], truth.shape)
    assert vrmse_curve(best, truth, weights) == pytest.approx(np.ones(3))
    assert vrmse_curve(1e6 * best, 1e6 * truth, weights) == pytest.approx(np.ones(3))  # units do not matter
    assert np.isinf(vrmse_curve(np.full_like(truth, np.nan), truth)).all()
    assert np.isnan(vrmse_curve(truth, np.ones_like(truth))).all()
    assert nrmse(np.zeros_like(truth), truth) == pytest.approx(1.0)
    assert nrmse(np.full_like(truth, np.inf), truth) == np.inf


def test_rollout_and_single_steps_of_a_field() -> None:
    truth = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]])  # variances 0.25, 1, 4
    rolled = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 4.0]])  # mean squared errors 0, 0.5, 2
    prediction = {"solution": rolled, "solution_step": np.array([[0.0, 2.0]]), "step_index": np.array([0])}
    found = metrics_of([trajectory(truth)], [prediction], ["solution"], {})
    assert found["solution_rollout_vrmse"] == pytest.approx(np.sqrt(0.5))
    assert found["solution_rollout_final_vrmse"] == pytest.approx(np.sqrt(0.5))
    assert found["solution_step_vrmse"] == 0
    assert found["solution_rollout_nrmse"] == pytest.approx(np.sqrt(1.25 / 5))
    times, rows = vrmse_rows(
        [trajectory(truth), trajectory(truth)], [prediction, {"solution": rolled[:2]}], "solution"
    )
    assert times == pytest.approx([0.5, 1.0])
    assert rows[0] == pytest.approx(np.sqrt([0.5, 0.5]))
    assert np.isnan(rows[1, 1])


def test_a_diverged_rollout_counts_as_infinite() -> None:
    truth = np.random.default_rng(0).normal(size=(4, 5))
    bad = truth.copy()
    bad[2:] = np.nan
    graphs = [trajectory(truth), trajectory(truth)]
    found = metrics_of(graphs, [{"solution": truth}, {"solution": bad}], ["solution"], {})
    assert found["solution_rollout_vrmse"] == np.inf


def test_the_interval_holds_the_value_and_shrinks_with_records() -> None:
    rng = np.random.default_rng(3)
    widths = []
    for count in (20, 500):
        values = rng.normal(size=count)
        low, high = interval(lambda w, v=values: float(w @ v / w.sum()), np.arange(count))
        assert low < values.mean() < high
        widths.append(high - low)
    assert widths[1] < 0.4 * widths[0]
    assert all(np.isnan(interval(lambda w: 1.0, np.arange(4))))
    graphs = [molecule(1, gap=float(v)) for v in range(8)]
    found = metrics_of(graphs, [{"gap": np.array(v + 0.5 * (v % 2))} for v in range(8)], ["gap"], {})
    assert found["gap_mae_eV_per_A3_ci_low"] < found["gap_mae_eV_per_A3"] < found["gap_mae_eV_per_A3_ci_high"]


def test_r2_does_not_depend_on_the_unit() -> None:
    """Labels of 1e-19 (charges in coulomb) have a spread too, and equal ones of 1e9 have none."""
    graphs = [molecule(1, gap=1e-19 * v) for v in (0.0, 2.0, 4.0)]
    predictions = [{"gap": np.array(1e-19 * v)} for v in (1.0, 2.0, 4.0)]
    found = metrics_of(graphs, predictions, ["gap"], {"gap": "regression"})
    assert found["gap_r2"] == pytest.approx(1 - 1 / 8)
    same = [molecule(1, gap=0.1e9) for _ in range(7)]
    found = metrics_of(same, [{"gap": np.array(1e9)}] * 7, ["gap"], {"gap": "regression"})
    assert np.isnan(found["gap_r2"])
