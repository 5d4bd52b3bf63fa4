"""Laws of molecules and crystals, one function each: ``law(net)`` raises ``AssertionError`` where the network breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.data.quantities import VOCABULARY
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import EXACT, NUMERICAL, agree, irreps_of, outputs
from .subjects import (
    CUTOFF,
    cavity,
    chiral_molecule,
    crystal,
    flow,
    lone_atom,
    mirrored,
    orthogonal_matrices,
    permuted,
    supercell,
    together,
    transformed,
    turned,
    water,
)

EXTENSIVE = ("energy", "volume_of_pores")


# ---------------------------------------------------------------- symmetry, atoms
def rotations_and_reflections(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        reference = outputs(net, graph)
        for kind, q in orthogonal_matrices().items():
            found = outputs(net, transformed(graph, q))
            for name, value in reference.items():
                agree(
                    found[name],
                    turned(value, irreps_of(name), q),
                    f"{name} of the {graph.world} under {kind}",
                )


def translation(net: AtomFieldNet) -> None:
    offset = torch.tensor([7.3, -11.9, 5.1], dtype=torch.float64)
    for graph in (chiral_molecule(), crystal()):
        reference = outputs(net, graph)
        found = outputs(net, replace(graph, positions=graph.positions + offset))
        for name in set(reference) - ({"dipole"} if graph.world == "crystal" else set()):
            agree(found[name], reference[name], f"{name} of the translated {graph.world}")


def choice_of_image(net: AtomFieldNet) -> None:
    """Which periodic image of an atom is listed is no physics."""
    graph = crystal()
    shifts = torch.tensor([[0, 0, 0], [1, 0, 0], [0, -2, 0], [3, 1, -1], [0, 0, 1]], dtype=torch.float64)
    reference = outputs(net, graph)
    found = outputs(net, replace(graph, positions=graph.positions + shifts @ graph.cell))
    for name in ("energy", "forces", "stress", "charges"):
        agree(found[name], reference[name], f"{name} with other images")


def choice_of_cell(net: AtomFieldNet) -> None:
    """Another basis of the same lattice describes the same crystal."""
    graph = crystal()
    basis = torch.tensor([[1, 0, 0], [1, 1, 0], [-1, 0, 1]], dtype=torch.float64)
    reference = outputs(net, graph)
    found = outputs(net, replace(graph, cell=basis @ graph.cell))
    for name in ("energy", "forces", "stress", "charges"):
        agree(found[name], reference[name], f"{name} in another cell")


def permutation(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        order = torch.tensor([3, 0, 4, 2, 1])
        reference, found = outputs(net, graph), outputs(net, permuted(graph, order))
        for name, value in reference.items():
            per_node = name in VOCABULARY and VOCABULARY[name].support == "node"
            agree(found[name], value[order] if per_node else value, f"{name} of the permuted {graph.world}")


def mirror_images_have_one_energy(net: AtomFieldNet) -> None:
    left = chiral_molecule()
    right = mirrored(left)
    agree(outputs(net, right)["energy"], outputs(net, left)["energy"], "energy of the mirror image", 1e-13)


def embedding(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal(), flow(), cavity()):
        reference = net.embed(graphs_to_batch(net.config, [graph]))
        for kind, q in orthogonal_matrices().items():
            found = net.embed(graphs_to_batch(net.config, [transformed(graph, q)]))
            agree(found["invariant"], reference["invariant"], f"invariant features under {kind}")
            expected = torch.einsum("ab,gbc->gac", q, reference["vector"])
            agree(found["vector"], expected, f"vector features under {kind}")


# ---------------------------------------------------------------- size and separation
def distant_fragments_add_up(net: AtomFieldNet) -> None:
    a, b = chiral_molecule(), water()
    both = outputs(net, together(a, b, torch.tensor([60.0, 10.0, -30.0], dtype=torch.float64)))
    parts = [outputs(net, a), outputs(net, b)]
    for name in EXTENSIVE:
        agree(both[name], parts[0][name] + parts[1][name], name)
    for name in ("forces", "charges"):
        agree(both[name], torch.cat([p[name] for p in parts]), name)


def distant_neutral_fragment_changes_no_ion(net: AtomFieldNet) -> None:
    """The total charge of ion + neutral is the ion's; the neutral must not feel it, nor the ion be diluted."""
    neutral, offset = water(), torch.tensor([60.0, 10.0, -30.0], dtype=torch.float64)
    ion = replace(chiral_molecule(), conditions={"charge": 1.0, "spin": 1.0})
    both = outputs(net, together(ion, neutral, offset))
    parts = [outputs(net, ion), outputs(net, neutral)]
    agree(both["energy"], parts[0]["energy"] + parts[1]["energy"], "energy")


