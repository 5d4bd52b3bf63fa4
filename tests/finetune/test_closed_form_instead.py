"""A default run of a property is no worse than its closed form, by the validation records."""

import io
from dataclasses import replace

import pytest
import torch
from rich.console import Console

from atomfield.finetune.closed_form_instead import FEWEST
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.models import checkpoint
from tests.finetune.test_boosted import bent
from tests.small import morse_clusters, small_network

pytest.importorskip("sklearn")


@pytest.fixture
def start(tmp_path):
    return checkpoint.save(small_network(), tmp_path / "start")


def run(start, out, graphs=None, **options):
    given = {"from": str(start), "train": ("memory",), "target": ("step",), "steps": 3, "out": out, **options}
    graphs = graphs or bent(180)
    said = io.StringIO()
    parts = Parts(graphs[:100], graphs[100:150], graphs[150:])
    return finetune(FinetuneConfig(**given), parts, console=Console(file=said, width=300)), said.getvalue()


def test_three_steps_are_worse_than_a_closed_form(start, tmp_path):
    kept, said = run(start, tmp_path / "auto")
    assert "it is kept, and the trained weights are not" in said
    solved, _ = run(start, tmp_path / "boosted", strategy="boosted", steps=None)
    assert kept["step_mae"] == pytest.approx(solved["step_mae"], rel=1e-5)
    assert checkpoint.read_config(tmp_path / "auto").properties[0].trees
    as_asked, said = run(start, tmp_path / "full", strategy="full")
    assert "validation score" not in said.split("Evaluating")[0].split("are trained")[1]
    assert as_asked["step_mae"] > kept["step_mae"]


def test_enough_training_is_kept(start, tmp_path, monkeypatch):
    from atomfield.finetune import run as module

    scores = iter([0.1, 0.099])
    monkeypatch.setattr(module, "_judged", lambda *_: next(scores))
    _, said = run(start, tmp_path / "run")
    assert "validation score 0.1; of a closed form" in said and "0.099: the trained network is kept" in said
    assert not checkpoint.read_config(tmp_path / "run").properties[0].trees


def test_what_has_learnt_nothing_gives_way_without_a_margin(start, tmp_path, monkeypatch):
    """Few validation records of a rare class, say, do not tell which is better."""
    from atomfield.finetune import run as module

    scores = iter([5.0, 5.1])
    monkeypatch.setattr(module, "_judged", lambda *_: next(scores))
    _, said = run(start, tmp_path / "run", target=("step", "large"))
    assert (
        "no better than a constant (" in said and "the closed form is on training records; it is kept" in said
    )


def test_outlying_labels_do_not_spoil_the_closed_form(start, tmp_path):
    graphs = bent(180)
    spoilt = [
        replace(g, quantities={**g.quantities, "step": torch.tensor(1e5, dtype=torch.float64)})
        if i in (3, 40)
        else g
        for i, g in enumerate(graphs)
    ]
    clean, _ = run(start, tmp_path / "clean", graphs)
    found, said = run(start, tmp_path / "spoilt", spoilt)
    assert "2 of 100 training labels lie far outside" in said and "it is kept" in said
    assert found["step_mae"] < 1.5 * clean["step_mae"]


def test_nothing_is_said_of_what_has_no_closed_form(start, tmp_path):
    energies = morse_clusters(180)
    _, said = run(start, tmp_path / "energies", energies, target=("energy",))
    assert "closed form" not in said
    graphs = bent(100 + FEWEST - 1 + 20)
    parts = Parts(graphs[:100], graphs[100 : 100 + FEWEST - 1], graphs[100 + FEWEST :])
    config = FinetuneConfig(
        **{"from": str(start)}, train=("memory",), target=("step",), steps=3, out=tmp_path / "few"
    )
    console = Console(file=io.StringIO(), width=300)
    finetune(config, parts, console=console)
    assert "closed form" not in console.file.getvalue()
