"""The one list of physical laws; ``test_laws.py`` runs all of it over every kind of network."""

from __future__ import annotations

from . import atom_laws, field_laws

ATOM_LAWS = (
    atom_laws.rotations_and_reflections,
    atom_laws.translation,
    atom_laws.choice_of_image,
    atom_laws.choice_of_cell,
    atom_laws.permutation,
    atom_laws.mirror_images_have_one_energy,
    atom_laws.embedding,
    atom_laws.distant_fragments_add_up,
    atom_laws.distant_neutral_fragment_changes_no_ion,
    atom_laws.supercells_are_multiples,
    atom_laws.batches_do_not_mix,
    atom_laws.gradients_stay_in_their_graph,
    atom_laws.forces_are_the_gradient,
    atom_laws.stress_is_the_strain_derivative,
    atom_laws.no_net_force_nor_torque,
    atom_laws.directions_along_axes_are_no_exception,
    atom_laws.forces_can_be_trained_on,
    atom_laws.nothing_jumps_at_the_cutoff,
    atom_laws.a_lone_atom_is_finite,
)
FIELD_LAWS = (
    field_laws.field_rotations_and_reflections,
    field_laws.two_dimensions_stay_in_their_plane,
    field_laws.field_translation,
    field_laws.field_shift_along_the_grid,
    field_laws.field_permutation,
    field_laws.field_batches_do_not_mix,
)
