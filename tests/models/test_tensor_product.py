"""The SO(2) convolution is the full tensor product with spherical harmonics up to twice the highest degree, in other weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from atomfield.models.config import NetworkConfig
from atomfield.models.convolution import EdgeConvolution, EdgeGeometry
from atomfield.models.fused import EdgeList
from atomfield.models.rotation import FrameRotation

from .tensor_product import FullTensorProduct, blocks

CHANNELS, UNNATURAL = 6, 3
"""Those of the networks in ``tests/physics``, whose kernels are compiled anyway."""
HIDDEN, NUM_EDGES = 4, 7


@pytest.fixture(params=[1, 2, 3], ids=["lmax1", "lmax2", "lmax3"], scope="module")
def full(request: pytest.FixtureRequest) -> FullTensorProduct:
    return FullTensorProduct(convolution(request.param))


def convolution(lmax: int) -> EdgeConvolution:
    torch.manual_seed(lmax)
    config = NetworkConfig(
        channels=CHANNELS, channels_unnatural=UNNATURAL, lmax=lmax, num_radial=5, radial_hidden=HIDDEN
    )
    return EdgeConvolution(config).double()


def edges(lmax: int) -> tuple[Tensor, EdgeGeometry]:
    """Features of senders and edges, each with a receiver of its own (whose features are zero), so that nothing is summed."""
    random = torch.Generator().manual_seed(7)
    x = torch.randn(NUM_EDGES, (lmax + 1) ** 2, CHANNELS + UNNATURAL, generator=random, dtype=torch.float64)
    direction = torch.randn(NUM_EDGES, 3, generator=random, dtype=torch.float64)
    direction[0], direction[1] = torch.tensor([0.0, -1, 0]), torch.tensor([0.0, 1, 0])
    number = torch.arange(NUM_EDGES)
    return torch.cat([x, torch.zeros_like(x)]), EdgeGeometry(
        edges=EdgeList(number, number + NUM_EDGES, 2 * NUM_EDGES),
        basis_EB=torch.randn(NUM_EDGES, 5, generator=random, dtype=torch.float64),
        envelope_E=torch.rand(NUM_EDGES, generator=random, dtype=torch.float64) + 0.5,
        direction_E3=F.normalize(direction, dim=1),
        rotation=FrameRotation(lmax),
    )


def hidden(layer: EdgeConvolution, x: Tensor, geometry: EdgeGeometry) -> Tensor:
    """``[E, H]``: what the radial weights are linear in."""
    scalars = x[:, 0, : layer.channels]
    inside = layer.basis(geometry.basis_EB)
    inside = (
        inside
        + layer.sender(scalars)[geometry.edges.sender_E]
        + layer.receiver(scalars)[geometry.edges.receiver_E]
    )
    return F.silu(inside) * (geometry.envelope_E * layer.norm)[:, None]


def close(found: Tensor, expected: Tensor) -> bool:
    return float((found - expected).abs().max()) < 1e-12 * float(expected.abs().max())


@pytest.mark.parametrize("lmax", [1, 2, 3])
def test_the_map_between_weights_is_square_and_its_inverse_is_the_formula(lmax):
    for block in blocks(lmax):
        assert len(block.rows) == len(block.degrees)
        assert torch.allclose(block.table @ block.inverse, torch.eye(len(block.rows)).double(), atol=1e-13)


def test_every_allowed_path_is_there(full):
    paired = [
        path for path in full.paths if path[2] < 2
    ]  # the third group is natural alone and has the same paths again
    assert len(paired) == full.num_allowed_paths()


@pytest.mark.parametrize("fused", [False, True], ids=["eager", "kernels"])
def test_weights_of_the_convolution_as_paths(full, fused):
    layer = convolution(full.lmax)
    layer.fused = fused
    x, geometry = edges(full.lmax)
    with torch.no_grad():
        weights = hidden(layer, x, geometry) @ full.from_edges(layer.same, layer.cross)
        expected = full(x[:NUM_EDGES], geometry.direction_E3, weights)
        found = layer(x, geometry, scalars_only=False)[NUM_EDGES:]
    assert close(found, expected)


@pytest.mark.parametrize("fused", [False, True], ids=["eager", "kernels"])
def test_paths_as_weights_of_the_convolution(full, fused):
    layer = convolution(full.lmax)
    layer.fused = fused
    x, geometry = edges(full.lmax)
    with torch.no_grad():
        paths = torch.randn(HIDDEN, full.product.weight_numel, dtype=torch.float64)
        same, cross = full.to_edges(paths, layer)
        layer.same.copy_(same)
        layer.cross.copy_(cross)
        expected = full(x[:NUM_EDGES], geometry.direction_E3, hidden(layer, x, geometry) @ paths)
        found = layer(x, geometry, scalars_only=False)[NUM_EDGES:]
    assert close(found, expected)
    assert close(full.from_edges(same, cross), paths)


def test_the_first_layer_is_the_product_of_scalars_alone(full):
    layer = convolution(full.lmax)
    x, geometry = edges(full.lmax)
    x[:, 1:] = 0
    x[:, :, layer.channels :] = 0
    with torch.no_grad():
        weights = hidden(layer, x, geometry) @ full.from_edges(layer.same, layer.cross)
        expected = full(x[:NUM_EDGES], geometry.direction_E3, weights)
        found = layer(x, geometry, scalars_only=True)[NUM_EDGES:]
    assert close(found, expected)
