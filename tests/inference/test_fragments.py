"""A total charge goes where it costs least, and a calculator reads the charges of fragments from arrays."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, product

import pytest
import torch
from ase import Atoms

from atomfield.data.bonds import Bonds
from atomfield.data.errors import InputError
from atomfield.data.fragments import fragments, with_fragments
from atomfield.data.graph import Graph
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.convert import graph_from_atoms
from atomfield.inference.fragments import assign_charges
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from tests.small import morse_clusters, small_network


@pytest.fixture(scope="module")
def net() -> AtomFieldNet:
    return small_network().double().eval()


def apart(charge: float) -> Graph:
    """Three different clusters far from each other."""
    parts = morse_clusters(3)
    positions = torch.cat([g.positions + 50.0 * i for i, g in enumerate(parts)])
    species = torch.cat(
        [torch.tensor([6, 1, 1, 6, 1]), torch.tensor([8, 1, 1, 6, 1]), torch.tensor([6, 1, 7, 6, 1])]
    )
    return Graph(positions, species, "molecule", level="morse", conditions={"charge": charge})


def energy(net: AtomFieldNet, graph: Graph) -> float:
    with torch.no_grad():
        return float(net(graphs_to_batch(net.config, [graph]), forces=False)["energy"])


@pytest.mark.parametrize("total", [1.0, -2.0])
def test_the_least_energy_of_all_divisions(net, total):
    graph = apart(total)
    labels = fragments(graph, net.config.cutoff)
    sign = 1 if total > 0 else -1
    divisions = [d for d in product(range(int(abs(total)) + 1), repeat=3) if sum(d) == abs(total)]
    energies = sorted(
        energy(net, with_fragments(graph, labels, [sign * float(q) for q in d])) for d in divisions
    )
    assert all(b - a > 1e-6 for a, b in pairwise(energies))
    assert energy(net, assign_charges(net, graph)) == pytest.approx(energies[0], abs=1e-10)


def test_a_charge_that_is_unknown_cannot_be_divided(net):
    with pytest.raises(InputError, match="unknown, expected a whole number"):
        assign_charges(net, replace(apart(0.0), conditions={}))


def test_arrays_of_atoms_are_read(net):
    graph = with_fragments(apart(1.0), fragments(apart(1.0), 5.0), [0.0, 1.0, 0.0])
    atoms = Atoms(graph.species.numpy(), graph.positions.numpy(), info={"charge": 1.0})
    atoms.arrays["fragment_charge"] = graph.quantities["fragment_charge"].numpy()
    assert torch.equal(
        graph_from_atoms(atoms).quantities["fragment_charge"], graph.quantities["fragment_charge"]
    )
    atoms.calc = AtomFieldCalculator(net, level="morse")
    assert atoms.get_potential_energy() == pytest.approx(energy(net, graph), abs=1e-9)
    atoms.arrays["fragment_charge"][:] = [1.0] * 5 + [0.0] * 10
    atoms.calc.reset()
    moved = with_fragments(apart(1.0), fragments(apart(1.0), 5.0), [1.0, 0.0, 0.0])
    assert atoms.get_potential_energy() == pytest.approx(energy(net, moved), abs=1e-9)


def test_bonds_stay_with_their_fragment(net):
    """As every record of a SMILES string has them."""
    bonds = Bonds.of([[0, 1], [5, 6], [12, 10]], [1, 1, 1])
    found = assign_charges(net, replace(apart(1.0), bonds=bonds))
    assert torch.equal(
        found.quantities["fragment_charge"], assign_charges(net, apart(1.0)).quantities["fragment_charge"]
    )
    assert found.bonds == bonds
