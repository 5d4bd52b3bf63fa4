"""What rollouts keep: exact values on waves whose spectrum, mean and energy are known."""

import numpy as np
import pytest

from atomfield.finetune.field_laws import kept_values, window_errors
from tests.small import waves


def wave(graph, number, axis=0):
    return np.cos(2 * np.pi * number * np.asarray(graph.positions)[:, axis])[None, :]


@pytest.fixture
def graph():
    return waves(1, num_points=32)[0]


def test_an_error_in_one_band_stays_there(graph):
    truth = wave(graph, 1) + wave(graph, 4) + wave(graph, 14)
    found = kept_values(graph, truth, truth - 0.5 * wave(graph, 14))
    spectral = {k[0]: v for k, v in found.items() if "spectral" in k[0]}
    assert spectral == pytest.approx(
        {"rollout_spectral_low": 0.0, "rollout_spectral_middle": 0.0, "rollout_spectral_high": 0.5}, abs=1e-12
    )


def test_the_mean_and_the_energy(graph):
    truth = wave(graph, 2)
    found = {k[0]: v for k, v in kept_values(graph, truth, truth + 0.1).items()}
    assert found["rollout_mean_drift"] == pytest.approx(0.1 / np.sqrt(0.5))
    assert found["rollout_energy_error"] == pytest.approx(0.01 / 0.5)
    assert {k[0]: v for k, v in kept_values(graph, truth, 2 * truth).items()}["rollout_energy_error"] == (
        pytest.approx(3.0)
    )


def test_a_forecast_that_diverged_is_infinitely_wrong(graph):
    found = kept_values(graph, wave(graph, 2), np.full_like(wave(graph, 2), np.nan))
    assert found["rollout_mean_drift", "drift of the mean"] == np.inf


def test_windows_are_those_that_the_rollout_reaches():
    curve = np.arange(1.0, 13.0)
    found = {k[0]: v for k, v in window_errors(curve, curve**2, np.ones(12)).items()}
    assert set(found) == {f"rollout_{e}_steps_{w}" for e in ("vrmse", "nrmse") for w in ("1_5", "6_12")}
    assert found["rollout_vrmse_steps_1_5"] == 3.0
    assert found["rollout_vrmse_steps_6_12"] == 9.0
    assert found["rollout_nrmse_steps_1_5"] == pytest.approx(np.sqrt(11.0))
