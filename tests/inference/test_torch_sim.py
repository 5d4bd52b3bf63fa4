"""torch-sim gets the calculator's answers, and moves atoms by them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.models.network import AtomFieldNet

torch_sim = pytest.importorskip("torch_sim")

from atomfield.inference.torch_sim import TorchSimModel  # noqa: E402


@pytest.mark.parametrize("which", ["molecule", "solid"])
def test_answers_are_those_of_the_calculator(
    net: AtomFieldNet, which: str, request: pytest.FixtureRequest
) -> None:
    atoms: Atoms = request.getfixturevalue(which)
    atoms.info = {}
    model, calculator = TorchSimModel(net), AtomFieldCalculator(net)
    generator = np.random.default_rng(0)
    for step in range(4):
        systems = [atoms.copy(), atoms.copy()]
        for system in systems:
            system.positions += 0.02 * generator.standard_normal(system.positions.shape)
        if which == "solid" and step > 1:
            systems[1].set_cell(systems[1].cell.array @ np.diag([1.01, 0.99, 1.02]), scale_atoms=True)
        state = torch_sim.initialize_state(systems, torch.device("cpu"), torch.float64)
        with torch.no_grad():
            found = model(state)
        first = 0
        for number, system in enumerate(systems):
            system.calc = calculator
            last = first + len(system)
            assert float(found["energy"][number]) == pytest.approx(system.get_potential_energy(), abs=1e-9)
            np.testing.assert_allclose(found["forces"][first:last].numpy(), system.get_forces(), atol=1e-9)
            if which == "solid":
                stress = found["stress"][number].numpy()
                np.testing.assert_allclose(stress, system.get_stress(voigt=False), atol=1e-10)
            else:
                assert not found["stress"][number].any()
            first = last


def test_torch_sim_moves_the_atoms_at_constant_energy(net: AtomFieldNet, molecule: Atoms) -> None:
    molecule.info = {}
    model = TorchSimModel(net)
    nve = torch_sim.Integrator.nve if hasattr(torch_sim, "Integrator") else torch_sim.nve  # since 0.4, before

    def energies(state: Any) -> torch.Tensor:
        masses, owner = state.masses, state.system_idx
        kinetic = torch_sim.calc_kinetic_energy(masses=masses, momenta=state.momenta, system_idx=owner)
        return model(state)["energy"] + kinetic

    state = torch_sim.initialize_state([molecule] * 2, torch.device("cpu"), torch.float64)
    totals, potentials = [], []
    for steps in (1, 40, 40):
        state = torch_sim.integrate(
            state, model, integrator=nve, n_steps=steps, temperature=300, timestep=0.0002
        )
        totals.append(energies(state))
        potentials.append(model(state)["energy"])
    spread = max(abs(float((totals[k] - totals[k - 1]).abs().max())) for k in (1, 2))
    moved = float((potentials[2] - potentials[1]).abs().max())
    assert moved > 1e-4
    assert spread < 0.05 * moved


def test_elements_that_were_never_seen_are_refused(net: AtomFieldNet, molecule: Atoms) -> None:
    import copy

    known = copy.deepcopy(net)
    known.atom_head.reference[0, 17] = 0.0
    molecule.info = {}
    state = torch_sim.initialize_state([molecule], torch.device("cpu"), torch.float64)
    with pytest.raises(InputError, match="has not seen Cl"):
        TorchSimModel(known)(state)
