"""The boosted head: the checkpoint says what scikit-learn said, validation records choose, and what stands around it goes on."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.data.quantities import scalar_property
from atomfield.finetune import boosted as module
from atomfield.finetune.boosting import Records, boost
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.parts import Parts
from atomfield.finetune.run import finetune
from atomfield.finetune.strategy import choose
from atomfield.finetune.tasks import Task
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.predict import predict_graphs
from atomfield.models import checkpoint
from atomfield.models.network import graphs_to_batch
from atomfield.models.trees import tree_features
from tests.small import morse_clusters, small_network

pytest.importorskip("sklearn")


def bent(count):
    """Clusters with a step in their size, and a class of which some labels are missing."""
    graphs = morse_clusters(count, level="")
    size = torch.stack([torch.pdist(g.positions).mean() for g in graphs])
    high = size > size.median()
    out = []
    for number, g in enumerate(graphs):
        own = {"step": 3.0 * high[number].double() + 0.1 * size[number]}
        if number % 7:
            own["large"] = high[number].double()
        out.append(replace(g, quantities=own, properties={n: scalar_property(n) for n in own}))
    return out


def settings(tmp_path, **options):
    given = {
        "from": str(tmp_path / "start"),
        "train": ("memory",),
        "target": ("step",),
        "strategy": "boosted",
    }
    return FinetuneConfig(**{**given, "out": tmp_path / "run", **options})


def run(config, graphs):
    parts = Parts(graphs[:100], graphs[100:150], graphs[150:])
    said = io.StringIO()
    return finetune(config, parts, console=Console(file=said, width=300)), said.getvalue()


@pytest.fixture
def start(tmp_path):
    return checkpoint.save(small_network(), tmp_path / "start")


@pytest.fixture
def grown(monkeypatch):
    """What scikit-learn has grown, property by property."""
    found = []

    def noted(*rest):
        found.append(boost(*rest))
        return found[-1]

    monkeypatch.setattr(module, "boost", noted)
    return found


def test_the_checkpoint_says_what_scikit_learn_said(start, tmp_path, grown, monkeypatch):
    graphs = bent(180)
    names = ("step", "large")
    metrics, said = run(settings(tmp_path, target=names), graphs)
    assert all(g.trees for g in grown) and said.count("trees of depth") == 2
    assert metrics["step_mae"] < 0.6 * metrics["baseline_step_mae"] and metrics["large_accuracy"] > 0.8

    monkeypatch.setitem(sys.modules, "sklearn", None)
    net = checkpoint.load(tmp_path / "run")
    known, batch = (
        graphs_to_batch(net.config, [replace(g, level="finetuned") for g in part])
        for part in (graphs[:150], graphs[150:])
    )
    with torch.no_grad():
        features = tree_features(net.node_features(batch)[:, 0, : net.config.channels], batch).numpy()
        both = net(batch, forces=False)
        said_of = predict_graphs(net, graphs[150:155])
        results, own = at_once(net, graphs[150])
        learnt = [net(known, forces=False)["step"]]
        net.property_head.trees = None
        linear = net(batch, forces=False)
        learnt.append(net(known, forces=False)["step"])
    for trees, name in zip(grown, names, strict=True):
        number = next(k for k, p in enumerate(net.config.properties) if p.name == name)
        pooling = net.config.properties[number].pooling
        assert pooling == {"step": "sum", "large": "mean"}[name]
        times = float(net.property_head.scale[number]) * (5.0 if pooling == "sum" else 1.0)
        difference = (both[name] - linear[name]).numpy()
        np.testing.assert_allclose(
            difference, times * trees.added(features), rtol=1e-9, atol=1e-9, err_msg=name
        )
    assert f"{len(grown[0].trees)} decision trees" in (tmp_path / "run" / "model" / "README.md").read_text()
    errors = [(step - known.quantities["step"]).abs().mean() for step in learnt]
    assert errors[0] < 0.98 * errors[1]
    assert all({"step_lower", "step_upper", "ood_score"} <= set(p) for p in said_of)
    assert np.isfinite(results["forces"]).all() and own["step"] == pytest.approx(
        float(both["step"][0]), abs=1e-5
    )


def at_once(net, graph):
    """Forces and properties of a calculator, in one pass."""
    from ase import Atoms

    atoms = Atoms(graph.species.numpy(), graph.positions.numpy(), info={"charge": 0, "spin": 1})
    atoms.calc = AtomFieldCalculator(net, level="morse", allow_unseen=True)
    atoms.get_forces()
    return atoms.calc.results, atoms.calc.user_properties


def test_noise_gets_no_trees():
    rng = np.random.default_rng(0)
    part = [
        Records(rng.standard_normal((n, 12)), np.zeros(n), rng.standard_normal(n), np.ones(n))
        for n in (80, 30)
    ]
    found = boost(*part, "regression", 0)
    assert not found.trees and found.after == found.before


def test_a_leaf_answers_with_a_newton_step():
    """A leaf answers with the least squares of its records, or with Newton's step of their log loss."""
    size, labels = np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 9.0])
    one = Records(np.zeros((3, 1)), np.zeros(3), labels, size)
    step, weight = one.newton("regression", np.zeros(3))
    assert (step * weight).sum() / weight.sum() == pytest.approx((size @ labels) / (size @ size))
    two = Records(np.zeros((3, 1)), np.zeros(3), np.array([1.0, 0.0, 1.0]), np.ones(3))
    step, weight = two.newton("classification", np.zeros(3))
    assert (step * weight).sum() / weight.sum() == pytest.approx(0.5 / 0.75)  # sum (y - p) / sum p (1 - p)


