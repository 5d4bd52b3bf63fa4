"""Trees in the network: what scikit-learn says of the same tables, the laws, no derivative, and nothing but tensors in files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.models import checkpoint
from atomfield.models.config import FORMAT_VERSION, WITHOUT_TREES, PropertyConfig
from atomfield.models.grow import grown
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.trees import Forest, plant, tree_features
from tests.small import morse_clusters, small_network


def stump(net: AtomFieldNet, column: int, count: int = 3) -> Forest:
    """Trees of one question each, at quantiles of a feature over some clusters, with two different answers."""
    features = features_of(net, morse_clusters(24))[:, column]
    cuts = torch.quantile(features, torch.linspace(0.2, 0.8, count, dtype=torch.float64))
    leaf = torch.zeros(count, 2, dtype=torch.float64)
    return Forest(
        feature=torch.tensor([[column, 0, 0]]).expand(count, -1),
        threshold=torch.cat([cuts[:, None], leaf], dim=1),
        branches=torch.tensor([[[1, 2], [1, 1], [2, 2]]]).expand(count, -1, -1),
        value=torch.tensor([[0.0, -1.5, 2.0]], dtype=torch.float64).expand(count, -1),
        depth=1,
    )


def features_of(net: AtomFieldNet, graphs: list[Graph]) -> torch.Tensor:
    batch = graphs_to_batch(net.config, graphs)
    with torch.no_grad():
        return tree_features(net.node_features(batch)[:, 0, : net.config.channels], batch)


def with_stumps(net: AtomFieldNet) -> AtomFieldNet:
    channels = net.config.channels
    plant(net, {"gap": stump(net, 1), "volume": stump(net, channels + 2, 5)})
    return net.eval()


@pytest.fixture
def planted() -> AtomFieldNet:
    return with_stumps(small_network().double())


def answers(net: AtomFieldNet, graphs: list[Graph]) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return net(graphs_to_batch(net.config, graphs), forces=False)


def test_the_tables_say_what_scikit_learn_says():
    pytest.importorskip("sklearn")
    from sklearn.tree import DecisionTreeRegressor

    from atomfield.finetune.boosting import Boosted, forest_of

    rng = np.random.default_rng(0)
    net = small_network()
    features = rng.standard_normal((300, 32)).astype(np.float32).astype(np.float64)
    labels = features[:, 3] * features[:, 5] + np.abs(features[:, 7])
    trees = [
        DecisionTreeRegressor(max_depth=depth, random_state=depth).fit(features[:200], labels[:200])
        for depth in (1, 4, 7, 3)
    ]
    found = Boosted(trees, 0.3, 7, 0.0, 0.0, 0.0)
    features[200:205] = features[0]
    features[200:205, trees[1].tree_.feature[0]] = trees[1].tree_.threshold[0]  # exactly there: to the left
    plant(net, {"gap": forest_of(found)})
    said = net.property_head.trees.leaves(torch.from_numpy(features.astype(np.float32)).double()).sum(1)
    expected = found.added(features)
    assert np.ptp(expected) > 1.0
    np.testing.assert_allclose(said.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_trees_are_added_in_units_of_the_scale():
    graphs = morse_clusters(24)
    net = small_network().double().eval()
    net.property_head.scale.copy_(torch.tensor([2.0, 3.0]))
    before, features = answers(net, graphs), features_of(net, graphs)
    with_stumps(net)
    after = answers(net, graphs)
    for name, column, count, size in (("gap", 1, 3, 2.0), ("volume", net.config.channels + 2, 5, 3.0 * 5)):
        cuts = stump(net, column, count).threshold[:, 0]
        expected = torch.where(features[:, column, None] > cuts, 2.0, -1.5).double().sum(1)
        assert len(expected.unique()) == count + 1
        assert torch.allclose(after[name] - before[name], size * expected, rtol=0, atol=1e-12)


def test_turned_reflected_and_renumbered_structures_get_the_same(planted):
    graphs = morse_clusters(8, seed=4)
    turn = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    )[0]
    order = torch.tensor([4, 2, 0, 3, 1])
    expected = answers(planted, graphs)
    for sign in (1.0, -1.0):
        moved = [
            replace(
                g,
                positions=(g.positions @ (sign * turn).T)[order] + 2.0,
                species=g.species[order],
                quantities={},
            )
            for g in graphs
        ]
        found = answers(planted, moved)
        for name in ("gap", "volume"):
            assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-10), name


def test_a_repeated_structure_has_the_same_mean_and_a_multiple_of_the_sum(planted):
    one = replace(morse_clusters(1)[0], quantities={}, conditions={})
    far = torch.cat([one.positions, one.positions + 100.0])
    two = Graph(far, torch.cat([one.species, one.species]), "molecule", level="morse")
    single, double = answers(planted, [one]), answers(planted, [two])
    assert torch.allclose(double["volume"], 2 * single["volume"], rtol=1e-12)
    assert torch.allclose(double["gap"], single["gap"], rtol=1e-12)


def test_a_derivative_is_refused_and_forces_are_not(planted):
    batch = graphs_to_batch(planted.config, morse_clusters(3))
    assert planted(batch)["forces"].abs().max() > 0
    batch = replace(batch, positions=batch.positions.clone().requires_grad_(True))
    out = planted(batch, forces=False)
    torch.autograd.grad(out["energy"].sum(), batch.positions, retain_graph=True)
    with pytest.raises(InputError, match="'gap' is read by decision trees.*no derivative"):
        torch.autograd.grad(out["gap"].sum(), batch.positions)


def test_files_hold_tables_and_the_version_that_reads_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    net = with_stumps(small_network())
    folder = checkpoint.save(net, tmp_path / "trees")
    assert sorted(f.name for f in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    graphs = morse_clusters(6)
    for name, value in answers(checkpoint.load(folder), graphs).items():
        assert torch.equal(value, answers(net, graphs)[name]), name
    plain = checkpoint.save(small_network(), tmp_path / "plain")
    for written, version, has in ((folder, FORMAT_VERSION, True), (plain, WITHOUT_TREES, False)):
        text = (written / "config.json").read_text()
        assert json.loads(text)["network"]["format_version"] == version
        assert ('"trees"' in text) == has


def test_growing_keeps_the_trees_of_what_stays(planted):
    graphs = morse_clusters(6)
    before = answers(planted, graphs)
    gap, volume = planted.config.properties
    fresh = PropertyConfig(name="fresh")
    for properties in ((gap, volume), (fresh, gap, volume), (volume, fresh)):
        more = grown(planted, planted.config.model_copy(update={"properties": properties})).double().eval()
        after = answers(more, graphs)
        for prop in properties:
            if prop is not fresh:
                assert torch.equal(after[prop.name], before[prop.name]), prop.name
    anew = volume.model_copy(update={"trees": None})
    more = grown(planted, planted.config.model_copy(update={"properties": (anew,)}))
    assert more.property_head.trees is None


def test_trees_are_for_one_number_per_graph():
    sizes = {"count": 1, "nodes": 3, "depth": 1}
    with pytest.raises(ValueError, match="has trees, expected one number or class per graph"):
        PropertyConfig(name="polar", irreps="0e+2e", trees=sizes)
