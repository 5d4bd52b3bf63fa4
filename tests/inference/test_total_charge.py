"""Charges add up to a total that is stated, by equal shares, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from atomfield.data.fragments import fragments, with_fragments
from atomfield.data.graph import Graph
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.predict import predict_graphs
from atomfield.inference.total_charge import with_stated_total
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.physics.subjects import chiral_molecule, crystal, lone_atom, together, water

OFFSET = torch.tensor([60.0, 10.0, -30.0], dtype=torch.float64)


def charged(graph: Graph, total: float) -> Graph:
    return replace(graph, conditions={**graph.conditions, "charge": total})


def test_stated_totals_are_kept_by_equal_shares(net: AtomFieldNet) -> None:
    unknown = replace(water(), conditions={})
    graphs = [
        charged(water(), -1.0),
        unknown,
        charged(chiral_molecule(), 2.0),
        lone_atom(),
        charged(crystal(), 0.0),
    ]
    found = predict_graphs(net, graphs)
    for graph, one in zip(graphs, found, strict=True):
        with torch.no_grad():
            own = net(graphs_to_batch(net.config, [graph]))
        share = one["charges"] - own["charges"].double().numpy()
        if graph is unknown:
            np.testing.assert_allclose(share, 0, atol=1e-14)
            continue
        assert one["charges"].sum() == pytest.approx(graph.conditions["charge"], abs=1e-14)
        np.testing.assert_allclose(share, share.mean(), atol=1e-14)
        assert abs(share.mean()) > 1e-4, "the network's own charges add up already"
        if "dipole" in one:
            np.testing.assert_allclose(one["dipole"], own["dipole"][0].numpy(), atol=1e-12)
        assert float(one["energy"]) == pytest.approx(float(own["energy"]), rel=1e-12)


def test_the_calculators_charges_add_up(net: AtomFieldNet, molecule: Atoms) -> None:
    molecule.calc = AtomFieldCalculator(net)
    for total in (0.0, 1.0):
        molecule.info["charge"] = total
        assert molecule.get_charges().sum() == pytest.approx(total, abs=1e-14)
    (expected,) = predict_graphs(net, [charged(chiral_molecule(), 1.0)])
    np.testing.assert_allclose(molecule.get_charges(), expected["charges"], atol=1e-12)
    del molecule.info["charge"]
    assert abs(molecule.get_charges().sum()) > 1e-4


def test_an_ion_does_not_feel_a_neutral_molecule_far_away(net: AtomFieldNet) -> None:
    ion, neutral = replace(chiral_molecule(), conditions={"charge": 1.0, "spin": 1.0}), water()
    system = together(ion, neutral, OFFSET)
    labels = fragments(system, net.config.cutoff)
    known = with_fragments(system, labels, [1.0, 0.0], [1.0, 0.0])
    both, *parts = predict_graphs(net, [known, ion, neutral])
    np.testing.assert_allclose(both["charges"], np.concatenate([p["charges"] for p in parts]), atol=1e-10)
    assert both["charges"].sum() == pytest.approx(1.0, abs=1e-14)
    other = replace(
        known, quantities={**known.quantities, "fragment_charge": torch.zeros(8, dtype=torch.float64)}
    )
    (all_neutral,) = predict_graphs(net, [replace(other, conditions={"charge": 0.0, "spin": 1.0})])
    assert all_neutral["charges"].sum() == pytest.approx(0.0, abs=1e-14)


def test_it_can_be_differentiated(net: AtomFieldNet) -> None:
    batch = graphs_to_batch(net.config, [charged(water(), 1.0), replace(water(), conditions={})])
    charges = torch.tensor([-0.6, 0.7, 0.5, -0.6, 0.3, 0.2], dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(
        lambda q: with_stated_total({"charges": q}, batch)["charges"], charges
    )
    expected = torch.eye(6, dtype=torch.float64)
    expected[:3, :3] -= 1 / 3
    torch.testing.assert_close(jacobian, expected, rtol=0, atol=1e-15)
