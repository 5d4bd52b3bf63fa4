"""The control without the symmetry keeps every other law, and breaks rotations by far more than rounding."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atomfield.models.network import AtomFieldNet

from . import atom_laws, derivative_laws, field_laws, symmetry_laws
from .agreement import outputs
from .subjects import chiral_molecule, flow, network, orthogonal_matrices, transformed, turned

KEPT = (
    symmetry_laws.translation,
    symmetry_laws.choice_of_image,
    symmetry_laws.choice_of_cell,
    symmetry_laws.permutation,
    atom_laws.distant_fragments_add_up,
    atom_laws.supercells_are_multiples,
    atom_laws.batches_do_not_mix,
    atom_laws.gradients_stay_in_their_graph,
    derivative_laws.forces_are_the_gradient,
    derivative_laws.hessian_is_the_gradient_of_forces,
    derivative_laws.stress_is_the_strain_derivative,
    derivative_laws.forces_can_be_trained_on,
    derivative_laws.nothing_jumps_at_the_cutoff,
    field_laws.field_translation,
    field_laws.field_shift_along_the_grid,
    field_laws.field_permutation,
    field_laws.field_batches_do_not_mix,
)


@pytest.fixture(scope="module")
def control() -> AtomFieldNet:
    return network("s", symmetry="none")


@pytest.mark.parametrize("law", KEPT, ids=lambda law: law.__name__)
def test_law_that_remains(control: AtomFieldNet, law: Callable[[AtomFieldNet], None]) -> None:
    law(control)


def test_rotations_are_no_symmetry(control: AtomFieldNet) -> None:
    """By a hundredth at least for one of ten rotations: of the energy less its references, and of the forces."""
    graph = chiral_molecule()
    before = outputs(control, graph)
    reference = control.atom_head.reference[0, graph.species].sum()
    energies, forces = [], []
    for rotation in orthogonal_matrices()[:10]:
        after = outputs(control, transformed(graph, rotation))
        energies.append((after["energy"] - before["energy"]).abs().max())
        forces.append((after["forces"] - turned(before["forces"], "1o", rotation)).abs().max())
    assert max(energies) > 1e-2 * (before["energy"] - reference).abs().max()
    assert max(forces) > 1e-2 * before["forces"].abs().max()


def test_rotations_are_no_symmetry_of_fields(control: AtomFieldNet) -> None:
    rotation = orthogonal_matrices()[0]
    before = field_laws.increments(control, flow())
    after = field_laws.increments(control, transformed(flow(), rotation))
    for name, irreps in (("velocity", "1o"), ("vorticity", "1e"), ("pressure", "0e")):
        expected = turned(before[name], irreps, rotation)
        assert (after[name] - expected).abs().max() > 1e-2 * expected.abs().max()


def test_the_control_has_the_sizes_of_its_twin() -> None:
    twin, control = network("s").config, network("s", symmetry="none").config
    for name in ("channels", "layers", "correlation", "cutoff", "radial_hidden", "head_hidden"):
        assert getattr(twin, name) == getattr(control, name)
