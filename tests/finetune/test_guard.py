"""A penalty that is wrong for the data is switched off and said so; one that holds stays; a trial changes nothing else."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.guard import Guard
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.pretrain.config import LossWeights, OptimizerConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.penalties import Copy, _score, check_penalties, without
from atomfield.pretrain.step import MicroBatch
from atomfield.pretrain.streams import Stream
from tests.small import small_network, waves

from .test_run import SMALL


def run(tmp_path, diffusivity: float, weight: float):
    """Finetune on waves that do not decay, with the advection-diffusion law as a penalty."""
    graphs = [replace(g, conditions={"diffusivity": diffusivity}) for g in waves(12)]
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("memory",), "target": ("concentration",), "out": tmp_path, "network": SMALL,
           "steps": 120, "learning_rate": 1e-2, "loss": {"physics": {"advection_diffusion": weight}}}
    )  # fmt: skip
    metrics = finetune(
        config, Parts(graphs[:8], graphs[8:10], graphs[10:]), console=Console(file=io.StringIO())
    )
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    return metrics, rows


def test_a_wrong_law_is_switched_off(tmp_path, capsys):
    """A diffusivity of 1 would damp the waves by a factor of seven a step; they do not decay."""
    metrics, rows = run(tmp_path, diffusivity=1.0, weight=3.0)
    off = [row for row in rows if row.get("trial/off_advection_diffusion") == 1.0]
    assert len(off) == 1 and off[0]["trial/without_advection_diffusion"] < off[0]["trial/with_all"]
    later = [row for row in rows if row["step"] > off[0]["step"]]
    assert later and not any("physics/advection_diffusion" in row for row in later)
    assert "switched off" in capsys.readouterr().err
    assert metrics["physics_advection_diffusion_switched_off"] == 1.0
    assert "switched off" in (tmp_path / "report.html").read_text()


def test_a_law_that_holds_is_kept(tmp_path):
    metrics, rows = run(tmp_path, diffusivity=1e-6, weight=0.01)
    trials = [row for row in rows if "trial/with_all" in row]
    assert len(trials) == 3 and not any(row["trial/off_advection_diffusion"] for row in trials)
    assert "physics/advection_diffusion" in rows[-1]
    assert metrics["physics_advection_diffusion_switched_off"] == 0.0


def test_mean_weights_are_judged_without_recordings():
    """On a GPU each would be of weights that are gone a moment later, and others would go for it."""
    net = small_network().replay_passes()
    before, seen = net.replayed, []
    own = net.atom_head.energy.data
    _score(net, 2, iter((None, None)), lambda: seen.append(net.replayed) or 0.0)
    assert seen == [None] and net.replayed is before
    assert net.atom_head.energy.data.data_ptr() == own.data_ptr()


def test_copies_start_from_one_state_and_the_best_goes_on(monkeypatch):
    """The judge is made to prefer less and less: the copy without the second penalty is the best."""
    net = small_network()
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    ema = Ema(net, 0.9)
    from atomfield.data.graph import collate
    from atomfield.data.neighbors import with_edges

    batch = collate([with_edges(g, 5.0).pair(0) for g in waves(2)])
    scores = iter((1.0, 0.995, 0.5))
    weights = LossWeights(physics={"advection_diffusion": 0.1, "conserved_concentration": 0.1})
    guard = Guard(weights, lambda: next(scores))
    assert not guard.due(0.1, 5) and not guard.due(0.2, 0) and guard.due(0.2, 5)
    seen = []
    original = Copy.restore

    def watched(self, *parts):
        original(self, *parts)
        seen.append({k: p.detach().clone() for k, p in net.named_parameters()})

    monkeypatch.setattr(Copy, "restore", watched)
    trial = guard.trial(engine, net, ema, lambda: [MicroBatch(batch, Targets("next_step"))], 100)
    assert trial.steps == 20 and trial.dropped == ("conserved_concentration",)
    assert guard.weights.physics == {"advection_diffusion": 0.1}
    for name, value in seen[0].items():
        assert torch.equal(value, seen[1][name]) and torch.equal(value, seen[2][name])
    assert any(not torch.equal(v, dict(net.named_parameters())[k]) for k, v in seen[0].items())
    assert ema.updates == 20 and not guard.due(0.2, 120) and guard.due(0.5, 200)
    assert trial.sentences()[1].endswith("switched off") and trial.sentences()[0].endswith("kept")


def test_no_penalty_no_trial():
    assert not Guard(LossWeights(), lambda: pytest.fail("judged")).due(0.5, 100)
    assert without(LossWeights(physics={"curl": 1.0}), "curl").physics == {}


def test_a_penalty_that_asks_nothing_is_a_mistake():
    net = small_network()
    stream = Stream(waves(2), Targets("next_step"), cutoff=5.0, max_edges=5000, seed=0)
    with pytest.raises(
        InputError,
        match="loss.physics.navier_stokes asks nothing .* velocity, pressure, the condition viscosity",
    ):
        check_penalties(net, [stream], LossWeights(physics={"navier_stokes": 1.0}), "cpu")
    with pytest.raises(InputError, match="net_charge .* of atoms"):
        check_penalties(net, [stream], LossWeights(physics={"net_charge": 1.0}), "cpu")
    check_penalties(net, [stream], LossWeights(physics={"advection_diffusion": 1.0}), "cpu")
