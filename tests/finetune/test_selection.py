"""Weights that did best on a few validation records are kept where they are better than the last by more than chance."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.finetune import train
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.selection import MOST_RECORDS, beyond_chance
from tests.small import morse_clusters

from .test_run import SMALL


def test_student():
    """n = 5, differences 1 to 5: mean 3, s 1.58, 3 / (1.58 / sqrt 5) = 4.24 > t(0.95, 4) = 2.13; with one of -10 it is 0."""
    worse = np.array([2.0, 4.0, 6.0, 8.0, 10.0])
    assert beyond_chance(worse / 2, worse)
    assert not beyond_chance(worse / 2 + [0, 0, 0, 0, 15], worse)
    assert not beyond_chance(worse, worse)
    assert not beyond_chance([0.0, 0.0], [1.0, 1.1]), "two records say nothing"
    assert not beyond_chance([np.nan, 1.0, 1.0], [2.0, 2.0, 2.0])


@pytest.mark.parametrize("level", [0.02, 0.08])
def test_chance_is_what_it_says(level):
    """Of two equal scores with noise the first is called better in about 5 of 100 draws."""
    rng = np.random.default_rng(0)
    found = np.mean([beyond_chance(*rng.normal(1.0, 0.3, (2, 6))) for _ in range(4000)])
    assert (found > level) == (level < 0.05)


def run(tmp_path, monkeypatch, scores, verdict=None, validation=6):
    """Finetune with validation scores that are given instead of measured; the weights at each validation, and those kept."""
    seen, given = [], iter(scores)

    def validate(net, ema, valid, device):
        seen.append({k: v.clone() for k, v in ema.average.items()})
        return {"energy_mae_eV_per_atom": next(given)}

    monkeypatch.setattr(train, "validate", validate)
    monkeypatch.setattr(train, "NUM_VALIDATIONS", len(scores))
    monkeypatch.setattr(train, "steps_between", lambda streams, valid: 1)
    monkeypatch.setattr(train, "score", lambda net, found: found["energy_mae_eV_per_atom"])
    if verdict is not None:
        monkeypatch.setattr(train, "beyond_chance", lambda better, worse: verdict)
    kept = {}
    real = train._put
    monkeypatch.setattr(train, "_put", lambda net, weights: (kept.update(weights), real(net, weights)))
    graphs = morse_clusters(20 + validation)
    config = FinetuneConfig(
        **{"from": "scratch", "train": ("memory",), "target": ("energy", "forces"), "out": tmp_path,
           "network": SMALL, "steps": 12}
    )  # fmt: skip
    console = Console(file=io.StringIO())
    finetune(config, Parts(graphs[:16], graphs[16:-4], graphs[-4:]), console=console)
    return seen, kept


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_lucky_validation_does_not_choose_the_weights(tmp_path, monkeypatch, capsys):
    """The scores say that the second of four was best; record by record the last ones are."""
    seen, kept = run(tmp_path, monkeypatch, [4.0, 1e-9, 3.0, 2.0])
    assert same(kept, seen[-1]) and not same(kept, seen[1])
    assert "lowest at step 6, which may be chance with 6 records" in capsys.readouterr().err
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["step"] for r in rows if "valid_score" in r] == [3, 6, 9, 12]


def test_what_is_beyond_chance_chooses_them(tmp_path, monkeypatch):
    seen, kept = run(tmp_path, monkeypatch, [4.0, 1.0, 3.0, 2.0], verdict=True)
    assert same(kept, seen[1])


def test_many_validation_records_choose_as_they_are(tmp_path, monkeypatch):
    seen, kept = run(tmp_path, monkeypatch, [4.0, 1e-9, 3.0, 2.0], validation=MOST_RECORDS + 1)
    assert same(kept, seen[1])
