"""Charges add up whatever the network says, and fragments far apart are left with the multipole energy of their own charges."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.models.electrostatics import conserved_charges
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.physics_priors.coulomb import COULOMB
from tests.physics.far_subjects import far_network
from tests.physics.subjects import crystal, supercell, together, water

OFFSET = torch.tensor([0.48, 0.6, -0.64], dtype=torch.float64)


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    net = far_network(electrostatics=True)
    net.atom_head.charge.mul_(8)  # charges of some tenths of e
    return net


@pytest.fixture(scope="module")
def ions() -> AtomFieldNet:
    net = far_network(electrostatics=True, electrostatics_charges="atoms")
    net.atom_head.charge.mul_(8)
    return net


def salt(num: int) -> Graph:
    """A neutral piece of rocksalt, two to six ions, off its lattice."""
    generator = torch.Generator().manual_seed(num)
    sites = 2.4 * torch.tensor([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 0, 1]]).double()
    positions = sites[:num] + 0.2 * torch.randn(num, 3, generator=generator, dtype=torch.float64)
    species = torch.tensor([11, 17, 11, 17, 11, 17])[:num]
    return Graph(positions, species, "molecule", conditions={"charge": 0.0})


def _run(net: AtomFieldNet, graph: Graph) -> dict[str, Tensor]:
    with torch.no_grad():
        return net(graphs_to_batch(net.config, [graph]))


def _multipoles(found: dict[str, Tensor], graph: Graph) -> tuple[Tensor, Tensor]:
    """Charge and dipole about the centre of the nodes."""
    q = found["charges"]
    return q.sum(), q @ (graph.positions - graph.positions.mean(0))


@pytest.mark.parametrize("kind", ["net", "ions"])
@pytest.mark.parametrize("total", [0.0, 1.0, -2.0])
def test_charges_add_up_to_the_total(kind, total, request):
    net = request.getfixturevalue(kind)
    graphs = [replace(salt(6), conditions={"charge": total}), replace(water(), conditions={"charge": -total})]
    with torch.no_grad():
        charges = net(graphs_to_batch(net.config, graphs))["charges"]
    assert float(charges[:6].sum()) == pytest.approx(total, abs=1e-13)
    assert float(charges[6:].sum()) == pytest.approx(-total, abs=1e-13)
    assert float(charges.std()) > 0.01


def test_an_unknown_total_of_charges_of_atoms_is_zero(ions):
    batch = graphs_to_batch(ions.config, [replace(salt(5), conditions={}), salt(3)])
    with torch.no_grad():
        charges = ions(batch)["charges"]
    assert float(charges[:5].sum()) == pytest.approx(0.0, abs=1e-13)
    assert float(charges[5:].sum()) == pytest.approx(0.0, abs=1e-13)


def test_what_is_missing_to_charges_of_atoms_stays_among_neutral_and_among_charged_fragments(ions):
    graph = together(replace(salt(4), conditions={"charge": 1.0}), water(), 30.0 * OFFSET)
    batch = graphs_to_batch(ions.config, [graph, salt(3)])
    with torch.no_grad():
        shared = ions(batch)["charges"]
        batch.quantities["fragment_charge"] = torch.tensor([1.0] * 4 + [0.0] * 6).double()
        known = ions(batch)["charges"]
        alone = ions(graphs_to_batch(ions.config, [replace(salt(4), conditions={"charge": 1.0})]))["charges"]
    assert abs(float(shared[4:7].sum())) > 0.1
    assert float(known[4:7].sum()) == pytest.approx(0.0, abs=1e-13)
    assert (known[:4] - alone).abs().max() < 1e-13
    assert float(known[7:].sum()) == pytest.approx(0.0, abs=1e-13)


@pytest.mark.parametrize("distance", [8.0, 20.0, 200.0])
def test_charges_of_atoms_keep_ions_apart_charged(ions, net, distance):
    """Beyond the cutoff of a pair with total 0 the energy is Coulomb's law of two charges; charges of bonds have none."""
    end = torch.stack([torch.zeros(3, dtype=torch.float64), distance * OFFSET])
    pair = Graph(end, torch.tensor([11, 17]), "molecule", conditions={"charge": 0.0})
    found = _run(ions, pair)
    q = float(found["charges"][0])
    assert abs(q) > 0.1
    assert float(_run(net, pair)["charges"].abs().max()) < 1e-13
    far = _run(ions, replace(pair, positions=1e6 * end))
    length = distance * float(OFFSET.norm())
    law = -COULOMB * q**2 / length * math.erf(length / 2)  # Gaussians of 1 angstrom
    assert float(found["energy"] - far["energy"]) == pytest.approx(law, rel=1e-5)
    pull = COULOMB * q**2 / length**2
    if distance > 12:
        assert float(found["forces"][0] @ OFFSET / OFFSET.norm()) == pytest.approx(pull, rel=1e-9)


