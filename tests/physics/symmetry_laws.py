"""Symmetries of molecules and crystals, one function each: ``law(net)`` raises ``AssertionError`` where the network breaks it."""

from __future__ import annotations

from dataclasses import replace

import torch

from atomfield.data.graph import Graph
from atomfield.inference.intervals import support_of
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import agree, exact, irreps_of, outputs, unit_of
from .subjects import (
    all_turned,
    cavity,
    chiral_molecule,
    crystal,
    flow,
    mirrored,
    orthogonal_matrices,
    permuted,
    readable,
    transformed,
    turned,
    water,
)


def rotations_and_reflections(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    for graph in (chiral_molecule(), crystal()):
        reference = outputs(net, graph)
        found = outputs(net, *(transformed(graph, q) for q in maps))
        for name, value in reference.items():
            expected = all_turned(value, irreps_of(net, name), maps)
            what = f"{name} of the {graph.world} after 103 maps"
            agree(found[name], expected, what, exact(net), unit_of(net, name))


def translation(net: AtomFieldNet) -> None:
    offset = torch.tensor([7.3, -11.9, 5.1], dtype=torch.float64)
    for graph in (chiral_molecule(), crystal()):
        reference = outputs(net, graph)
        found = outputs(net, replace(graph, positions=graph.positions + offset))
        for name in set(reference) - ({"dipole"} if graph.world == "crystal" else set()):
            agree(
                found[name],
                reference[name],
                f"{name} of the translated {graph.world}",
                exact(net),
                unit_of(net, name),
            )


def choice_of_image(net: AtomFieldNet) -> None:
    """Which periodic image of an atom is listed is no physics."""
    graph = crystal()
    shifts = torch.tensor([[0, 0, 0], [1, 0, 0], [0, -2, 0], [3, 1, -1], [0, 0, 1]], dtype=torch.float64)
    reference = outputs(net, graph)
    found = outputs(net, replace(graph, positions=graph.positions + shifts @ graph.cell))
    for name in ("energy", "forces", "stress", "charges"):
        agree(found[name], reference[name], f"{name} with other images", exact(net))


def choice_of_cell(net: AtomFieldNet) -> None:
    """Another basis of the same lattice describes the same crystal."""
    graph = crystal()
    basis = torch.tensor([[1, 0, 0], [1, 1, 0], [-1, 0, 1]], dtype=torch.float64)
    reference = outputs(net, graph)
    found = outputs(net, replace(graph, cell=basis @ graph.cell))
    for name in ("energy", "forces", "stress", "charges"):
        agree(found[name], reference[name], f"{name} in another cell", exact(net))


def permutation(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        order = torch.tensor([3, 0, 4, 2, 1])
        reference, found = outputs(net, graph), outputs(net, permuted(graph, order))
        for name, value in reference.items():
            per_node = support_of(name, net.config) == "node"
            agree(
                found[name],
                value[order] if per_node else value,
                f"{name} of the permuted {graph.world}",
                exact(net),
                unit_of(net, name),
            )


def mirror_images_have_one_energy(net: AtomFieldNet) -> None:
    left, right = outputs(net, chiral_molecule()), outputs(net, mirrored(chiral_molecule()))
    for name in ("energy", "charges", "gap", "volume_of_pores"):
        agree(right[name], left[name], f"{name} of the mirror image", exact(net), unit_of(net, name))


def mirror_images_have_opposite_handedness(net: AtomFieldNet) -> None:
    """A pseudoscalar changes sign in a mirror, and what equals its mirror image has none."""
    left, right = outputs(net, chiral_molecule()), outputs(net, mirrored(chiral_molecule()))
    flat = outputs(net, water())
    for prop in net.config.properties:
        if prop.irreps == "0o":
            agree(
                right[prop.name],
                -left[prop.name],
                f"{prop.name} of the mirror image",
                exact(net),
                unit_of(net, prop.name),
            )
            assert (flat[prop.name].abs() < exact(net) * unit_of(net, prop.name)).all(), (
                "a plane has a handedness"
            )


def embedding(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    for graph in (chiral_molecule(), crystal(), readable(net, flow()), readable(net, cavity())):
        reference = net.embed(graphs_to_batch(net.config, [graph]))
        found = net.embed(graphs_to_batch(net.config, [transformed(graph, q) for q in maps]))
        expected = {"invariant": reference["invariant"].expand(len(maps), -1)}
        expected["vector"] = maps.to(net.dtype) @ reference["vector"]
        # together, because the mean of vectors may cancel to less than the rounding of its terms
        agree(
            torch.cat([found[k].flatten() for k in expected]),
            torch.cat([v.flatten() for v in expected.values()]),
            "invariant and vector features",
            exact(net),
        )


def directions_along_axes_are_no_exception(net: AtomFieldNet) -> None:
    """Frames of edges along x, y, z, either sign, are where a careless construction divides by zero."""
    bent = torch.tensor(
        [[0.0, 0.0, 0.0], [0.0, 0.0, 1.1], [0.0, 0.0, -1.3], [0.9, 0.0, 0.0]], dtype=torch.float64
    )
    species, general = torch.tensor([8, 6, 1, 1]), orthogonal_matrices()[0]
    reference = outputs(net, Graph(bent @ general.T, species, "molecule"))
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for sign in (1.0, -1.0):
            q = sign * torch.eye(3, dtype=torch.float64)[list(axes)]
            found = outputs(net, Graph(bent @ q.T, species, "molecule"))
            for name in ("energy", "forces", "dipole"):
                expected = turned(reference[name], irreps_of(net, name), q @ general.T)
                agree(found[name], expected, f"{name} along {axes} with sign {sign:+.0f}", exact(net))
