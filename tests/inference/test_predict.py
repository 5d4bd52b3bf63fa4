from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.inference.predict import embed_graphs, predict_graphs, probabilities
from atomfield.models.config import PropertyConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.physics.subjects import chiral_molecule, crystal, flow, lone_atom, transformed, water


def trajectory() -> Graph:
    still = flow()
    states = {n: torch.stack([v * (1 + 0.1 * t) for t in range(3)]) for n, v in still.quantities.items()}
    return replace(
        still,
        quantities=states,
        times=torch.tensor([0.0, 0.01, 0.03], dtype=torch.float64),
        conditions={"viscosity": 1e-3},
    )


def test_order_shapes_and_values_do_not_depend_on_packing(net: AtomFieldNet) -> None:
    graphs = [water(), crystal(), flow(), chiral_molecule(), crystal(), water()]
    packed = predict_graphs(net, graphs)
    alone = [predict_graphs(net, [g], max_edges=1)[0] for g in graphs]
    for graph, a, b in zip(graphs, packed, alone, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            np.testing.assert_allclose(a[name], b[name], rtol=1e-10, atol=1e-12)
            assert a[name].dtype == np.float64
        if graph.world != "field":
            assert a["energy"].shape == ()
            assert a["forces"].shape == (graph.num_nodes, 3)
    assert set(packed[2]) == {"velocity", "vorticity", "pressure"}


def test_stress_only_where_periodic_and_dipole_only_where_not(net: AtomFieldNet) -> None:
    slab = replace(crystal(), pbc=torch.tensor([True, True, False]))
    of_molecule, of_crystal, of_slab = predict_graphs(net, [water(), crystal(), slab])
    assert "stress" in of_crystal
    assert "dipole" not in of_crystal
    assert "dipole" in of_molecule
    assert not {"stress", "dipole"} & (set(of_slab) | {"stress"} & set(of_molecule))
    assert "stress" not in predict_graphs(net, [crystal()], stress=False)[0]
    assert "forces" not in predict_graphs(net, [crystal()], forces=False)[0]


def test_a_trajectory_gives_one_forecast_per_step(net: AtomFieldNet) -> None:
    graph = trajectory()
    (found,) = predict_graphs(net, [graph])
    assert found["velocity"].shape == (2, 20, 3)
    for t in range(2):
        one = predict_graphs(net, [graph.pair(t)])[0]
        np.testing.assert_allclose(found["pressure"][t], one["pressure"], rtol=1e-12)


def test_prediction_leaves_the_network_as_it_was(net: AtomFieldNet) -> None:
    net.train()
    try:
        first, second = predict_graphs(net, [water()]), predict_graphs(net, [water()])
        assert net.training
    finally:
        net.eval()
    assert first[0]["gap"] == second[0]["gap"]  # no dropout


def test_probabilities_only_of_classifications(net: AtomFieldNet) -> None:
    properties = (PropertyConfig(name="gap", kind="classification"),)
    found = probabilities(properties, [{"gap": np.array(0.0), "energy": np.array(3.0)}])
    assert found == [{"gap": np.array(0.5), "energy": np.array(3.0)}]


def test_embeddings_are_those_of_the_network(net: AtomFieldNet) -> None:
    found = embed_graphs(net, [water(), flow(), trajectory()])
    direct = net.embed(graphs_to_batch(net.config, [water()]))
    np.testing.assert_allclose(found[0]["invariant"], direct["invariant"][0].numpy())
    assert found[1]["vector"].shape == (3, 6)
    mirror = torch.diag(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    turned = embed_graphs(net, [transformed(water(), mirror)])[0]
    np.testing.assert_allclose(turned["vector"], mirror.numpy() @ found[0]["vector"], atol=1e-12)


def test_features_of_elements_that_no_level_has_seen_are_refused(net: AtomFieldNet) -> None:
    own = copy.deepcopy(net)
    own.atom_head.reference[0, 8] = 0.0  # another level knows it
    assert embed_graphs(own, [water()])
    own.atom_head.reference[:, 8] = 0.0
    with pytest.raises(
        InputError, match=r"record 0.* has not seen O at any level: its features would mean nothing"
    ):
        embed_graphs(own, [water()])
    own.atom_head.reference.zero_()  # of properties alone: nothing is known about elements
    assert embed_graphs(own, [water()])


def test_no_graphs_no_predictions(net: AtomFieldNet) -> None:
    assert predict_graphs(net, []) == []


@pytest.mark.parametrize("shown", [True, False])
def test_progress_bar(net: AtomFieldNet, shown: bool) -> None:
    assert len(predict_graphs(net, [water(), lone_atom()][:1], progress=shown)) == 1


def test_a_coverage_that_is_not_stored_is_refused_of_every_network(net: AtomFieldNet) -> None:
    """One without uncertainty took any."""
    with pytest.raises(InputError, match=r"coverage is 0.3, expected one of 0.5, 0.8, 0.9, 0.95"):
        predict_graphs(net, [water()], coverage=0.3)