def test_fragments_known_to_be_neutral_take_no_part_of_the_total(net):
    graph = together(replace(salt(4), conditions={"charge": 1.0}), water(), 30.0 * OFFSET)
    batch = graphs_to_batch(net.config, [graph])
    with torch.no_grad():
        shared = net(batch)["charges"]
        batch.quantities["fragment_charge"] = torch.tensor([1.0] * 4 + [0.0] * 3).double()
        known = net(batch)["charges"]
    assert abs(float(shared[4:].sum())) > 0.1
    assert float(known[4:].sum()) == pytest.approx(0.0, abs=1e-13)
    assert float(known[:4].sum()) == pytest.approx(1.0, abs=1e-13)


@pytest.mark.parametrize("source", ["bonds", "atoms"])
def test_charges_add_up_whatever_the_readings(source):
    config = far_network(electrostatics=True, electrostatics_charges=source).config
    batch = graphs_to_batch(config, [crystal(), crystal()])
    sender, receiver = batch.edge_index
    lattice = torch.einsum("es,esd->ed", batch.edge_shift, batch.cell[batch.graph_index[receiver]])
    vector = batch.positions[sender] - batch.positions[receiver] + lattice
    charges = conserved_charges(5 * torch.randn(10), torch.randn(10), batch, vector, config)
    assert charges.dtype == torch.float64
    assert charges[:5].sum().abs() < 1e-13 * charges.abs().sum()


@pytest.mark.parametrize("distance", [20.0, 35.0, 60.0])
def test_neutral_fragments_leave_exactly_their_coulomb_energy(net, distance):
    """E(A + B) - E(A) - E(B) is the sum over point charges that each fragment has alone, to 1e-8 of an eV and beyond."""
    a, b = salt(4), salt(6)
    both = together(a, b, distance * OFFSET)
    found, parts = _run(net, both), [_run(net, a), _run(net, b)]
    charges = torch.cat([p["charges"] for p in parts])
    assert (found["charges"] - charges).abs().max() < 1e-13
    distances = torch.cdist(
        both.positions[:4], both.positions[4:], compute_mode="donot_use_mm_for_euclid_dist"
    )
    points = COULOMB * (charges[:4, None] * charges[None, 4:] / distances).sum()
    left = found["energy"] - parts[0]["energy"] - parts[1]["energy"]
    assert abs(float(points)) > 1e-6, "no interaction, so nothing is tested"
    assert float(left) == pytest.approx(float(points), abs=1e-10)


def test_distant_dipoles_follow_the_dipole_law(net):
    """What is left beyond k [mu_a.mu_b - 3 (mu_a.n)(mu_b.n)] / R^3 is a quadrupole, 1/R: halved with each doubling."""
    a, b = salt(4), salt(6)
    parts = [_run(net, a), _run(net, b)]
    dipoles = [_multipoles(p, g)[1] for p, g in zip(parts, (a, b), strict=True)]
    errors = []
    for distance in (240.0, 480.0, 960.0):
        both = together(a, b, distance * OFFSET)
        line = both.positions[4:].mean(0) - both.positions[:4].mean(0)
        n, size = line / line.norm(), line.norm()
        law = COULOMB * (dipoles[0] @ dipoles[1] - 3 * (dipoles[0] @ n) * (dipoles[1] @ n)) / size**3
        left = _run(net, both)["energy"] - parts[0]["energy"] - parts[1]["energy"]
        errors.append(abs(float(left / law) - 1))
    assert errors[0] < 0.2
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.1)
    assert errors[2] == pytest.approx(errors[0] / 4, rel=0.1)


@pytest.mark.parametrize("distance", [20.0, 60.0])
def test_ions_leave_coulombs_law_of_their_charges(net, distance):
    """The energy moves with the distance as the charges of the fragments say, and so do the forces."""
    ion = replace(salt(4), conditions={"charge": 1.0})
    near, far = (together(ion, salt(6), r * OFFSET) for r in (distance, distance + 5.0))
    found = [_run(net, g) for g in (near, far)]
    q = found[0]["charges"]
    assert (q - found[1]["charges"]).abs().max() < 1e-13
    assert q.sum() == pytest.approx(1.0, abs=1e-13)
    points = []
    for graph in (near, far):
        between = torch.cdist(
            graph.positions[:4], graph.positions[4:], compute_mode="donot_use_mm_for_euclid_dist"
        )
        points.append(COULOMB * (q[:4, None] * q[None, 4:] / between).sum())
    change = float(found[0]["energy"] - found[1]["energy"])
    assert abs(change) > 1e-5
    assert change == pytest.approx(float(points[0] - points[1]), abs=1e-9)
    away = near.positions[:4, None] - near.positions[None, 4:]
    pull = COULOMB * (q[:4, None] * q[None, 4:] / away.norm(dim=2) ** 3)[..., None] * away
    torch.testing.assert_close(found[0]["forces"][:4].sum(0), pull.sum((0, 1)), rtol=0, atol=1e-9)


def test_crystals_are_extensive_and_feel_the_lattice(net):
    one, many = crystal(), supercell(crystal(), (2, 1, 2))
    single, multiple = _run(net, one), _run(net, many)
    assert float(multiple["energy"]) == pytest.approx(4 * float(single["energy"]), rel=1e-10)


def test_slabs_are_refused(net):
    graph = replace(crystal(), pbc=torch.tensor([True, True, False]))
    with pytest.raises(InputError, match="2 periodic directions, expected 0 or 3"):
        _run(net, graph)
