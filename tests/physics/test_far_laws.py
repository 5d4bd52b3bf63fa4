"""The laws on networks that see beyond the cutoff, and what replaces those that speak of nothing beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet

from .agreement import agree, outputs
from .far_subjects import far_network
from .laws import ATOM_LAWS, FIELD_LAWS
from .subjects import CUTOFF, chiral_molecule, crystal, together, water

EXACT = 1e-10
KEPT = (
    "rotations_and_reflections", "translation", "choice_of_image", "choice_of_cell", "permutation", "embedding",
    "mirror_images_have_one_energy", "directions_along_axes_are_no_exception", "supercells_are_multiples",
    "gradients_stay_in_their_graph", "forces_are_the_gradient", "stress_is_the_strain_derivative", "no_net_force_nor_torque",
    "forces_can_be_trained_on",
)  # fmt: skip
"""Laws of atoms that hold word for word. Those on distant fragments and on the cutoff are replaced below: a filter reaches 7.5
widths, Coulomb's law has no end; that of batches is replaced by one of molecules and crystals side by side."""
COARSE_BREAKS = {
    "supercells_are_multiples": "clusters of a supercell are not those of the cell",
    "field_shift_along_the_grid": "the points of a grid are told apart by their order",
    "field_permutation": "the points of a grid are told apart by their order",
}
LAWS = [*(law for law in ATOM_LAWS if law.__name__ in KEPT), *FIELD_LAWS]
LARGEST = 5.0
KINDS: dict[str, dict[str, Any]] = {
    "filter": {"lmax": 2, "long_range": "filter", "long_range_largest": LARGEST},
    "electrostatics": {"electrostatics": True},
    "charges of atoms": {"electrostatics": True, "electrostatics_charges": "atoms"},
    "coarse": {"long_range": "coarse"},
}


@pytest.fixture(scope="module", params=list(KINDS))
def net(request: pytest.FixtureRequest) -> AtomFieldNet:
    return far_network(**KINDS[request.param])


def test_the_laws_exist():
    assert {law.__name__ for law in LAWS} >= {*KEPT, *COARSE_BREAKS}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_law(net: AtomFieldNet, law: Callable[[AtomFieldNet], None]) -> None:
    if net.config.electrostatics and law in FIELD_LAWS:
        pytest.skip("electrostatics is for atoms")
    if net.config.long_range == "coarse" and law.__name__ in COARSE_BREAKS:
        with pytest.raises(AssertionError):  # as COARSE_BREAKS says; once it holds, it belongs to the laws
            law(net)
        return
    law(net)


def test_batches_of_molecules_and_crystals_do_not_mix(net):
    graphs = [chiral_molecule(), crystal(), replace(water(), conditions={"charge": -1.0})]
    packed = outputs(net, *graphs)
    start = 0
    for row, graph in enumerate(graphs):
        alone, end = outputs(net, graph), start + graph.num_nodes
        for name in ("energy", "gap"):
            agree(packed[name][row], alone[name][0], f"{name} of graph {row}", EXACT)
        for name in ("forces", "charges"):
            agree(packed[name][start:end], alone[name], f"{name} of graph {row}", EXACT)
        start = end


def _pair(net: AtomFieldNet, distance: float) -> dict[str, Tensor]:
    end = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * distance
    positions = torch.stack([torch.zeros(3, dtype=torch.float64), end])
    return outputs(net, Graph(positions, torch.tensor([6, 17]), "molecule", conditions={"charge": 1.0}))


def test_energy_and_slope_are_continuous_at_the_cutoff(net):
    """The step over the cutoff is that of the force, which goes on beyond it."""
    if net.config.long_range == "coarse":
        pytest.skip("clusters change at once where points move")
    h = 1e-4
    inside, outside = _pair(net, CUTOFF - h), _pair(net, CUTOFF + h)
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    slope = float(-(outside["forces"][1] @ direction))
    assert abs(slope) > 1e-6, "the pair does not interact beyond the cutoff, so nothing is tested"
    step = float(outside["energy"] - inside["energy"])
    assert step == pytest.approx(2 * h * slope, rel=1e-3)
    agree(inside["forces"], outside["forces"], "force across the cutoff", 1e-3)


def test_a_filter_decays_and_ends():
    net = far_network(**KINDS["filter"])
    force = [float(_pair(net, d)["forces"].abs().max()) for d in (6.0, 12.0, 24.0, 40.0)]
    assert force[0] > 10 * force[1] > 100 * force[2] > 0
    assert force[3] < 1e-10 * force[0], "beyond 7.5 widths"


def test_a_filter_reaches_nothing_beyond_its_reach():
    """Two fragments 7.5 widths apart add up."""
    net = far_network(**KINDS["filter"])
    a, b = chiral_molecule(), water()
    both = outputs(net, together(a, b, torch.tensor([50.0, 10.0, -20.0], dtype=torch.float64)))
    parts = [outputs(net, a), outputs(net, b)]
    for name in ("energy", "volume_of_pores"):
        agree(both[name], parts[0][name] + parts[1][name], name, EXACT)
    agree(both["forces"], torch.cat([p["forces"] for p in parts]), "forces", EXACT)


def test_the_mesh_is_close_to_the_sums_and_conservative():
    pytest.importorskip("torchpme")
    kind = {**KINDS["filter"], "lmax": 1, "electrostatics": True}
    exact, meshed = (far_network(**kind, long_range_route=r) for r in ("direct", "mesh"))
    graph, step = crystal(), torch.zeros(5, 3, dtype=torch.float64)
    expected, found = outputs(exact, graph), outputs(meshed, graph)
    for name in ("energy", "forces", "stress"):
        agree(found[name], expected[name], f"{name} on the mesh", 1e-3)
    step[2] = torch.tensor([0.5, -0.3, 0.8])
    energy = lambda h: outputs(meshed, replace(graph, positions=graph.positions + h * step))["energy"][0]  # noqa: E731
    h = 5e-4
    numerical = -(8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)
    agree((outputs(meshed, graph)["forces"] * step).sum(), numerical, "force on the mesh", 1e-6)
