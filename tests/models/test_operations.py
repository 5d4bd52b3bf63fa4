"""Operations of a pass: counts by hand, and torch's own counter where eager mode makes the same products."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from atomfield.data.graph import collate
from atomfield.data.neighbors import with_edges
from atomfield.models.config import NetworkConfig
from atomfield.models.fused.programs import Shape
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.operations import (
    Operations,
    dense_operations,
    edge_operations,
    power_shape,
    product_operations,
)
from tests.models.gpu_cases import plain
from tests.small import morse_clusters, waves

TINY = {
    "channels": 4,
    "channels_unnatural": 2,
    "lmax": 1,
    "correlation": 2,
    "radial_hidden": 5,
    "head_hidden": 4,
}


def test_an_edge_by_hand():
    # 5 hidden units, 8 bases; m = 0 has 2 x 2 weights, m = 1 one, for 6 channels, and one more for 2 x 2 channels across
    weights = (4 + 1) * 6 + 1 * 4
    radial = 5 * (8 + weights)
    rotations = 2 * (1 + 9) * 6
    maps = 6 * (4 + 2 * 1) + 2 * 4  # -m and +m alike; across classes as well
    assert edge_operations(Shape(1, 4, 2, False, 8, 5)) == 2 * (radial + rotations + maps)
    # scalars: 2 weights for each of 4 channels; 4 components of a harmonic times a number, which is made first
    assert edge_operations(Shape(1, 4, 2, True, 8, 5)) == 2 * (5 * (8 + 8) + 4 * 4 + 4 * 2)


def test_a_node_by_hand():
    config = NetworkConfig(**TINY)
    mixing = 5 * 4 * (16 + 4)  # before, neighbors, itself and two mixes; four components
    update = 4 * 8 + 4 * 8 + 8 * 4 + 8 * (6 + 2)  # up, condition, down, gates
    assert dense_operations(config) == 2 * (mixing + update + 4 * 6 + 2 * 4 * 5)
    # one class: 0x0 to 0 has 1 entry, 0x1, 1x0 and 1x1 to 0 have 3 each (1x1 to 1 has the other parity)
    alone = NetworkConfig(**{**TINY, "channels_unnatural": 0})
    assert product_operations(power_shape(alone)) == 3 * 4 * (1 + 3 * 3)


def test_dense_products_are_those_that_torch_counts():
    """Without unnatural channels eager mode pads nothing; what is done once per graph comes on top."""
    config = NetworkConfig(
        **{**TINY, "channels": 8, "channels_unnatural": 0, "correlation": 1},
        levels=("morse",),
        default_level_atoms="morse",
    )
    net = plain(AtomFieldNet(config))
    batch = graphs_to_batch(config, morse_clusters(8))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(batch, forces=False)
    counts = counter.get_flop_counts()
    of = lambda *ends: sum(sum(v.values()) for k, v in counts.items() if k.endswith(ends))  # noqa: E731
    found = counter.get_total_flops() - of(".conditions") - of(".convolution")
    edges = sum(sum(v.values()) for k, v in counts.items() if k.endswith((".sender",)))
    receivers = edges  # a product of the same size that is no module
    shifts = 2 * 9 * batch.num_edges  # of cells, into edge vectors
    one = Operations.of(config)
    expected = batch.num_nodes * (config.layers * dense_operations(config) + one.head)
    assert found + edges + receivers - shifts == expected


def test_a_training_step_takes_about_six_passes():
    """Of matrix products in eager mode. Less where inputs do not depend on positions, more where both factors do."""
    config = NetworkConfig(
        **{**TINY, "channels": 8, "channels_unnatural": 0, "layers": 4},
        levels=("morse",),
        auxiliary=("direct",),
    )
    net = plain(AtomFieldNet(config.model_copy(update={"default_level_atoms": "morse"})))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    batch = graphs_to_batch(config, morse_clusters(8))

    def counted(**options) -> int:
        with FlopCounterMode(display=False) as counter:
            out = net(batch, **options)
            if options.get("forces", True):
                (out["energy"].square().sum() + out["forces"].square().sum()).backward()
        return counter.get_total_flops()

    with torch.no_grad():
        one = counted(forces=False)
    assert 5 < counted() / one < 7
    assert 2.5 < counted(direct=True) / one <= 3


def test_fields_count_waves_and_atoms_their_first_layer():
    config = NetworkConfig(**TINY, fourier=True, layers=3)
    one = Operations.of(config)
    flow = collate([with_edges(g, 5.0).snapshot(0) for g in waves(2)])
    points, edges = flow.num_nodes, flow.num_edges
    wave = 64 * (one.wave + 5 * 6 * 24)  # 8 x 8 periodic points, log2 64 = 6, 4 components of 6 channels
    assert one.forward(flow) == 3 * (points * one.node + edges * one.edge + 2 * wave)
    atoms = graphs_to_batch(config, morse_clusters(2))
    own = atoms.num_nodes * (3 * one.node + one.head)
    assert one.forward(atoms) == own + atoms.num_edges * (one.first_edge + 2 * one.edge)
    assert one.first_edge < one.edge < one.wave
