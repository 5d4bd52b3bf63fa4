"""Laws of what only pretraining asks for: forces as an input, direct forces, hidden atoms and hidden patches."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.graph import Graph, GraphBatch
from atomfield.models.auxiliary import HIDDEN
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import agree, exact, irreps_of
from .subjects import (
    all_turned,
    chiral_molecule,
    crystal,
    flow,
    orthogonal_matrices,
    permuted,
    readable,
    transformed,
)


def with_given_forces(graph: Graph) -> Graph:
    """Forces on all atoms but the last, which is not disturbed."""
    draw = torch.randn(graph.num_nodes, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    draw[-1] = float("nan")
    return graph.changed(quantities={"given_forces": draw})


def hidden(batch: GraphBatch, nodes: list[int]) -> GraphBatch:
    """``batch`` with these nodes of every graph hidden."""
    mask = torch.zeros(batch.num_graphs, batch.num_nodes // batch.num_graphs, dtype=torch.float64)
    mask[:, nodes] = 1.0
    mask = mask.flatten()
    if batch.world != "field":
        return replace(
            batch,
            species=torch.where(mask > 0, 0, batch.species),
            quantities={**batch.quantities, HIDDEN: mask},
        )
    states = {
        n: torch.where((mask > 0).reshape(-1, *(1,) * (v.ndim - 1)), float("nan"), v)
        for n, v in batch.quantities.items()
        if n in ("velocity", "vorticity", "pressure")
    }
    return replace(batch, quantities={**batch.quantities, **states, HIDDEN: mask})


def seen_after(graph: Graph, q: Tensor) -> Graph:
    """``transformed``, for forces some of which are not given."""
    turned = transformed(replace(graph, quantities={}), q)
    return turned.changed(quantities={n: v @ q.T for n, v in graph.quantities.items()})


@torch.no_grad()
def noise(net: AtomFieldNet, *graphs: Graph) -> dict[str, Tensor]:
    found = net(graphs_to_batch(net.config, list(graphs)), forces=False, denoise=True, properties=False)
    # sums of energies that nearly cancel are no measure in single precision
    names = ("displacement_noise", "energy") if net.dtype == torch.float64 else ("displacement_noise",)
    return {name: found[name].double() for name in names}


@torch.no_grad()
def uncovered(net: AtomFieldNet, nodes: list[int], *graphs: Graph) -> dict[str, Tensor]:
    """What the network says of the hidden ``nodes`` of each graph."""
    batch = hidden(graphs_to_batch(net.config, list(graphs)), nodes)
    return {name: value.double() for name, value in net(batch, hidden=True).items()}


def noise_turns_with_the_given_forces(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    for graph in (with_given_forces(chiral_molecule()), with_given_forces(crystal())):
        reference, found = noise(net, graph), noise(net, *(seen_after(graph, q) for q in maps))
        for name, value in reference.items():
            agree(
                found[name],
                all_turned(value, irreps_of(net, name), maps),
                f"{name} after 103 maps",
                exact(net),
            )
        without = noise(net, replace(graph, quantities={}))
        for name, value in reference.items():
            assert (without[name] - value).abs().max() > 1e-3 * value.abs().max(), (
                f"{name}: given forces are read"
            )


def direct_forces_turn(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    for graph in (chiral_molecule(), crystal()):
        with torch.no_grad():
            reference = net(graphs_to_batch(net.config, [graph]), direct=True)["forces"]
            turned = [transformed(graph, q) for q in maps]
            found = net(graphs_to_batch(net.config, turned), direct=True)["forces"]
        agree(
            found, all_turned(reference, "1o", maps.to(reference)), "direct forces after 103 maps", exact(net)
        )


def hidden_elements_are_invariant(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    for graph in (chiral_molecule(), crystal()):
        reference = uncovered(net, [1, 3], graph)["elements"]
        found = uncovered(net, [1, 3], *(transformed(graph, q) for q in maps))["elements"]
        agree(found, reference.repeat(len(maps), 1), "elements after 103 maps", exact(net))
        moved = uncovered(net, [1, 3], replace(graph, positions=graph.positions + 2.7))["elements"]
        agree(moved, reference, "elements after a translation", exact(net))


def hidden_elements_follow_a_permutation(net: AtomFieldNet) -> None:
    graph, order = chiral_molecule(), torch.tensor([3, 0, 4, 2, 1])
    reference = uncovered(net, [1, 3], graph)["elements"]
    found = uncovered(net, [0, 4], permuted(graph, order))["elements"]
    agree(found, reference[order], "elements of permuted atoms", exact(net))


def hidden_states_turn(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    graph = readable(net, flow())
    reference = uncovered(net, [4, 5, 9], graph)
    assert len(reference) == (3 if net.config.channels_unnatural else 2)
    found = uncovered(net, [4, 5, 9], *(transformed(graph, q) for q in maps))
    for name, value in reference.items():
        agree(found[name], all_turned(value, irreps_of(net, name), maps), f"hidden {name}", exact(net))


def hidden_states_stay_in_their_plane(net: AtomFieldNet) -> None:
    found = uncovered(net, [4, 5, 9], readable(net, flow()))
    for name, forbidden in (("velocity", [2]), ("vorticity", [0, 1])):
        if name in found:
            assert found[name].abs().max() > 1e-6
            assert (found[name][:, forbidden] == 0).all(), f"{name} leaves its plane"
