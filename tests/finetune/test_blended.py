"""Trees on descriptors beside a trained property: one head says both, in the share that validation asks for."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.data.quantities import scalar_property
from atomfield.finetune.blended import blended
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.tree_records import records_of
from atomfield.inference.predict import predict_graphs
from atomfield.models import checkpoint
from atomfield.models.config import PropertyConfig
from tests.small import small_network

from .test_boosted import drawn

pytest.importorskip("sklearn")


def settings(tmp_path, **options):
    checkpoint.save(small_network(), tmp_path / "start")
    given = {
        "from": str(tmp_path / "start"),
        "train": ("memory",),
        "target": ("mark",),
        "steps": 30,
        "device": "cpu",
    }
    return FinetuneConfig(**{**given, "out": tmp_path / "run", **options})


def parts_of(graphs):
    return Parts(graphs[:120], graphs[120:160], graphs[160:200])


def run(config, graphs):
    told = io.StringIO()
    return finetune(config, parts_of(graphs), console=Console(file=told, width=400)), told.getvalue()


def noted(monkeypatch):
    """What the trained network says before, and the network after."""
    found = {}

    def kept(net, train, valid, names, *rest):
        found["before"] = [float(p[names[0]]) for p in predict_graphs(net, valid, coverage=None)]
        found["told"] = blended(net, train, valid, names, *rest)
        found["net"], found["valid"] = net, valid
        return found["told"]

    monkeypatch.setattr("atomfield.finetune.settled.blended", kept)
    # the closed form sees descriptors too, and would be kept of a network that was hardly trained
    monkeypatch.setattr("atomfield.finetune.settled.better_of", lambda net, *_: net)
    return found


def test_what_descriptors_tell_is_added(tmp_path, monkeypatch):
    found = noted(monkeypatch)
    graphs = drawn(200)
    metrics, said = run(settings(tmp_path), graphs)
    assert "trees on descriptors of the chemical graph" in said and "% of what they say" in said
    share = float(found["told"][0].split(" of what they say")[0].rsplit(" ", 1)[1].rstrip("%")) / 100
    assert share in (0.25, 0.5, 0.75)
    trivial = metrics["baseline_mark_mae"]
    before = np.array(found["before"]) - [float(g.quantities["mark"]) for g in found["valid"]]
    assert metrics["mark_mae"] < 0.8 * min(trivial, np.abs(before).mean())

    net = checkpoint.load(tmp_path / "run")
    trees = next(p for p in net.config.properties if p.name == "mark").trees
    assert trees.descriptors and trees.whole
    after = [float(p["mark"]) for p in predict_graphs(net, found["valid"], coverage=None)]
    mine = (np.array(after) - (1 - share) * np.array(found["before"])) / share
    truth = np.array([float(g.quantities["mark"]) for g in found["valid"]])
    assert np.abs(mine - truth).mean() < 0.7 * trivial, "what is left of the answer is that of the trees"
    one = found["valid"][0]
    assert float(predict_graphs(net, [replace(one, positions=3 * one.positions)])[0]["mark"]) != after[0]


def test_a_quantity_said_to_be_extensive_stays_so(tmp_path, monkeypatch):
    noted(monkeypatch)
    graphs = [replace(g, quantities={"mark": 0.5 * g.num_nodes + g.quantities["mark"]}) for g in drawn(200)]
    run(settings(tmp_path, pooling="sum"), graphs)
    trees = next(p for p in checkpoint.load(tmp_path / "run").config.properties if p.name == "mark").trees
    assert trees is None or not trees.whole


def test_classes_are_mixed_by_their_logits(tmp_path, monkeypatch):
    found = noted(monkeypatch)
    graphs = []
    for g in drawn(200):
        rich = float(g.quantities["mark"] > 5)
        graphs.append(
            replace(
                g,
                quantities={"rich": torch.tensor(rich).double()},
                properties={"rich": scalar_property("rich")},
            )
        )
    metrics, _ = run(settings(tmp_path, target=("rich",)), graphs)
    assert "log loss" in found["told"][0]
    assert metrics["rich_roc_auc"] > 0.9


def test_nothing_is_added_where_it_does_not_help_or_bonds_are_not_known(tmp_path):
    graphs = drawn(60)
    random = np.random.default_rng(0)
    noise = [replace(g, quantities={"mark": torch.tensor(random.normal()).double()}) for g in graphs]
    config = settings(tmp_path, steps=5)
    net = checkpoint.load(tmp_path / "start")
    assert blended(net, [replace(g, bonds=None) for g in graphs], graphs[:5], ["mark"], "cpu", 0, True) == []
    told = io.StringIO()
    finetune(config, Parts(noise[:30], noise[30:50], noise[50:]), console=Console(file=told, width=400))
    assert "% of what they say" not in told.getvalue()


def test_a_network_from_scratch_is_given_the_same(tmp_path):
    """It would be no control otherwise."""
    said = run(
        settings(tmp_path, **{"from": "scratch", "network": {"size": "xs", "channels": 8}}), drawn(200)
    )[1]
    assert "trees on descriptors of the chemical graph" in said


def test_without_scikit_learn_the_network_is_left_alone(tmp_path, monkeypatch):
    """It is an extra: molecules with bonds are finetuned without it all the same."""
    monkeypatch.setattr("atomfield.finetune.settled.find_spec", lambda name: None)
    monkeypatch.setattr("atomfield.finetune.closed_form_instead.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "sklearn", None)
    metrics, said = run(settings(tmp_path, steps=5), drawn(200))
    assert np.isfinite(metrics["mark_mae"]) and "trees" not in said


def test_labels_far_outside_do_not_reach_the_trees():
    graphs = drawn(100)
    graphs[3] = replace(graphs[3], quantities={"mark": torch.tensor(99999.0).double()})
    net = small_network()
    net.config = net.config.model_copy(update={"properties": (PropertyConfig(name="mark"),)})
    net.property_head.scale, net.property_head.reference = (
        torch.ones(1).double(),
        torch.zeros(1, 119).double(),
    )
    own = records_of(net, 0, PropertyConfig(name="mark"), graphs, np.zeros((100, 2)), 0.0, True, usual=True)
    assert len(own.labels) == 99 and own.labels.max() < 100
