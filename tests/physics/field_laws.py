"""Laws of fields, one function each: ``law(net)`` raises ``AssertionError`` where the network breaks it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import agree, irreps_of
from .subjects import cavity, flow, orthogonal_matrices, permuted, transformed, turned


def next_state(net: AtomFieldNet, *graphs: Graph) -> dict[str, Tensor]:
    with torch.no_grad():
        return net(graphs_to_batch(net.config, list(graphs)))


def _increments(net: AtomFieldNet, graph: Graph) -> dict[str, Tensor]:
    """Next state less the present one: the part that the network makes."""
    return {name: value - graph.quantities[name] for name, value in next_state(net, graph).items()}


def field_rotations_and_reflections(net: AtomFieldNet) -> None:
    for graph in (flow(), cavity()):
        reference = _increments(net, graph)
        assert len(reference) == 3
        for kind, q in orthogonal_matrices().items():
            found = _increments(net, transformed(graph, q))
            for name, value in reference.items():
                agree(found[name], turned(value, irreps_of(name), q), f"{name} under {kind}")


def two_dimensions_stay_in_their_plane(net: AtomFieldNet) -> None:
    """With mirror-symmetric inputs the normal part of polar and the in-plane part of axial quantities vanish."""
    found = _increments(net, flow())
    for name, forbidden in (("velocity", [2]), ("vorticity", [0, 1])):
        kept = [axis for axis in range(3) if axis not in forbidden]
        size = found[name][:, kept].abs().max()
        assert size > 1e-6
        assert found[name][:, forbidden].abs().max() < 1e-13 * size, f"{name} leaves its plane"


def field_translation(net: AtomFieldNet) -> None:
    offset = torch.tensor([3.1, -0.7, 2.2], dtype=torch.float64)
    for graph in (flow(), cavity()):
        reference, found = (
            _increments(net, graph),
            _increments(net, replace(graph, positions=graph.positions + offset)),
        )
        for name, value in reference.items():
            agree(found[name], value, f"translated {name}")


def field_shift_along_the_grid(net: AtomFieldNet) -> None:
    """A periodic state moved by whole grid spacings moves its next state along."""
    graph = flow()

    def rolled(value: Tensor) -> Tensor:
        return value.reshape(4, 5, -1).roll((1, 2), dims=(0, 1)).reshape(value.shape)

    reference = _increments(net, graph)
    found = _increments(net, replace(graph, quantities={n: rolled(v) for n, v in graph.quantities.items()}))
    for name, value in reference.items():
        agree(found[name], rolled(value), f"shifted {name}")


def field_permutation(net: AtomFieldNet) -> None:
    for graph in (flow(), cavity()):
        order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(1))
        reference, found = _increments(net, graph), _increments(net, permuted(graph, order))
        for name, value in reference.items():
            agree(found[name], value[order], f"permuted {name}")


def field_batches_do_not_mix(net: AtomFieldNet) -> None:
    """Graphs with different quantities, levels and conditions side by side."""
    a, b = flow(), cavity()
    packed = next_state(net, a, b)
    for graph, part in ((a, slice(0, 20)), (b, slice(20, 44))):
        for name, value in next_state(net, graph).items():
            agree(packed[name][part], value, f"{name} in a batch")
