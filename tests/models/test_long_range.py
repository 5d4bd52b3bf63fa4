"""The switch: off it leaves no weight behind, on it starts as the local network; fields do not depend on their mesh."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.models import checkpoint, long_range
from atomfield.models.config import NetworkConfig
from atomfield.models.long_range import LongRange, Space
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.sizes import NetworkSize
from tests.small import morse_clusters, small_network

SIZE = {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8}


def test_off_by_default_and_without_weights():
    net = small_network()
    assert NetworkConfig().long_range == "none" and not NetworkConfig().electrostatics
    assert not [name for name in net.state_dict() if "long_range" in name or "softness" in name]


def test_a_checkpoint_from_before_the_switch_loads(tmp_path):
    """``config.json`` then had none of the switches."""
    net = small_network().eval()
    folder = checkpoint.save(net, tmp_path / "model")
    text = (folder / "config.json").read_text()
    kept = [
        line for line in text.splitlines() if not line.strip().startswith(('"long_range', '"electrostatics'))
    ]
    assert len(kept) == len(text.splitlines()) - 8
    (folder / "config.json").write_text("\n".join(kept))
    batch = graphs_to_batch(net.config, morse_clusters(2))
    assert (checkpoint.load(folder)(batch)["energy"] == net(batch)["energy"]).all()


def test_a_checkpoint_with_the_switch_loads(tmp_path):
    torch.manual_seed(0)
    config = small_network().config.model_copy(update={"long_range": "filter", "electrostatics": True})
    net = AtomFieldNet(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    batch = graphs_to_batch(config, morse_clusters(2))
    loaded = checkpoint.load(checkpoint.save(net, tmp_path / "model"))
    assert (loaded(batch)["energy"] == net(batch)["energy"]).all()


def test_the_size_of_a_run_passes_the_switch_on():
    shared = set(NetworkSize.model_fields)
    assert {name for name in NetworkConfig.model_fields if name.startswith("long_range")} <= shared
    assert "electrostatics" in shared
    # contains is a mapping there, pairs here; whether there are Fourier space and coarse levels the data decide
    for name in shared - {"size", "contains", "fourier", "long_range"}:
        assert NetworkSize.model_fields[name].default == NetworkConfig.model_fields[name].default, name
    open_size = NetworkSize()
    assert open_size.hyperparameters()["long_range"] == "none" == open_size.for_data(grids=True).long_range
    assert open_size.for_data(grids=False, steady=True).long_range == "coarse"
    chosen = NetworkSize(long_range="filter")
    assert chosen.for_data(grids=False, steady=True).long_range == "filter"


def test_where_charges_come_from_without_charges_is_refused():
    assert NetworkSize(electrostatics=True, electrostatics_charges="atoms").electrostatics_charges == "atoms"
    with pytest.raises(ValueError, match="electrostatics_charges without electrostatics"):
        NetworkSize(electrostatics_charges="atoms")


def test_it_starts_as_the_local_network():
    torch.manual_seed(0)
    config = NetworkConfig(**SIZE, levels=("a",), default_level_atoms="a", long_range="filter")
    net = AtomFieldNet(config)
    batch = graphs_to_batch(config, [replace(g, level="a") for g in morse_clusters(1)])
    x = torch.randn(batch.num_nodes, 4, 12)
    module = net.backbone.long_range
    assert torch.equal(module(x, batch, Space(batch.positions, batch.cell)), x)
    module(x, batch, Space(batch.positions, batch.cell)).square().sum().backward()
    assert module.potential.grad is not None and module.potential.grad.abs().max() > 0
    assert module.field.grad.abs().max() > 0


def test_widths_stay_within_their_bounds():
    module = LongRange(NetworkConfig(levels=("a",)))
    with torch.no_grad():
        module.width_logit.copy_(torch.tensor([-1e3, -1.0, 1.0, 1e3]))
        width = module.kernel().width_S
    assert width.dtype == torch.float64
    assert float(width[0]) == 1.5 and float(width[-1]) == 12.0
    with pytest.raises(ValueError, match="long_range_largest is 1.0"):
        NetworkConfig(long_range_largest=1.0)


def test_too_large_for_the_sums_goes_to_the_mesh(monkeypatch):
    pytest.importorskip("torchpme")
    called = []
    real = long_range.sum_over_mesh

    def spy(*args, **kwargs):
        called.append(args)
        return real(*args, **kwargs)

    monkeypatch.setattr(long_range, "sum_over_mesh", spy)
    torch.manual_seed(0)
    config = NetworkConfig(**SIZE, levels=("a",), long_range="filter", long_range_largest=3.0)
    module = LongRange(config).double()
    batch = graphs_to_batch(config, [replace(g, level="a") for g in morse_clusters(1)])
    x = torch.randn(batch.num_nodes, 4, 12).double()
    torch.nn.init.ones_(module.potential)
    exact = module(x, batch, Space(batch.positions, batch.cell))
    assert not called
    monkeypatch.setattr(long_range, "DIRECT_PAIRS", 5 * 5 - 1)
    meshed = module(x, batch, Space(batch.positions, batch.cell))
    assert called
    torch.testing.assert_close(meshed, exact, rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------- fields
def _grid(num: int, spacing: float | None, volume: bool, z: float = 0.0) -> Graph:
    """A unit square, periodic, of num x num points; ``spacing`` other than that of the points fixes the unit of length."""
    index = torch.stack(torch.meshgrid(torch.arange(num), torch.arange(num), indexing="ij"), -1)
    positions = torch.cat([index.reshape(-1, 2).double() / num, torch.full((num * num, 1), z).double()], 1)
    return Graph(
        positions, torch.zeros(num * num), "field", cell=torch.eye(3), pbc=torch.tensor([True, True, False]),
        edges={"grid": grid_edges((num, num), (True, True))}, grid_shape=(num, num), spacing=spacing or 1 / num,
        volume=torch.full((num * num,), num**-2.0, dtype=torch.float64) if volume else None, level="wave",
        quantities={"concentration": positions[:, 0]},
    )  # fmt: skip


def _potential(graph: Graph) -> tuple[Tensor, Tensor]:
    """Potential and field that the sources 1 + cos(2 pi x) sin(4 pi y) make, in the units of the network."""
    config = small_network().config
    batch = graphs_to_batch(config, [graph])
    space = Space.of_field(batch, config.field_spacing / batch.spacing)
    torch.manual_seed(3)
    kernel = LongRange(config.model_copy(update={"long_range_channels": 2})).kernel()
    x, y = graph.positions[:, 0], graph.positions[:, 1]
    charge = 1 + torch.cos(2 * torch.pi * x) * torch.sin(4 * torch.pi * y)
    assert space.weight is not None
    with torch.no_grad():
        sources = long_range.Sources(space.positions, (charge * space.weight)[:, None].expand(-1, 2))
        potential, field = long_range.convolve(
            sources, batch, space.cell, kernel, smallest=1.5, reach=90.0, route="direct", fields=True
        )
    zero = kernel.at_zero()[0].detach() * charge[:, None] * space.weight[:, None]
    assert field is not None
    return potential + zero, field


@pytest.mark.parametrize("volume", [True, False])
def test_a_finer_mesh_of_the_same_field_gives_the_same_potential(volume):
    """At one unit of length (``spacing``), the self-term, which a continuum does not have, counted in."""
    coarse = _potential(_grid(8, None, volume=True))
    unit = 1 / 8
    for num in (16, 32):
        fine = _potential(_grid(num, unit, volume=True))
        for a, b in zip(coarse, fine, strict=True):
            picked = b.reshape(num, num, *b.shape[1:])[:: num // 8, :: num // 8].reshape(a.shape)
            error = float((picked - a).abs().max() / a.abs().max())
            assert error < 1e-6, error
    if not volume:
        plain = _potential(_grid(8, None, volume=False))
        torch.testing.assert_close(plain[0], coarse[0], rtol=1e-12, atol=1e-12)


def test_uneven_points_count_by_their_volumes():
    """Points moved by u = x + a sin(2 pi x), which leaves x = 0 and 1/2 where they are; volumes du/dx."""
    num = 48
    pick = lambda values, n: values.reshape(n, n, 2)[:: n // 2, :: n // 8]  # noqa: E731
    reference = pick(_potential(_grid(32, 1 / 8, volume=True))[0], 32)
    graph = _grid(num, 1 / 8, volume=True)
    assert graph.volume is not None
    x, moved = graph.positions[:, 0], graph.positions.clone()
    moved[:, 0] += 0.3 / (2 * torch.pi) * torch.sin(2 * torch.pi * x)
    volume = graph.volume * (1 + 0.3 * torch.cos(2 * torch.pi * x))
    errors = []
    for weight in (volume, graph.volume):
        found = pick(_potential(replace(graph, positions=moved, volume=weight, grid_shape=None))[0], num)
        errors.append(float((found - reference).abs().max() / reference.abs().max()))
    assert errors[0] < 1e-8
    assert errors[1] > 1e-2, "equal volumes do as well, so nothing is tested"


def test_a_field_of_two_dimensions_is_one_plane():
    """Its height above z = 0 and the length of the third lattice vector are no physics."""
    a, b = _potential(_grid(8, None, volume=True)), _potential(_grid(8, None, volume=True, z=0.7))
    for first, second in zip(a, b, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-12, atol=1e-12)
    assert float(a[1][:, 2].abs().max()) == 0.0