def supercells_are_multiples(net: AtomFieldNet) -> None:
    graph, repeats = crystal(), (2, 1, 3)
    one, many = outputs(net, graph), outputs(net, supercell(graph, repeats))
    for name in EXTENSIVE:
        agree(many[name], 6 * one[name], name)
    for name in ("forces", "charges"):
        agree(many[name], one[name].repeat(6, *[1] * (one[name].ndim - 1)), name)
    for name in ("stress", "gap"):
        agree(many[name], one[name], name)


def batches_do_not_mix(net: AtomFieldNet) -> None:
    graphs = [
        lone_atom(),
        chiral_molecule(),
        replace(water(), level="quantum-2", conditions={"charge": -1.0}),
    ]
    packed = outputs(net, *graphs)
    start = 0
    for row, graph in enumerate(graphs):
        alone, end = outputs(net, graph), start + graph.num_nodes
        is_alone = graph.num_nodes == 1  # its forces and dipole are zero, as another law says
        for name in ("energy", "gap", "volume_of_pores", *(() if is_alone else ("dipole",))):
            agree(packed[name][row], alone[name][0], f"{name} of graph {row} in a batch")
        for name in ("charges", *(() if is_alone else ("forces",))):
            agree(packed[name][start:end], alone[name], f"{name} of graph {row} in a batch")
        start = end


def gradients_stay_in_their_graph(net: AtomFieldNet) -> None:
    batch = graphs_to_batch(net.config, [chiral_molecule(), water()])
    batch.positions.requires_grad_(True)
    energy = net(batch, forces=False)["energy"]
    (gradient,) = torch.autograd.grad(energy[0], batch.positions)
    assert (gradient[5:] == 0).all()
    assert (gradient[:5] != 0).any()


# ---------------------------------------------------------------- derivatives
def _slope(energy: Callable[[float], Tensor], h: float) -> Tensor:
    """Fourth-order central difference."""
    return (8 * (energy(h) - energy(-h)) - (energy(2 * h) - energy(-2 * h))) / (12 * h)


