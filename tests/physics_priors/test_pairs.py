"""The pairs against vesin's, and the switch against its own definition."""

from __future__ import annotations

import pytest
import torch

from atomfield.data.radius import radius_pairs
from atomfield.physics_priors.buckingham import buckingham
from atomfield.physics_priors.coulomb import coulomb_energy
from atomfield.physics_priors.ewald import ewald_energy
from atomfield.physics_priors.lennard_jones import lennard_jones
from atomfield.physics_priors.morse import morse
from atomfield.physics_priors.pairs import derivatives, of_pair, switch
from atomfield.physics_priors.zbl import zbl

from .structures import crystal, molecule, pairs_of


@pytest.mark.parametrize("cutoff", [2.5, 6.3])
def test_pairs_of_a_crystal_are_those_of_the_cell_lists(cutoff):
    positions, cell, species = crystal()
    positions = positions + torch.tensor([[3, 0, 0], [0, -2, 0], [0, 0, 0], [1, 1, -1]]).double() @ cell
    pairs = pairs_of([(positions, cell, species)], cutoff)
    index, shift = radius_pairs(
        positions, torch.tensor([4]), cell[None], torch.ones(1, 3, dtype=torch.bool), cutoff
    )

    def rows(sender, receiver, images):
        return sorted(map(tuple, torch.cat([sender[:, None], receiver[:, None], images.long()], 1).tolist()))

    assert rows(pairs.sender, pairs.receiver, pairs.shift) == rows(index[0], index[1], shift)


def test_a_molecule_has_all_its_pairs_and_none_with_others():
    pairs = pairs_of([molecule(), molecule()], cutoff=0.1)
    assert len(pairs.sender) == 2 * 4 * 3
    assert bool((pairs.graph_index[pairs.sender] == pairs.edge_graph).all())


def test_a_pair_counts_once():
    pairs = pairs_of([molecule(), molecule()])
    assert pairs.sum_pairs(torch.ones(24).double()).tolist() == [6.0, 6.0]
    assert pairs.sum_atoms(torch.ones(8).double()).tolist() == [4.0, 4.0]


def test_the_switch_is_smooth_to_its_second_derivative():
    def slopes(x: float) -> list[float]:
        r = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        value = switch(r, 2.0, 3.0)
        (first,) = torch.autograd.grad(value, r, create_graph=True)
        (second,) = torch.autograd.grad(first, r)
        return [float(v.detach()) for v in (value, first, second)]

    assert slopes(1.0) == [1.0, 0.0, 0.0]
    assert slopes(3.5) == [0.0, 0.0, 0.0]
    assert slopes(2.5) == pytest.approx([0.5, -15 / 8, 0.0], abs=1e-14)
    for edge, value in ((2.0, 1.0), (3.0, 0.0)):
        for side in (-1e-7, 1e-7):
            assert slopes(edge + side) == pytest.approx([value, 0.0, 0.0], abs=1e-5)


def test_constants_are_numbers_or_tables():
    pairs = pairs_of([molecule()])
    table = torch.arange(12.0 * 12).reshape(12, 12)
    picked = of_pair(table, pairs)
    assert picked.tolist() == [
        12.0 * a + b
        for a, b in zip(
            pairs.species[pairs.sender].tolist(), pairs.species[pairs.receiver].tolist(), strict=True
        )
    ]
    assert of_pair(2.0, pairs) == 2.0


def test_a_molecule_has_no_stress():
    with torch.no_grad():
        found = derivatives(lambda p: p.sum_pairs(1 / p.distances()), pairs_of([molecule(), crystal()]))
    assert float(found["stress"][0].abs().max()) == 0.0
    assert float(found["stress"][1].abs().max()) > 1e-3


@pytest.mark.parametrize(
    "law",
    [
        lambda p: lennard_jones(p, 0.01, 3.4),
        lambda p: morse(p, 1.0, 1.0, 1.0),
        lambda p: buckingham(p, 1000.0, 0.3, 10.0),
        zbl,
        lambda p: coulomb_energy(p, torch.ones(len(p.species)).double()),
        lambda p: ewald_energy(p, torch.ones(len(p.species)).double(), 6.0),
    ],
    ids=["lennard_jones", "morse", "buckingham", "zbl", "coulomb", "ewald"],
)
def test_an_isolated_atom_has_no_energy_and_feels_nothing(law):
    """Alone, and beside a molecule in the batch."""
    lone = (torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64), None, [18])
    for batch in ([lone], [lone, molecule()]):
        with torch.no_grad():
            found = derivatives(law, pairs_of(batch))
        assert float(found["energy"][0]) == 0.0
        assert float(found["forces"][0].abs().max()) == 0.0
