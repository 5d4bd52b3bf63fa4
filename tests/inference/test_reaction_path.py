"""The barrier of a double well is known."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms

from atomfield.data.errors import InputError
from atomfield.inference.reaction_path import figure, reaction_path
from tests.inference.potentials import DoubleWell


def test_a_double_well(tmp_path: Path) -> None:
    start, end = Atoms("H", [[-0.95, 0.02, 0.01]]), Atoms("H", [[1.04, 0.0, 0.0]])
    start.calc = DoubleWell(height=0.6, reach=1.0, stiffness=4.0, bend=0.5)
    found = reaction_path(start, end, images=5, fmax=0.01)
    assert found.converged
    assert found.metrics()["barrier_forward_eV"] == pytest.approx(0.6, abs=1e-3)
    assert found.metrics()["reaction_energy_eV"] == pytest.approx(0.0, abs=1e-3)
    saddle = found.images[found.saddle].positions[0]
    np.testing.assert_allclose(saddle, [0.0, 0.5, 0.0], atol=0.02)
    assert found.distance[-1] > 2.1  # longer than the straight line
    files = found.save(tmp_path)
    assert len(ase.io.read(files[0], ":")) == 7
    assert files[1].read_text().startswith("image,distance_A")
    assert figure(found).axes
    assert start.positions[0, 0] == -0.95
    assert not found.remarks


def test_an_atom_hops_over_a_surface_and_constraints_hold() -> None:
    """Gold on aluminium, the example of ASE's pages: 0.37 eV by EMT."""
    slab = fcc100("Al", size=(2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.pbc = [True, True, True]
    slab.set_constraint(FixAtoms(mask=[a.tag > 1 for a in slab]))
    slab.calc = EMT()
    end = slab.copy()
    end.positions[-1, 0] += slab.cell[0, 0] / 2
    found = reaction_path(slab, end, images=3)
    assert found.metrics()["barrier_forward_eV"] == pytest.approx(0.374, abs=0.01)
    np.testing.assert_array_equal(found.images[2].positions[0], slab.positions[0])


def test_mistakes() -> None:
    one, other = Atoms("H", [[-1.0, 0, 0]]), Atoms("H", [[-0.9, 0, 0]])
    one.calc = DoubleWell(0.5, 1.0, 4.0, 0.0)
    with pytest.raises(InputError, match="same structure"):
        reaction_path(one, other)
    with pytest.raises(InputError, match="expected the same in one order"):
        reaction_path(one, Atoms("He", [[1.0, 0, 0]]))
    with pytest.raises(InputError, match="different cells"):
        reaction_path(one, Atoms("H", [[1.0, 0, 0]], cell=[9, 9, 9], pbc=True))
    with pytest.raises(InputError, match="images is 0"):
        reaction_path(one, other, images=0)
    other.positions[0, 0] = 1.0
    one.calc = DoubleWell(0.5, 1.0, 4.0, 0.5)
    assert "did not converge" in " ".join(reaction_path(one, other, steps=2).remarks)


def test_ends_of_different_charge_are_refused() -> None:
    """The energies of the two ends would be those of different molecules."""
    start, end = Atoms("H", [[-0.95, 0.02, 0.01]], info={"charge": 1}), Atoms("H", [[1.04, 0.0, 0.0]])
    start.calc = DoubleWell(height=0.6, reach=1.0, stiffness=4.0, bend=0.5)
    with pytest.raises(InputError, match="different charges or spins"):
        reaction_path(start, end)


def test_ends_of_a_molecule_are_laid_onto_each_other() -> None:
    """Two files rarely have one orientation; the molecule as a whole must not turn on the path."""
    start = Atoms("Ar4", [[0, 0, 0], [3.8, 0, 0], [1.9, 3.3, 0], [1.9, 1.1, 3.1]])
    start.calc = LennardJones(sigma=3.4, epsilon=0.01, rc=20.0)
    end = start.copy()
    end.positions[3, 2] *= -1
    turned = end.copy()
    turned.rotate(70, (1, 2, 3))
    turned.positions += [5.0, -2.0, 1.0]
    plain, found = (reaction_path(start, e, images=1, steps=2, relax_ends=False) for e in (end, turned))
    np.testing.assert_allclose(found.energies, plain.energies, atol=1e-6)
    np.testing.assert_allclose(found.distance, plain.distance, atol=1e-3)
    turned.positions[:] = start.positions[:, [1, 2, 0]]
    with pytest.raises(InputError, match="same structure"):
        reaction_path(start, turned, relax_ends=False)
