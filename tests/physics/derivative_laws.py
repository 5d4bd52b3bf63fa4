"""Derivatives of the energy of atoms, one function each: ``law(net)`` raises ``AssertionError`` where the network breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import NUMERICAL, agree, exact, outputs
from .subjects import CUTOFF, chiral_molecule, crystal

STEPS = (1.0, -1.0, 2.0, -2.0)


def _difference(values: Tensor, h: float) -> Tensor:
    """Fourth-order central difference from ``values [4, ...]`` at ``h * STEPS``."""
    return (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h)


def _slope(value: Callable[[float], Tensor], h: float) -> Tensor:
    return _difference(torch.stack([value(step * h) for step in STEPS]), h)


def _displaced(graph: Graph, h: float) -> list[Graph]:
    """Every coordinate moved by each of ``h * STEPS``: those of a coordinate follow one another."""
    moves = torch.eye(3 * graph.num_nodes, dtype=torch.float64).view(-1, graph.num_nodes, 3)
    return [replace(graph, positions=graph.positions + step * h * move) for move in moves for step in STEPS]


def _strains() -> Tensor:
    """The six symmetric unit strains, ``[6, 3, 3]``."""
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    strains = torch.zeros(6, 3, 3, dtype=torch.float64)
    for k, (i, j) in enumerate(pairs):
        strains[k, i, j] += 0.5
        strains[k, j, i] += 0.5
    return strains


def forces_are_the_gradient(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        energies = outputs(net, *_displaced(graph, 5e-4))["energy"].view(graph.num_nodes, 3, 4)
        numerical = -_difference(energies.movedim(-1, 0), 5e-4)
        agree(outputs(net, graph)["forces"], numerical, f"forces of the {graph.world}", NUMERICAL)


def hessian_is_the_gradient_of_forces(net: AtomFieldNet) -> None:
    """Differentiated twice by autograd, which is what training on forces and phonons rest on."""
    for graph in (chiral_molecule(), crystal()):
        batch = graphs_to_batch(net.config, [graph])
        batch.positions.requires_grad_(True)
        energy = net(batch, forces=False)["energy"].sum()
        (gradient,) = torch.autograd.grad(energy, batch.positions, create_graph=True)
        rows = [
            torch.autograd.grad(g, batch.positions, retain_graph=True)[0].flatten()
            for g in gradient.flatten()
        ]
        hessian = torch.stack(rows)
        size = 3 * graph.num_nodes
        # a short step: the third derivative of the switch that ends dispersion jumps, and few pairs are that close to its ends
        forces = outputs(net, *_displaced(graph, 5e-5))["forces"].view(size, 4, size)
        agree(hessian, -_difference(forces.movedim(1, 0), 5e-5), f"Hessian of the {graph.world}", NUMERICAL)
        agree(hessian, hessian.T, f"symmetry of the Hessian of the {graph.world}", exact(net))


def _energy_of_strain(net: AtomFieldNet, graph: Graph, amount: Tensor) -> Tensor:
    """``amount [6]`` of each unit strain; differentiable."""
    batch = graphs_to_batch(net.config, [graph])
    deform = torch.eye(3, dtype=torch.float64) + (amount[:, None, None] * _strains()).sum(0)
    batch = replace(batch, positions=batch.positions @ deform, cell=batch.cell @ deform)
    return net(batch, forces=False)["energy"][0]


def stress_is_the_strain_derivative(net: AtomFieldNet) -> None:
    graph = crystal()
    stress = outputs(net, graph)["stress"][0]
    volume = torch.linalg.det(graph.cell).abs()
    deforms = [torch.eye(3, dtype=torch.float64) + 2e-4 * step * s for s in _strains() for step in STEPS]
    strained = [replace(graph, positions=graph.positions @ d, cell=graph.cell @ d) for d in deforms]
    numerical = _difference(outputs(net, *strained)["energy"].view(6, 4).T, 2e-4) / volume
    agree((stress * _strains()).sum((1, 2)), numerical, "stress", NUMERICAL)
    agree(stress, stress.T, "symmetry of the stress", exact(net))


def elastic_constants_are_the_gradient_of_the_stress(net: AtomFieldNet) -> None:
    graph = crystal()

    def gradient(amount: Tensor, *, again: bool) -> Tensor:
        return torch.autograd.grad(_energy_of_strain(net, graph, amount), amount, create_graph=again)[0]

    start = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    first = gradient(start, again=True)
    second = torch.stack([torch.autograd.grad(g, start, retain_graph=True)[0] for g in first])

    def row(k: int, h: float) -> Tensor:
        amount = torch.zeros(6, dtype=torch.float64)
        amount[k] = h
        return gradient(amount.requires_grad_(True), again=False)

    # short for the same reason as above
    numerical = torch.stack([_slope(lambda h, k=k: row(k, h), 2e-5) for k in range(6)])
    agree(second, numerical, "elastic constants", NUMERICAL)


def no_net_force_nor_torque(net: AtomFieldNet) -> None:
    for graph in (chiral_molecule(), crystal()):
        forces = outputs(net, graph)["forces"]
        size = forces.abs().max()
        assert size > 1e-6
        assert forces.sum(0).abs().max() < exact(net) * size, "the forces do not add up to zero"
        if graph.world == "molecule":
            torque = torch.linalg.cross(graph.positions, forces).sum(0)
            assert torque.abs().max() < exact(net) * size, "the torques do not add up to zero"


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
