"""Intervals of rollouts: step by step, from validation trajectories, kept by the checkpoint, and as good as promised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atomfield.finetune.calibration import judge_intervals
from atomfield.finetune.rollout_widths import rollout_widths
from atomfield.finetune.uncertainty import fit_uncertainty
from atomfield.inference.forecast import forecast
from atomfield.inference.intervals import rollout_half_widths, start_size
from atomfield.inference.rollout import rollout
from atomfield.models import checkpoint
from atomfield.models.uncertainty import COVERAGES
from tests.small import small_network, waves

TARGETS = ("concentration",)


def sized(graphs):
    """Trajectories of very different amplitudes."""
    rng = np.random.default_rng(0)
    return [
        g.changed(quantities={**g.quantities, "concentration": float(s) * g.quantities["concentration"]})
        for g, s in zip(graphs, rng.lognormal(size=len(graphs)), strict=True)
    ]


@pytest.fixture(scope="module")
def net():
    made = small_network()
    graphs = sized(waves(60))
    fit_uncertainty(made, TARGETS, "wave", graphs[:20], graphs[20:])
    return made.eval()


def predictions_of(net, graphs):
    """As reports have them: states of rollouts, and single steps, which are not looked at."""
    return [
        {"concentration": rollout(net, g)["concentration"].numpy(), "concentration_step": None}
        for g in graphs
    ]


def test_widths_are_quantiles_of_errors_of_trajectories(net):
    graphs = sized(waves(60))[20:]
    widths, units = rollout_widths(net, TARGETS, graphs)
    assert widths.shape == (1, 4, len(COVERAGES)) and units == 40
    assert torch.equal(net.uncertainty.rollouts, torch.from_numpy(widths))
    assert (np.diff(widths, axis=2) > 0).all(), "wider intervals hold more"
    for step in (1, 4):
        shares = []
        for graph in graphs:
            true = graph.quantities["concentration"]
            error = (rollout(net, graph)["concentration"][step] - true[step]).abs() / start_size(true[0])
            shares.append(float((error <= widths[0, step - 1, COVERAGES.index(0.9)]).double().mean()))
        assert 0.9 * 41 / 40 <= np.mean(shares) < 0.9 * 41 / 40 + 0.02, (
            "the smallest width with (K + 1) / K of the share"
        )


def test_coverage_of_other_trajectories_is_what_was_promised(net):
    graphs = sized(waves(60, seed=7))
    report = judge_intervals(net.uncertainty, graphs, predictions_of(net, graphs), TARGETS)
    found = {m.key: m.value for m in report.measures}
    assert 0.8 < found["concentration_rollout_interval90_coverage"] < 0.98
    assert found["concentration_rollout_interval90_beta_binomial_p"] > 0.01


def test_a_saved_checkpoint_has_them_and_a_forecast_says_them(net, tmp_path):
    checkpoint.save(net, tmp_path / "model")
    loaded = checkpoint.load(tmp_path / "model")
    assert loaded.config.uncertainty.rollout_steps == 4 and loaded.config.uncertainty.rollout_units == 40
    assert torch.equal(loaded.uncertainty.rollouts, net.uncertainty.rollouts)
    (graph,) = sized(waves(1))
    found = forecast(loaded, graph)
    width = found.widths["concentration"]
    assert width[0] == 0 and (width[1:] > 0).all() and len(width) == 5
    tensors = {n: torch.from_numpy(v) for n, v in found.truth.items()}
    wide = rollout_half_widths(loaded.uncertainty, graph, {n: 10 * v for n, v in tensors.items()})
    assert np.allclose(wide["concentration"], 10 * width)
    assert set(rollout_half_widths(loaded.uncertainty, graph.changed(level=""), tensors)) == {"concentration"}
    assert forecast(loaded, graph, steps=6).widths == {}, "six steps were never calibrated"
    assert rollout_half_widths(loaded.uncertainty, graph.changed(level="morse"), tensors) == {}


def test_few_trajectories_make_no_promise():
    widths, units = rollout_widths(small_network(), TARGETS, waves(9))
    assert widths.shape[1] == 0 and units == 9
