"""The one list of physical laws; ``test_laws.py`` runs all of it over every size of network."""

from __future__ import annotations

from . import atom_laws, derivative_laws, field_laws, objective_laws, symmetry_laws

ATOM_LAWS = (
    symmetry_laws.rotations_and_reflections,
    symmetry_laws.translation,
    symmetry_laws.choice_of_image,
    symmetry_laws.choice_of_cell,
    symmetry_laws.permutation,
    symmetry_laws.mirror_images_have_one_energy,
    symmetry_laws.mirror_images_have_opposite_handedness,
    symmetry_laws.embedding,
    symmetry_laws.directions_along_axes_are_no_exception,
    atom_laws.distant_fragments_add_up,
    atom_laws.distant_neutral_fragment_changes_no_ion,
    atom_laws.fragments_of_known_charge_add_up,
    atom_laws.supercells_are_multiples,
    atom_laws.batches_do_not_mix,
    atom_laws.gradients_stay_in_their_graph,
    atom_laws.a_lone_atom_is_its_reference,
    derivative_laws.forces_are_the_gradient,
    derivative_laws.hessian_is_the_gradient_of_forces,
    derivative_laws.stress_is_the_strain_derivative,
    derivative_laws.elastic_constants_are_the_gradient_of_the_stress,
    derivative_laws.no_net_force_nor_torque,
    derivative_laws.forces_can_be_trained_on,
    derivative_laws.nothing_jumps_at_the_cutoff,
    objective_laws.noise_turns_with_the_given_forces,
    objective_laws.direct_forces_turn,
    objective_laws.hidden_elements_are_invariant,
    objective_laws.hidden_elements_follow_a_permutation,
)
FIELD_LAWS = (
    field_laws.field_rotations_and_reflections,
    field_laws.two_dimensions_stay_in_their_plane,
    field_laws.field_translation,
    field_laws.field_shift_along_the_grid,
    field_laws.field_permutation,
    field_laws.field_batches_do_not_mix,
    objective_laws.hidden_states_turn,
    objective_laws.hidden_states_stay_in_their_plane,
)
SINGLE_PRECISION_LAWS = (
    symmetry_laws.rotations_and_reflections,
    symmetry_laws.translation,
    symmetry_laws.permutation,
    symmetry_laws.mirror_images_have_one_energy,
    symmetry_laws.mirror_images_have_opposite_handedness,
    symmetry_laws.embedding,
    atom_laws.batches_do_not_mix,
    field_laws.field_rotations_and_reflections,
    field_laws.field_permutation,
    field_laws.two_dimensions_stay_in_their_plane,
    objective_laws.noise_turns_with_the_given_forces,
    objective_laws.direct_forces_turn,
    objective_laws.hidden_states_turn,
)
"""Those that networks in float32 are held to as well; a finite difference of rounded numbers says nothing."""
