"""A gentle potential: the laws' network with its energies scaled down to what atoms can be moved in."""

from __future__ import annotations

import pytest
from ase import Atoms

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet
from tests.physics.subjects import chiral_molecule, crystal, network


@pytest.fixture(scope="session")
def net() -> AtomFieldNet:
    net = network("s")
    net.atom_head.energy_scale.fill_(1.0)
    return net


def atoms_of(graph: Graph) -> Atoms:
    """The same structure as ASE Atoms."""
    periodic = bool(graph.pbc.any())
    cell = graph.cell.numpy() if periodic else None
    atoms = Atoms(graph.species.numpy(), graph.positions.numpy(), cell=cell, pbc=graph.pbc.numpy())
    atoms.info.update(graph.conditions)
    return atoms


@pytest.fixture
def molecule() -> Atoms:
    return atoms_of(chiral_molecule())


@pytest.fixture
def solid() -> Atoms:
    return atoms_of(crystal())