def forces_are_the_gradient(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        forces = outputs(net, graph)["forces"]
        numerical = torch.zeros_like(forces)
        for node in range(graph.num_nodes):
            for axis in range(3):
                step = torch.zeros_like(graph.positions)
                step[node, axis] = 1.0

                def energy(h: float, graph: Graph = graph, step: Tensor = step) -> Tensor:
                    return outputs(net, replace(graph, positions=graph.positions + h * step))["energy"][0]

                numerical[node, axis] = -_slope(energy, 5e-4)
        agree(forces, numerical, f"forces of the {graph.world}", NUMERICAL)


def stress_is_the_strain_derivative(net: AtomFieldNet) -> None:
    graph = crystal()
    stress = outputs(net, graph)["stress"][0]
    volume = torch.linalg.det(graph.cell).abs()
    numerical = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        for j in range(3):
            strain = torch.zeros(3, 3, dtype=torch.float64)
            strain[i, j] += 0.5
            strain[j, i] += 0.5

            def energy(h: float, strain: Tensor = strain) -> Tensor:
                deform = torch.eye(3, dtype=torch.float64) + h * strain
                return outputs(
                    net, replace(graph, positions=graph.positions @ deform, cell=graph.cell @ deform)
                )["energy"][0]

            numerical[i, j] = _slope(energy, 2e-4) / volume
    agree(stress, numerical, "stress", NUMERICAL)
    agree(stress, stress.T, "symmetry of the stress")


def no_net_force_nor_torque(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        forces = outputs(net, graph)["forces"]
        size = forces.abs().max()
        assert size > 1e-6
        assert forces.sum(0).abs().max() < EXACT * size, "the forces do not add up to zero"
        if graph.world == "molecule":
            torque = torch.linalg.cross(graph.positions, forces).sum(0)
            assert torque.abs().max() < EXACT * size, "the torques do not add up to zero"


def directions_along_axes_are_no_exception(net: AtomFieldNet) -> None:
    """Frames of edges along x, y, z, either sign, are where a careless construction divides by zero."""
    bent = torch.tensor(
        [[0.0, 0.0, 0.0], [0.0, 0.0, 1.1], [0.0, 0.0, -1.3], [0.9, 0.0, 0.0]], dtype=torch.float64
    )
    species, (general, *_) = torch.tensor([8, 6, 1, 1]), orthogonal_matrices().values()
    reference = outputs(net, Graph(bent @ general.T, species, "molecule"))
    for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        for sign in (1.0, -1.0):
            q = sign * torch.eye(3, dtype=torch.float64)[list(axes)]
            found = outputs(net, Graph(bent @ q.T, species, "molecule"))
            for name in ("energy", "forces", "dipole"):
                expected = turned(reference[name], irreps_of(name), q @ general.T)
                agree(found[name], expected, f"{name} along {axes} with sign {sign:+.0f}")


def forces_can_be_trained_on(net: AtomFieldNet) -> None:
    """The gradient of a force loss with respect to weights equals its finite difference (second derivatives are right)."""
    batch = graphs_to_batch(net.config, [chiral_molecule()])
    weight = net.backbone.layers[1].convolution.same

    def loss(h: float) -> Tensor:
        with torch.no_grad():
            weight.add_(h * direction)
            out = net(batch)["forces"].square().sum()
            weight.sub_(h * direction)
        return out

    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weight.requires_grad_(True)
    try:
        (gradient,) = torch.autograd.grad(net(batch)["forces"].square().sum(), weight)
    finally:
        weight.requires_grad_(False)
    agree((gradient * direction).sum(), _slope(loss, 1e-3), "gradient of the force loss", NUMERICAL)


# ---------------------------------------------------------------- the cutoff
def nothing_jumps_at_the_cutoff(net: AtomFieldNet) -> None:
    """An atom crosses the cutoff of another: value and slope stay, and beyond it both are as if alone."""

    def pair(distance: float) -> dict[str, Tensor]:
        end = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * distance
        positions = torch.stack([torch.zeros(3).double(), end])
        # the level without dispersion: where a network has it, it ends elsewhere (tests/models/test_priors.py)
        return outputs(net, Graph(positions, torch.tensor([6, 17]), "molecule", level="quantum-2"))

    far, near = pair(CUTOFF + 1.0), pair(CUTOFF - 1.0)
    binding = (near["energy"] - far["energy"]).abs()
    assert binding > 1e-6, "the pair does not interact, so nothing is tested"
    inside, outside = pair(CUTOFF - 1e-4), pair(CUTOFF + 1e-4)
    # the envelope leaves its zero as the third power of the distance to the cutoff, here (1e-4 / 4)^3
    assert (inside["energy"] - outside["energy"]).abs() < 1e-9 * binding
    assert inside["forces"].abs().max() < 1e-5 * near["forces"].abs().max()
    assert (outside["forces"] == 0).all()
    assert (outside["energy"] == far["energy"]).all()


def a_lone_atom_is_finite(net: AtomFieldNet) -> None:
    for graphs in ([lone_atom()], [lone_atom(), water(), lone_atom()]):
        found = outputs(net, *graphs)
        assert all(torch.isfinite(v).all() for v in found.values())
        assert found["energy"][0] != 0
        assert (found["forces"][0] == 0).all()
        assert (found["dipole"][0] == 0).all()
