"""Fragments that part: with dispersion in the energy a network attracts beyond its cutoff as D3 says, and not at all without."""

from __future__ import annotations

import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch

pytest.importorskip("tad_dftd3")

METHANE = torch.tensor(
    [[0.0, 0, 0], [0.63, 0.63, 0.63], [-0.63, -0.63, 0.63], [-0.63, 0.63, -0.63], [0.63, -0.63, -0.63]]
).double()
FRAGMENTS = {
    "Ne2": (torch.zeros(1, 3).double(), torch.tensor([10])),
    "Ar2": (torch.zeros(1, 3).double(), torch.tensor([18])),
    "Xe2": (torch.zeros(1, 3).double(), torch.tensor([54])),
    "(CH4)2": (METHANE, torch.tensor([6, 1, 1, 1, 1])),
}
DISTANCES = torch.linspace(9.0, 30.0, 40, dtype=torch.float64)
"""Between centres: every pair of atoms of the two fragments is beyond the cutoff of 4 angstrom times two layers."""


def _net(priors: tuple[str, ...], reach: float = 80.0) -> AtomFieldNet:
    config = NetworkConfig(
        channels=6, channels_unnatural=2, lmax=1, layers=2, num_radial=4, radial_hidden=6, head_hidden=6, cutoff=4.0,
        levels=("pbe-d3",), default_level_atoms="pbe-d3", priors=priors, contains={"pbe-d3": ("d3:pbe",)},
        dispersion_cutoff=reach,
    )  # fmt: skip
    torch.manual_seed(0)
    net = AtomFieldNet(config).eval()
    for parameter in net.parameters():
        parameter.data = parameter.data.double() + 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return net


def _curve(net: AtomFieldNet, name: str, distances: torch.Tensor) -> torch.Tensor:
    """Energies of the pair less that of the pair 70 angstrom apart, where D3 is below 1e-9 of that at 9."""
    body, species = FRAGMENTS[name]
    graphs = [
        Graph(
            torch.cat([body, body + torch.tensor([0, 0, float(d)])]),
            torch.cat([species, species]),
            "molecule",
        )
        for d in [*distances, 70.0]
    ]
    with torch.no_grad():
        energy = net(graphs_to_batch(net.config, graphs), forces=False)["energy"]
    return energy[:-1] - energy[-1]


@pytest.mark.parametrize("name", FRAGMENTS)
def test_attraction_has_the_right_sign_and_decay(name):
    curve = _curve(_net(("d3:pbe",)), name, DISTANCES)
    assert bool((curve < 0).all()), "attraction everywhere"
    assert bool((curve.diff() > 0).all()), "weaker further apart"
    late = DISTANCES > 15
    slope = torch.diff((-curve[late]).log()) / torch.diff(DISTANCES[late].log())
    assert float(slope.mean()) == pytest.approx(-6.0, abs=0.15)
    assert float(_curve(_net(()), name, DISTANCES).abs().max()) < 1e-11, "without the term nothing acts there"


def test_the_end_of_the_term_keeps_the_sign():
    """With the default reach of 12 angstrom the curve is that of the whole term to 9.6 and goes to zero without crossing it."""
    distances = torch.linspace(9.0, 12.5, 30, dtype=torch.float64)
    whole, cut = (_curve(_net(("d3:pbe",), reach), "Ar2", distances) for reach in (80.0, 12.0))
    early, gone = distances < 9.6, distances > 12.0
    torch.testing.assert_close(cut[early], whole[early], rtol=1e-3, atol=0)
    assert bool((cut <= 0).all()) and bool((cut.diff() >= 0).all())
    assert float(cut[gone].abs().max()) < 1e-12
