"""Laws of fields, one function each: ``law(net)`` raises ``AssertionError`` where the network breaks it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import agree, exact, irreps_of
from .subjects import all_turned, cavity, flow, orthogonal_matrices, permuted, readable, transformed


def next_state(net: AtomFieldNet, *graphs: Graph) -> dict[str, Tensor]:
    with torch.no_grad():
        return net(graphs_to_batch(net.config, list(graphs)))


def increments(net: AtomFieldNet, *graphs: Graph) -> dict[str, Tensor]:
    """Next state less the present one: the part that the network makes."""
    found = next_state(net, *graphs)
    return {name: value - torch.cat([g.quantities[name] for g in graphs]) for name, value in found.items()}


def field_rotations_and_reflections(net: AtomFieldNet) -> None:
    maps = orthogonal_matrices()
    for graph in (readable(net, flow()), readable(net, cavity())):
        reference = increments(net, graph)
        assert len(reference) == (3 if net.config.channels_unnatural else 2)
        found = increments(net, *(transformed(graph, q) for q in maps))
        for name, value in reference.items():
            agree(
                found[name],
                all_turned(value, irreps_of(net, name), maps),
                f"{name} after 103 maps",
                exact(net),
            )


def two_dimensions_stay_in_their_plane(net: AtomFieldNet) -> None:
    """With mirror-symmetric inputs the normal part of polar and the in-plane part of axial quantities vanish."""
    found = increments(net, readable(net, flow()))
    for name, forbidden in (("velocity", [2]), ("vorticity", [0, 1])):
        if name in found:
            out = found[name][:, forbidden].abs().max()
            assert found[name].abs().max() > 1e-6
            assert out == 0, f"{name} leaves its plane by {out:.1e}"


def field_translation(net: AtomFieldNet) -> None:
    offset = torch.tensor([3.1, -0.7, 2.2], dtype=torch.float64)
    for graph in (readable(net, flow()), readable(net, cavity())):
        reference, found = (
            increments(net, graph),
            increments(net, replace(graph, positions=graph.positions + offset)),
        )
        for name, value in reference.items():
            agree(found[name], value, f"translated {name}", exact(net))


def field_shift_along_the_grid(net: AtomFieldNet) -> None:
    """A periodic state moved by whole grid spacings moves its next state along."""
    graph = readable(net, flow())

    def rolled(value: Tensor) -> Tensor:
        return value.reshape(4, 5, -1).roll((1, 2), dims=(0, 1)).reshape(value.shape)

    reference = increments(net, graph)
    found = increments(net, replace(graph, quantities={n: rolled(v) for n, v in graph.quantities.items()}))
    for name, value in reference.items():
        agree(found[name], rolled(value), f"shifted {name}", exact(net))


def field_permutation(net: AtomFieldNet) -> None:
    for graph in (readable(net, flow()), readable(net, cavity())):
        order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(1))
        reference, found = increments(net, graph), increments(net, permuted(graph, order))
        for name, value in reference.items():
            agree(found[name], value[order], f"permuted {name}", exact(net))


def field_batches_do_not_mix(net: AtomFieldNet) -> None:
    """Graphs with different quantities, levels and conditions side by side."""
    a, b = readable(net, flow()), readable(net, cavity())
    packed = next_state(net, a, b)
    for graph, part in ((a, slice(0, 20)), (b, slice(20, 44))):
        for name, value in next_state(net, graph).items():
            agree(packed[name][part], value, f"{name} in a batch", exact(net))