def test_what_is_refused(start, tmp_path, monkeypatch):
    graphs = bent(180)
    with pytest.raises(
        InputError, match="'boosted' solves for scalar properties of atoms, found target 'energy'"
    ):
        choose(settings(tmp_path, target=("energy",)), Task(("energy",), "atoms", ()), 30)
    bare = [replace(g, quantities={n: v for n, v in g.quantities.items() if n != "large"}) for g in graphs]
    with pytest.raises(InputError, match="'large' has no label in the 50 validation records"):
        run(settings(tmp_path, target=("step", "large")), [*graphs[:100], *bare[100:150], *graphs[150:]])
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(InputError, match=r"pip install 'atomfield\[sklearn\]'"):
        run(settings(tmp_path), graphs)


def drawn(count):
    """Chains of carbon and oxygen whose atoms lie anywhere: only the bonds tell what they are."""
    rdkit = pytest.importorskip("rdkit.Chem")
    from atomfield.data.graph import Graph
    from atomfield.data.readers.molecule_bonds import bonds_of

    random = np.random.default_rng(0)
    out = []
    for number in range(count):
        text = (
            "C" + "".join(random.choice(["C", "O", "C(C)", "C(=O)", "N"], size=random.integers(1, 6))) + "C"
        )
        molecule = rdkit.AddHs(rdkit.MolFromSmiles(text))
        numbers = torch.tensor([a.GetAtomicNum() for a in molecule.GetAtoms()])
        donors = sum(
            a.GetAtomicNum() == 7 and a.GetTotalNumHs(includeNeighbors=True) > 0 for a in molecule.GetAtoms()
        )
        ketones = len(molecule.GetSubstructMatches(rdkit.MolFromSmarts("C(=O)([#6])[#6]")))
        positions = torch.from_numpy(random.uniform(0, 2.5 * len(numbers), (len(numbers), 3)))
        out.append(
            Graph(
                positions, numbers, "molecule", bonds=bonds_of(molecule), group=f"m{number}",
                quantities={"mark": torch.tensor(5.0 + 2 * donors - 3 * ketones, dtype=torch.float64)},
                properties={"mark": scalar_property("mark")},
            )
        )  # fmt: skip
    return out


def test_descriptors_of_the_chemical_graph_are_seen(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    graphs = drawn(200)
    config = settings(tmp_path, target=("mark",))
    told = io.StringIO()
    parts = Parts(graphs[:120], graphs[120:160], graphs[160:])
    metrics = finetune(config, parts, console=Console(file=told, width=300))
    assert (
        "descriptors of the chemical graph" in told.getvalue()
        and "in place of the closed form" in told.getvalue()
    )
    assert metrics["mark_mae"] < 0.35 * metrics["baseline_mark_mae"]

    net = checkpoint.load(tmp_path / "run")
    moved = replace(graphs[161], positions=graphs[161].positions.flip(0))
    asked = [graphs[160], graphs[161], moved]
    said = [float(r["mark"]) for r in predict_graphs(net, asked)]
    assert abs(said[0] - float(graphs[160].quantities["mark"])) < 2
    with pytest.raises(InputError, match="descriptors of the chemical graph too; give SMILES"):
        predict_graphs(net, [replace(graphs[160], bonds=None)])
    with torch.no_grad():
        batch = graphs_to_batch(
            net.config,
            [replace(graphs[160], bonds=None, level="finetuned"), replace(graphs[161], level="finetuned")],
        )
        both = net(batch, forces=False)["mark"]
    assert both[0].isnan() and float(both[1]) == pytest.approx(said[1], abs=1e-9)


def test_trees_without_bonds_are_as_before(tmp_path):
    checkpoint.save(small_network(), tmp_path / "start")
    graphs = [replace(g, bonds=None) for g in drawn(160)]
    finetune(
        settings(tmp_path, target=("mark",)),
        Parts(graphs[:100], graphs[100:130], graphs[130:]),
        console=Console(file=io.StringIO()),
    )
    net = checkpoint.load(tmp_path / "run")
    trees = next(p for p in net.config.properties if p.name == "mark").trees
    assert trees is None or not trees.descriptors
    predict_graphs(net, graphs[:2])
