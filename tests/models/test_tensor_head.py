"""Properties of any irreps: exactly equivariant, extensive where sums, one value per atom where asked, refused where too
large.
"""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from atomfield.data.basis import to_irreps
from atomfield.data.graph import Graph
from atomfield.data.quantities import parse_irreps
from atomfield.models.config import NetworkConfig, PropertyConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.rotation import FrameRotation
from tests.small import morse_clusters

ANY = ("1o+3o", "1e+2x0o", "2e", "2o+3e", "2x0e+2x2e+4e", "3x1o+0e")


def network(*properties: PropertyConfig, lmax: int = 2) -> AtomFieldNet:
    torch.manual_seed(0)
    sizes = {
        "channels": 6,
        "channels_unnatural": 3,
        "lmax": lmax,
        "layers": 1,
        "radial_hidden": 4,
        "head_hidden": 4,
    }
    net = AtomFieldNet(
        NetworkConfig(**sizes, levels=("morse",), default_level_atoms="morse", properties=properties)
    ).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        net.property_head.tensors.reference.normal_()
    return net.eval().requires_grad_(False)


@pytest.mark.parametrize("support", ["graph", "node"])
def test_any_irreps_turn_as_they_should(support):
    net = network(
        *(PropertyConfig(name=f"p{k}", irreps=i, support=support) for k, i in enumerate(ANY)), lmax=3
    )
    graph = replace(morse_clusters(1)[0], quantities={})
    before = net(graphs_to_batch(net.config, [graph]), forces=False)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    rotation = rotation * torch.linalg.det(rotation)
    wigner = [torch.ones(1, 1, dtype=torch.float64), *(d[0] for d in FrameRotation(6).wigner(rotation[None]))]
    for sign in (1, -1):
        turn = sign * rotation
        turned = replace(graph, positions=graph.positions @ turn.T)
        after = net(graphs_to_batch(net.config, [turned]), forces=False)
        for prop in net.config.properties:
            parts = [
                wigner[l] * (p if sign < 0 else 1) for n, l, p in parse_irreps(prop.irreps) for _ in range(n)
            ]
            law = torch.block_diag(*parts)
            expected = to_irreps(before[prop.name], prop.irreps) @ law.T
            found = to_irreps(after[prop.name], prop.irreps)
            assert float(expected.abs().max()) > 1e-6, prop.irreps
            assert float((found - expected).abs().max() / expected.abs().max()) < 1e-9, prop.irreps


def test_sums_add_up_means_stay_and_atoms_keep_theirs():
    net = network(
        PropertyConfig(name="polar", irreps="0e+2e", pooling="sum"),
        PropertyConfig(name="tensor", irreps="0e+2e"),
        PropertyConfig(name="born", irreps="0e+1e+2e", support="node"),
    )
    one = replace(morse_clusters(1)[0], quantities={}, conditions={})
    two = Graph(
        torch.cat([one.positions, one.positions + 100.0]),
        torch.cat([one.species, one.species]),
        "molecule",
        level="morse",
    )
    single, double = (net(graphs_to_batch(net.config, [g]), forces=False) for g in (one, two))
    assert torch.allclose(double["polar"], 2 * single["polar"], rtol=1e-10)
    assert torch.allclose(double["tensor"], single["tensor"], rtol=1e-10)
    assert torch.allclose(double["born"], single["born"].repeat(2, 1, 1), rtol=1e-9, atol=1e-12)
    assert torch.allclose(single["polar"], single["polar"].mT)
    skew = (single["born"] - single["born"].mT).abs().max()
    assert float(skew) > 1e-8 * float(single["born"].abs().max())  # a symmetric one would be to 1e-16


def test_nonnegative_values_are_positive_whatever_the_weights():
    net = network(PropertyConfig(name="dos", irreps="9x0e", nonnegative=True))
    with torch.no_grad():
        net.property_head.tensors.scalar.normal_(std=30.0)
    out = net(graphs_to_batch(net.config, morse_clusters(4)), forces=False)["dos"]
    assert out.shape == (4, 9) and bool((out >= 0).all()) and float(out.max()) > 1.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"irreps": "0e+"}, "are not readable"),
        ({"irreps": "9e"}, "are not readable"),
        ({"irreps": "1o", "nonnegative": True}, "cannot be nonnegative"),
        ({"kind": "multiclass"}, "multiclass with 0 classes"),
        ({"irreps": "1o", "kind": "classification"}, "is a class, expected irreps 0e"),
    ],
)
def test_a_property_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ValidationError, match=said):
        PropertyConfig(name="p", **wrong)


def test_a_network_too_small_for_a_property_is_refused():
    with pytest.raises(ValidationError, match="expected lmax of at least 2, found 1"):
        network(PropertyConfig(name="stiff", irreps="2x0e+2x2e+4e"), lmax=1)
