"""Intervals of a finetuned checkpoint: the Laplace variance is the exact one, coverage holds, what is unlike the data is seen."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.moments import Moments, shrunk
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.uncertainty import fit_uncertainty
from atomfield.inference.predict import predict_graphs
from atomfield.model import load
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig
from atomfield.models.uncertainty import COVERAGES, FeatureSpace
from tests.small import morse_clusters, small_network, waves

SMALL = {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}


def calibrated(graphs, targets, level):
    net = small_network()
    half = len(graphs) // 2
    fit_uncertainty(net, targets, level, graphs[:half], graphs[half:])
    return net.eval()


def test_the_variance_is_that_of_a_linear_last_layer(monkeypatch):
    """v (1 + F) / n = phi~ (sum phi~ phi~^T)^-1 phi~ of Bayesian linear regression with a constant."""
    monkeypatch.setattr("atomfield.finetune.moments.shrunk", lambda covariance, number: covariance)
    torch.manual_seed(0)
    features = 3.0 + torch.randn(400, 8, dtype=torch.float64) @ torch.randn(8, 8, dtype=torch.float64)
    space = FeatureSpace("structure", NetworkConfig(head_hidden=8))
    moments = Moments(space)
    moments.add(features, torch.zeros(400, dtype=torch.int64))
    moments.finish()
    ones = torch.cat([torch.ones(400, 1), features], 1)
    exact = torch.einsum("ni,ij,nj->n", ones, torch.linalg.inv(ones.T @ ones), ones)
    found = (1 + space(features, torch.zeros(400, dtype=torch.int64))) / 400
    assert float((found / exact - 1).abs().max()) < 1e-9


def test_few_samples_can_be_inverted():
    features = torch.randn(3, 20, dtype=torch.float64)
    covariance = shrunk(features.T @ features / 3, 3.0)
    assert float(torch.linalg.eigvalsh(covariance).min()) > 0


def test_coverage_is_what_was_promised_and_the_strange_is_seen(tmp_path):
    graphs = morse_clusters(300)
    parts = Parts(graphs[:100], graphs[100:200], graphs[200:])
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("m",), "test": ("m",), "target": ("energy", "forces"),
           "network": SMALL, "steps": 60, "out": tmp_path}
    )  # fmt: skip
    metrics = finetune(config, parts, console=Console(file=io.StringIO()))
    for name in ("energy", "forces"):
        assert metrics[f"{name}_interval90_beta_binomial_p"] > 0.01
        assert 0.8 < metrics[f"{name}_interval90_coverage"] < 0.99
    assert metrics["ood_share_above_1"] < 0.2
    assert (tmp_path / "calibration.png").stat().st_size > 10_000
    assert "Uncertainty" in (tmp_path / "report.html").read_text()

    model = load(tmp_path)
    stretched = [replace(g, positions=1.25 * g.positions) for g in graphs[200:220]]
    usual, strange = model.predict(graphs[200:220]), model.predict(stretched)
    assert np.mean([p["ood_score"] for p in strange]) > 2 * np.mean([p["ood_score"] for p in usual])
    farther = model.predict([replace(g, positions=1.8 * g.positions) for g in graphs[200:220]])
    deviations = [np.mean([p["energy_std"] for p in found]) for found in (usual, strange, farther)]
    assert deviations[0] < deviations[1] < deviations[2] > 1.25 * deviations[0]
    one = usual[0]
    assert one["forces_std"].shape == (5,) and one["forces_lower"].shape == (5, 3)
    assert np.allclose(one["energy_upper"] - one["energy"], one["energy"] - one["energy_lower"])
    wide = model.predict(graphs[200:201], coverage=0.95)[0]
    assert wide["energy_upper"] > one["energy_upper"]
    assert not [n for n in model.predict(graphs[200:201], coverage=None)[0] if "std" in n or "ood" in n]
    with pytest.raises(InputError, match=r"coverage is 0.7, expected one of 0.5, 0.8, 0.9, 0.95"):
        model.predict(graphs[200:201], coverage=0.7)


def test_intervals_survive_saving_and_belong_to_one_level(tmp_path):
    graphs = morse_clusters(40)
    net = calibrated(graphs, ("energy", "forces", "gap"), "morse")
    checkpoint.save(net, tmp_path / "m")
    again = checkpoint.load(tmp_path / "m")
    a, b = predict_graphs(net, graphs[:2]), predict_graphs(again, graphs[:2])
    assert a[0].keys() == b[0].keys() >= {"energy_std", "forces_upper", "ood_score"}
    np.testing.assert_array_equal(a[0]["forces_lower"], b[0]["forces_lower"])
    assert "gap_std" in a[0] and "gap_lower" not in a[0]  # nothing was labelled with a gap
    other = small_network(levels=("morse", "other", "wave"))
    fit_uncertainty(other, ("energy",), "morse", graphs[:20], graphs[20:])
    (found,) = predict_graphs(other, [replace(graphs[0], level="other")])
    assert "energy" in found and not [n for n in found if "energy_" in n or n == "ood_score"]


def test_intervals_turn_and_batch_as_what_they_are_about():
    graphs = morse_clusters(40)
    net = calibrated(graphs, ("energy", "forces"), "morse").double()
    turn = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turned = replace(graphs[3], positions=graphs[3].positions @ turn.T)
    (a,), (b,) = predict_graphs(net, [graphs[3]]), predict_graphs(net, [turned])
    for name in ("energy_std", "forces_std", "ood_score"):
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5)
    packed = predict_graphs(net, graphs[:5])
    np.testing.assert_allclose(packed[3]["forces_std"], a["forces_std"], rtol=1e-10)


def test_few_records_give_no_interval_and_say_so():
    graphs = morse_clusters(14)
    net = small_network()
    notes = fit_uncertainty(net, ("energy",), "morse", graphs[:8], graphs[8:])
    assert "at least 9 validation records with a label, found 6" in notes[0]
    (found,) = predict_graphs(net, graphs[:1])
    assert "energy_std" in found and "energy_lower" not in found
    assert "energy_lower" in predict_graphs(net, graphs[:1], coverage=0.8)[0]


def test_steps_of_a_field_have_intervals(tmp_path):
    fields = waves(8)
    net = small_network()
    notes = fit_uncertainty(net, ("concentration",), "wave", fields[:4], fields[4:])
    assert any("single steps of few trajectories" in n for n in notes)
    (found,) = predict_graphs(net, fields[:1])
    assert found["concentration_lower"].shape == found["concentration"].shape == (4, 64)
    assert found["ood_score"].shape == (4,)
    assert COVERAGES.index(0.9) == 2
