"""Messages through Fourier space: the laws of fields on grids, exact operators, and what they leave alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.models.checkpoint import cast
from atomfield.models.config import NetworkConfig
from atomfield.models.fourier import FourierConvolution, WaveGeometry
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.rotation import FrameRotation
from atomfield.models.sizes import NetworkSize
from tests.physics import field_laws
from tests.physics.subjects import LEVELS, cavity, flow, orthogonal_matrices, transformed


def _network(lmax: int = 2, dtype: torch.dtype = torch.float64, *, fourier: bool = True) -> AtomFieldNet:
    torch.manual_seed(0)
    config = NetworkConfig(
        channels=6, channels_unnatural=3, lmax=lmax, num_radial=4, radial_hidden=8, head_hidden=8, cutoff=4.0,
        levels=LEVELS, default_level_atoms="quantum", default_level_field="fluid", fourier=fourier,
    )  # fmt: skip
    net = cast(AtomFieldNet(config), dtype)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, dtype=dtype)
    return net.requires_grad_(False)


def _open_grid() -> Graph:
    """The same points as a grid whose second direction does not repeat."""
    graph = flow()
    from atomfield.data.neighbors import grid_edges

    return replace(
        graph, pbc=torch.tensor([True, False, False]), edges={"grid": grid_edges((4, 5), (True, False))}
    )


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_laws(lmax: int):
    net = _network(lmax)
    field_laws.field_rotations_and_reflections(net)
    field_laws.two_dimensions_stay_in_their_plane(net)
    field_laws.field_translation(net)


def test_single_precision():
    field_laws.field_rotations_and_reflections(_network(dtype=torch.float32))


def test_open_directions_keep_the_symmetry():
    net, graph = _network(), _open_grid()
    map_ = orthogonal_matrices()[60]
    out, other = (net(graphs_to_batch(net.config, [g])) for g in (graph, transformed(graph, map_)))
    assert torch.allclose(out["velocity"] @ map_.T, other["velocity"], atol=1e-11)
    assert torch.allclose(out["pressure"], other["pressure"], atol=1e-11)


def test_it_acts_and_each_graph_of_a_batch_is_its_own():
    net = _network()
    without = _network(fourier=False)
    without.load_state_dict(
        {k: v for k, v in net.state_dict().items() if "fourier" not in k and "waves" not in k}
    )
    graphs = [flow(), _open_grid(), cavity(), replace(flow(), spacing=0.25)]
    together = net(graphs_to_batch(net.config, graphs))["velocity"].split([g.num_nodes for g in graphs])
    for k, (graph, found) in enumerate(zip(graphs, together, strict=True)):
        alone = net(graphs_to_batch(net.config, [graph]))["velocity"]
        assert torch.allclose(found, alone, atol=1e-12)
        local = without(graphs_to_batch(net.config, [graph]))["velocity"]
        # points without a grid are left to the edges
        assert torch.equal(alone, local) if k == 2 else (alone - local).abs().max() > 1e-3


def test_a_grid_that_is_not_regular_is_left_alone():
    net = _network()
    bent = flow().positions.clone()
    bent[3] += torch.tensor([0.01, 0.0, 0.0])
    graph = replace(flow(), positions=bent)
    without = replace(graph, grid_shape=None)
    out = [net(graphs_to_batch(net.config, [g]))["velocity"] for g in (graph, without)]
    assert torch.equal(out[0], out[1])


def test_leray_projection_is_in_reach():
    """Some weights project a velocity onto its divergence-free part: ik ik^T / k^2 is a map from l = 1 to l = 1 that is 1 along k
    (m = 0) and nothing across (m = 1)."""
    config = NetworkConfig(
        channels=4, channels_unnatural=0, lmax=1, radial_hidden=4, levels=LEVELS, default_level_field="fluid", fourier=True
    )  # fmt: skip
    net = FourierConvolution(config).double()
    with torch.no_grad():
        net.convolution.basis.weight.zero_()
        net.condition.weight.zero_()
        net.convolution.basis.bias.fill_(1.0)
        hidden = torch.nn.functional.silu(torch.ones(4, dtype=torch.float64)).sum()
        net.convolution.same.zero_()
        net.convolution.same[:, 3] = 1 / hidden  # m = 0: (0,0), (0,1), (1,0), (1,1)
    graph = flow()
    n = (4, 6)
    index = torch.stack(torch.meshgrid(torch.arange(4), torch.arange(6), indexing="ij"), -1).reshape(-1, 2)
    positions = torch.cat([index / torch.tensor(n), torch.zeros(24, 1)], 1).double()
    batch = graphs_to_batch(
        config,
        [
            Graph(
                positions,
                torch.zeros(24),
                "field",
                cell=torch.eye(3),
                pbc=graph.pbc,
                grid_shape=n,
                spacing=0.2,
            )
        ],
    )
    waves = WaveGeometry(config, FrameRotation(1).double())(batch, torch.float64)
    velocity = torch.randn(24, 2, dtype=torch.float64)
    x = torch.zeros(24, 4, 4, dtype=torch.float64)
    x[:, 1:3, 0] = velocity  # e3nn's order is that of Cartesian components
    along = net(x, waves, torch.zeros(24, 4, dtype=torch.float64))[:, 1:3, 0]
    from atomfield.physics_priors.spectral import PeriodicGrid

    grid = PeriodicGrid(n, (1.0, 1.0))
    field = velocity.T.reshape(2, *n)
    # without the Nyquist modes and the mean, which the layer leaves out
    kept = torch.stack([grid.inverse(grid.forward(v) * _kept(grid, n)) for v in field])
    expected = kept - grid.project(kept)
    assert torch.allclose(along.T.reshape(2, *n), expected, atol=1e-12)


def _kept(grid, shape: tuple[int, int]) -> torch.Tensor:
    rows = torch.fft.fftfreq(shape[0], 1 / shape[0])[:, None]
    columns = torch.fft.rfftfreq(shape[1], 1 / shape[1])[None]
    nyquist = (2 * rows.abs() == shape[0]) | (2 * columns.abs() == shape[1])
    return (~nyquist & ((rows != 0) | (columns != 0))).double()


def test_on_for_grids_unless_said_otherwise():
    assert NetworkSize().for_data(grids=True).hyperparameters()["fourier"] is True
    assert NetworkSize().for_data(grids=False).hyperparameters()["fourier"] is False
    assert NetworkSize(fourier=False).for_data(grids=True).hyperparameters()["fourier"] is False
    control = NetworkSize.model_validate({"size": "s", "symmetry": "none"})
    assert control.for_data(grids=True).hyperparameters()["fourier"] is False
