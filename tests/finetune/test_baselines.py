"""Baselines recover data that obey them exactly, and see nothing but the training records."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.quantities import scalar_property
from atomfield.finetune.baselines import describe, fit_elements, fit_trivial, persistence
from atomfield.finetune.metrics import metrics_of
from atomfield.finetune.pod import fit_pod


def molecule(species: list[int], level: str = "", **quantities: object) -> Graph:
    positions = torch.arange(len(species))[:, None] * torch.tensor([1.5, 0.0, 0.0])
    values = {k: torch.as_tensor(v, dtype=torch.float64) for k, v in quantities.items()}
    own = {k: scalar_property(k) for k in ("gap", "active") if k in values}
    return Graph(positions, torch.tensor(species), "molecule", level=level, quantities=values, properties=own)


def test_energies_that_are_sums_over_elements_are_recovered_per_level() -> None:
    rng = np.random.default_rng(0)
    constants = {"a": {1: -13.0, 6: -1000.0, 8: -2000.0}, "b": {1: -14.0, 6: -1010.0, 8: -2020.0}}

    def make(level: str) -> Graph:
        species = [1, *rng.choice([1, 6, 8], size=rng.integers(1, 9)).tolist()]
        return molecule(species, level, energy=sum(constants[level][z] for z in species))

    train, test = [make("ab"[i % 2]) for i in range(40)], [make("ab"[i % 2]) for i in range(10)]
    baseline = fit_trivial(train, ["energy", "forces"], {})
    for graph, prediction in zip(test, baseline.predict(test), strict=True):
        assert prediction["energy"] == pytest.approx(float(graph.quantities["energy"]), abs=1e-8)
        assert not prediction["forces"].any()
    unknown = [molecule([1, 7], "a"), molecule([1], "c")]
    assert all("energy" not in p for p in baseline.predict(unknown))


def test_one_composition_gives_the_mean_energy() -> None:
    graphs = [molecule([6, 1, 1], energy=e) for e in (-1.0, -3.0)]
    constants = fit_elements(graphs, np.array([-1.0, -3.0]))
    assert constants[[6, 1, 1]].sum() == pytest.approx(-2.0)
    assert np.isnan(constants[8])


def test_means_and_prevalence() -> None:
    train = [
        molecule(
            [1, 8],
            gap=float(v),
            active=float(v > 2),
            charges=[0.1 * v, -0.1 * v],
            stress=v * np.eye(3),
            dipole=[1.0, 0, 0],
        )
        for v in range(4)
    ]
    kinds = {"gap": "regression", "active": "classification"}
    targets = ["gap", "active", "charges", "stress", "dipole"]
    found = fit_trivial(train, targets, kinds).predict([molecule([8, 1, 1])])[0]
    assert found["gap"] == pytest.approx(1.5)
    assert found["active"] == pytest.approx(np.log(1.5 / 3.5))
    assert found["charges"] == pytest.approx([-0.15, 0.15, 0.15])
    assert found["stress"] == pytest.approx(1.5 * np.eye(3))
    assert found["dipole"] == pytest.approx(np.zeros(3))
    assert fit_trivial([], targets, kinds).predict(train[:1])[0].keys() == {"dipole"}
    measured = metrics_of(train, fit_trivial(train, targets, kinds).predict(train), ["active", "gap"], kinds)
    assert measured["active_roc_auc"] == 0.5
    assert measured["active_accuracy"] == 0.75
    assert measured["gap_r2"] == pytest.approx(0, abs=1e-12)
    assert describe("active", kinds) == "majority class"


def oscillators(seed: int, num_times: int = 12, num_nodes: int = 30, dt: float = 0.1) -> Graph:
    """A linear system of rank four with a constant: two damped waves on fixed patterns."""
    pattern = np.random.default_rng(7).normal(size=(5, num_nodes, 3))
    rng = np.random.default_rng(seed)
    phase, size, t = rng.uniform(0, 6, 2), rng.uniform(0.5, 1.5, 2), np.arange(num_times) * dt
    state = np.broadcast_to(pattern[4], (num_times, num_nodes, 3)).copy()
    for k, (omega, damping) in enumerate(((2.0, 0.1), (5.0, 0.3))):
        wave = size[k] * np.exp(-damping * t)
        angle = omega * t + phase[k]
        state += np.multiply.outer(wave * np.cos(angle), pattern[2 * k])
        state += np.multiply.outer(wave * np.sin(angle), pattern[2 * k + 1])
    positions = torch.from_numpy(np.random.default_rng(8).random((num_nodes, 3)))
    pressure = state.sum(-1)
    return Graph(
        positions,
        torch.zeros(num_nodes),
        "field",
        times=torch.from_numpy(t),
        spacing=0.1,
        quantities={"velocity": torch.from_numpy(state), "pressure": torch.from_numpy(pressure)},
    )


@pytest.mark.parametrize("num_trajectories", [1, 8])
def test_the_pod_map_recovers_a_linear_system(num_trajectories: int) -> None:
    length = 12 if num_trajectories > 1 else 60
    baseline = fit_pod([oscillators(s, length) for s in range(num_trajectories)], ["velocity", "pressure"])
    test = oscillators(100, num_times=20)
    found = baseline.rollout(test, 19, np.array([0, 7]))
    assert found is not None
    for name in ("velocity", "pressure"):
        truth = test.quantities[name].numpy()
        assert found[name] == pytest.approx(truth, abs=1e-5)
        assert found[f"{name}_step"] == pytest.approx(truth[[1, 8]], abs=1e-5)
    assert "rank 4" in baseline.notes[0]


def test_other_points_or_another_dt_have_no_map() -> None:
    baseline = fit_pod([oscillators(s) for s in range(6)], ["velocity"])
    assert baseline.rollout(oscillators(9, dt=0.2), 3, np.array([0])) is None
    assert baseline.rollout(oscillators(9, num_nodes=29), 3, np.array([0])) is None
    assert "none was fitted" in fit_pod([], ["velocity"]).notes[0]
    few = fit_pod([oscillators(0, num_times=4)], ["velocity"])
    assert not few.maps
    assert "fewer than 8" in few.notes[0]


def test_a_field_at_rest_stays_at_rest() -> None:
    still = Graph(
        torch.rand(5, 3, dtype=torch.float64),
        torch.zeros(5),
        "field",
        times=torch.arange(12) * 0.1,
        quantities={"pressure": torch.full((12, 5), 2.0)},
    )
    found = fit_pod([still], ["pressure"]).rollout(still, 4, np.array([0]))
    assert found is not None
    assert found["pressure"] == pytest.approx(np.full((5, 5), 2.0))


def test_persistence_keeps_the_state() -> None:
    graph = oscillators(0)
    found = persistence(graph, ["velocity"], 3, np.array([2, 5]))
    truth = graph.quantities["velocity"].numpy()
    assert found["velocity"].shape == (4, 30, 3)
    assert (found["velocity"] == truth[0]).all()
    assert (found["velocity_step"] == truth[[2, 5]]).all()
