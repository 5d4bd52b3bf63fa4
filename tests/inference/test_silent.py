"""What a level was never trained on is left out of the answers, and refused where dynamics would rest on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.export import export
from atomfield.inference.predict import predict_graphs
from atomfield.inference.rollout import rollout
from atomfield.inference.silent import silent, stepped
from atomfield.inference.together import relax_many
from atomfield.inference.unseen import refuse_unseen
from atomfield.models.network import AtomFieldNet
from tests.small import morse_clusters, small_network, waves

SURFACE = {"energy", "forces", "stress"}


@pytest.fixture
def net() -> AtomFieldNet:
    """``gas`` has all there is, ``energies`` nothing but a surface, ``gaps`` nothing but properties, which is the default."""
    made = small_network(levels=("gas", "energies", "gaps", "flow")).eval()
    made.config = made.config.model_copy(update={"default_level_atoms": "gaps"})
    head = made.atom_head
    with torch.no_grad():
        head.reference.zero_()
        head.reference[:2, [1, 6]] = -3.0
        for rows in (head.charge, head.dipole):
            rows[1:3] = 0.0
        for rows in (head.energy, head.linear):
            rows[2] = 0.0
    return made


def molecule() -> Atoms:
    (graph,) = morse_clusters(1)
    return Atoms(graph.species.numpy(), graph.positions.numpy(), info={"charge": 0, "spin": 1})


def test_rows_of_zeros_say_nothing(net: AtomFieldNet) -> None:
    assert silent(net, "gas") == frozenset()
    assert silent(net, "energies") == {"charges", "dipole"}
    assert silent(net) == silent(net, "gaps") == {*SURFACE, "charges", "dipole"}
    assert (
        silent(small_network(perturb=0.0)) == frozenset()
    )  # nothing was trained yet, so nothing is held back


def test_predictions_leave_it_out_and_keep_the_order(net: AtomFieldNet) -> None:
    levels = ("gaps", "gas", "energies", "")
    graphs = [replace(g, level=level) for g, level in zip(morse_clusters(4), levels, strict=True)]
    found = predict_graphs(net, graphs)
    own = {"gap", "volume"}
    assert [set(p) for p in found] == [
        own,
        {*own, "energy", "forces", "charges", "dipole"},
        {*own, "energy", "forces"},
        own,
    ]
    for graph, prediction in zip(graphs, found, strict=True):
        (alone,) = predict_graphs(net, [graph])
        assert float(alone["gap"]) == pytest.approx(float(prediction["gap"]), abs=1e-6)


def test_elements_of_a_level_of_properties_are_not_judged_by_energies(net: AtomFieldNet) -> None:
    refuse_unseen(net, torch.tensor([14, 26]), "gaps")
    refuse_unseen(net, torch.tensor([14, 26]))
    with pytest.raises(InputError, match="has not seen Si"):
        refuse_unseen(net, torch.tensor([14]), "gas")
    with pytest.raises(InputError, match="level 'flow' has no energies of atoms in this model"):
        refuse_unseen(net, torch.tensor([6]), "flow")


def test_the_calculator_refuses_energies_that_are_none(net: AtomFieldNet) -> None:
    atoms = molecule()
    atoms.calc = AtomFieldCalculator(net)
    for ask in (atoms.get_potential_energy, atoms.get_forces, lambda: atoms.calc.hessian(atoms)):
        with pytest.raises(
            InputError,
            match="level 'gaps' was trained on gap, volume alone.*; levels gas, energies have some, as far",
        ):
            ask()
    atoms.calc.calculate(atoms)
    assert not atoms.calc.results
    assert set(atoms.calc.user_properties) == {"gap", "volume"}
    with pytest.raises(InputError, match="level 'gaps' was trained on"):
        relax_many(net, [replace(g, level="") for g in morse_clusters(2)])
    with pytest.raises(InputError, match="level 'gaps' was trained on"):
        export(net, "never.pt2")


def test_the_calculator_gives_no_dipole_that_was_never_learnt(net: AtomFieldNet) -> None:
    atoms = molecule()
    atoms.calc = AtomFieldCalculator(net, level="energies")
    assert np.isfinite(atoms.get_forces()).all()
    assert set(atoms.calc.results) == {"energy", "free_energy", "forces"}
    assert not {"charges", "dipole"} & set(atoms.calc.implemented_properties)
    atoms.calc = AtomFieldCalculator(net, level="gas")
    assert np.isfinite(atoms.get_dipole_moment()).all()


def test_a_state_that_was_never_to_be_found_is_an_input(net: AtomFieldNet) -> None:
    """In a rollout it follows the record, or stays as it is where the record has it once."""
    states = net.config.field_states
    with torch.no_grad():
        net.field_head.weight[3, states.index("velocity")] = 0.0
    assert "velocity" not in stepped(net, "flow")
    assert stepped(net, "gas") == states
    assert stepped(small_network(perturb=0.0)) == states
    (record,) = waves(1, level="flow")
    found = rollout(net, record, num_steps=3)
    assert set(found) == {"concentration"}
    assert set(predict_graphs(net, [record])[0]) == {"concentration"}
    still = record.quantities["velocity"]
    turning = torch.stack([still * (1 - 2 * (t % 2)) for t in range(record.num_times)])
    other = rollout(net, record.changed(quantities={**record.quantities, "velocity": turning}), num_steps=3)
    assert torch.equal(found["concentration"][1], other["concentration"][1])
    assert not torch.equal(found["concentration"][2], other["concentration"][2])
    alone = record.changed(quantities={"velocity": turning})
    for ask in (lambda: rollout(net, alone), lambda: predict_graphs(net, [alone])):
        with pytest.raises(InputError, match="found velocity, expected one of vorticity"):
            ask()
