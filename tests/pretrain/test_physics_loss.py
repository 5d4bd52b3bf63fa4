"""Penalties: near zero on true data, large for a wrong constant, the same for any packing and orientation, and they train."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from atomfield.data.generate.field_corpus import Chunk, trajectories
from atomfield.data.generate.fields import flow
from atomfield.data.graph import collate
from atomfield.data.neighbors import with_edges
from atomfield.models.network import graphs_to_batch
from atomfield.physics_priors.balances import BalanceName
from atomfield.physics_priors.field_laws import FieldLawName
from atomfield.pretrain.config import BALANCES, FIELD_LAWS, LossWeights, OptimizerConfig
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.physics_loss import applicable, counts, laws_of, physics_sums
from atomfield.pretrain.step import MicroBatch, training_step
from tests.small import morse_clusters, small_network, waves

FLOW_LAWS = ("divergence", "curl", "navier_stokes", "burgers", "conserved_momentum")


@pytest.fixture(scope="module")
def flows():
    rng = np.random.default_rng(0)
    return [flow(rng, nu, f"f{k}", 3, dt=2e-3, scattered=k == 2) for k, nu in enumerate((5e-3, 1e-2, 8e-3))]


def batch_of(graphs):
    return collate([with_edges(g, 5.0).pair(0) for g in graphs])


def penalties(batch, weights=None):
    weights = weights or dict.fromkeys(FLOW_LAWS, 1.0)
    sums = physics_sums(weights, batch, batch.next_quantities)
    found = counts(weights, batch, tuple(batch.next_quantities))
    assert sums.keys() == found.keys()
    return {name.removeprefix("physics/"): float(sums[name]) / found[name] for name in sums}


def test_names_are_those_of_the_laws():
    assert set(FIELD_LAWS) == set(get_args(FieldLawName))
    assert set(BALANCES) == set(get_args(BalanceName))


def test_data_obey_their_laws_and_not_others(flows):
    """Spectral derivatives: what is left is the rounding of the corpus to 12 bits, and the cut to 24 points."""
    found = penalties(batch_of(flows[:2]))
    assert found["divergence"] < 1e-5 and found["curl"] < 1e-4 and found["conserved_momentum"] < 1e-5
    assert found["navier_stokes"] < 0.05 < 0.3 < found["burgers"]
    wrong = batch_of([replace(g, conditions={"viscosity": 5 * g.conditions["viscosity"]}) for g in flows[:2]])
    assert penalties(wrong)["navier_stokes"] > 5 * found["navier_stokes"]


@pytest.mark.parametrize(
    ("level", "law", "constant"),
    [
        ("shallow-water-2d", "shallow_water", "wave_speed"),
        ("acoustics-2d", "acoustics", "wave_speed"),
        ("gray-scott-2d", "gray_scott", "reaction_rate"),
    ],
)
def test_waves_and_reactions_of_the_corpus_obey_their_laws(level, law, constant):
    """Of a step in the middle of a record; the residual is what the time step leaves."""
    graph = trajectories(Chunk(0, level, 0, 1)).graphs[0]
    batch = collate([with_edges(graph, 1.0).pair(3)])
    assert law in set(laws_of(batch)) and "navier_stokes" not in set(laws_of(batch))
    found = penalties(batch, {law: 1.0})[law]
    wrong = replace(graph, conditions=graph.conditions | {constant: 1.5 * graph.conditions[constant]})
    other = penalties(collate([with_edges(wrong, 1.0).pair(3)]), {law: 1.0})[law]
    assert found < 0.02 and other > 8 * found


def test_scattered_points_are_judged_by_least_squares(flows):
    found = penalties(batch_of(flows[2:]))
    assert found["divergence"] < 0.05 and found["curl"] < 0.1
    assert "conserved_momentum" in found  # the box repeats, so nothing leaves it


def test_packing_and_orientation_change_nothing(flows):
    weights = dict.fromkeys(FLOW_LAWS, 1.0)
    together = physics_sums(weights, batch_of(flows), batch_of(flows).next_quantities)
    apart = [physics_sums(weights, b, b.next_quantities) for b in (batch_of([f]) for f in flows)]
    for name, value in together.items():
        assert float(value) == pytest.approx(sum(float(a[name]) for a in apart), rel=1e-10)
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    q = -q if torch.linalg.det(q) > 0 else q  # a reflection: the vorticity is axial
    turned = batch_of(flows)
    turned.positions, turned.cell = turned.positions @ q.T, turned.cell @ q.T
    for values in (turned.quantities, turned.next_quantities):
        values["velocity"], values["vorticity"] = values["velocity"] @ q.T, -values["vorticity"] @ q.T
    mirrored = physics_sums(weights, turned, turned.next_quantities)
    for name, value in together.items():
        assert float(mirrored[name]) == pytest.approx(float(value), rel=1e-7)


def test_what_is_missing_asks_nothing(flows):
    batch = batch_of(flows[:2])
    batch.conditions["viscosity"][0] = torch.nan
    names = tuple(batch.next_quantities)
    assert applicable("navier_stokes", batch, names).tolist() == [False, True]
    assert not applicable("heat", batch, names).any()
    assert not applicable("net_charge", batch, names).any()
    assert not applicable("divergence", batch, ("pressure",)).any()
    assert set(laws_of(batch)) == set(FLOW_LAWS)
    walls = replace(batch, pbc=torch.zeros(2, 3, dtype=torch.bool))
    assert not applicable("conserved_momentum", walls, names).any()
    atoms = graphs_to_batch(small_network().config, morse_clusters(2))
    assert applicable("net_charge", atoms, ("charges",)).all()
    assert not applicable("net_force", atoms, ("charges",)).any()


@pytest.mark.parametrize("world", ["atoms", "field"])
def test_a_penalty_is_a_term_of_the_step_and_falls(world, flows):
    """40 steps: the charges of neutral clusters come to add up to zero; forecasts of waves move with the flow."""
    net = small_network()
    if world == "atoms":
        batch, name = graphs_to_batch(net.config, morse_clusters(4)), "net_charge"
        targets, options = Targets("supervised", ("energy", "forces")), {"energy": 1.0}
    else:
        batch = collate([with_edges(g, 5.0).pair(0) for g in waves(3)])
        name, targets, options = "advection_diffusion", Targets("next_step"), {"field": 0.1}
    weights = LossWeights(**options, physics={name: 1.0})
    optimizer = OptimizerConfig()
    engine = TorchEngine(net, parameter_groups(net, 0.0), optimizer)
    micro = MicroBatch(batch, targets)
    values = [training_step(engine, net, [micro], weights)[f"physics/{name}"] for _ in range(40)]
    assert values[-1] < 0.2 * values[0]
    assert f"physics/{name}" not in training_step(engine, net, [micro], LossWeights())
