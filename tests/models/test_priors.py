"""Analytic terms in the network: what is added where, and that the network learns the remainder."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from atomfield.data.errors import InputError
from atomfield.data.graph import Edges, Graph
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.predict import predict_graphs
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.priors import explain, remainder_of, role
from atomfield.physics_priors.zbl import zbl_pair
from atomfield.pretrain.normalize import Statistics, normalize

LEVELS = ("pbe", "pbe-d3", "pbe-d4", "wb97m-v", "mystery", "gfn2-xtb")
CONTAINS = {"pbe": (), "pbe-d3": ("d3:pbe",), "pbe-d4": ("d4:pbe",), "wb97m-v": ("vv10",)}
EXTRAS = {"d3": ("tad_dftd3", "dispersion"), "d4": ("dftd4", "d4")}


def _needs(term: str) -> None:
    """Skips without the extra of a term."""
    if term[:2] in EXTRAS:
        module, extra = EXTRAS[term[:2]]
        pytest.importorskip(module, reason=f"the extra atomfield[{extra}] is not installed")


def _config(*priors: str) -> NetworkConfig:
    return NetworkConfig(
        channels=4, channels_unnatural=2, lmax=1, layers=1, num_radial=4, radial_hidden=4, head_hidden=4, levels=LEVELS,
        default_level_atoms="pbe", priors=priors, contains=CONTAINS,
    )  # fmt: skip


def _net(*priors: str) -> AtomFieldNet:
    torch.manual_seed(0)
    net = AtomFieldNet(_config(*priors)).eval()
    for parameter in net.parameters():
        parameter.data = parameter.data.double() + 0.1
    return net


def _water(level: str = "pbe") -> Graph:
    positions = torch.tensor([[0.0, 0, 0.12], [0, 0.79, -0.47], [0.05, -0.76, -0.48]], dtype=torch.float64)
    return Graph(positions, torch.tensor([8, 1, 1]), "molecule", level=level)


def _dimer(distance: float, level: str = "pbe") -> Graph:
    positions = torch.tensor([[0.0, 0, 0], [0, 0, distance]], dtype=torch.float64)
    return Graph(positions, torch.tensor([6, 8]), "molecule", level=level)


def _energy(net: AtomFieldNet, graph: Graph, **options) -> float:
    with torch.no_grad():
        return float(net(graphs_to_batch(net.config, [graph]), forces=False, **options)["energy"])


def test_zbl_is_added_to_the_network():
    plain, with_term = _net(), _net("zbl")
    graph = _dimer(0.4)
    carbon, oxygen = torch.tensor(6), torch.tensor(8)
    expected = float(zbl_pair(torch.tensor(0.4, dtype=torch.float64), carbon, oxygen))
    assert _energy(with_term, graph) - _energy(plain, graph) == pytest.approx(expected, rel=1e-9)
    assert _energy(with_term, _dimer(1.6)) == _energy(plain, _dimer(1.6))


def test_atoms_driven_into_each_other_are_thrown_back():
    net = _net("zbl")
    with torch.no_grad():
        out = net(graphs_to_batch(net.config, [_dimer(r) for r in (0.15, 0.3, 0.5)]))
    assert bool((out["energy"].diff() < 0).all())
    assert bool((out["forces"][1::2, 2] > 20).all())


def test_bonds_that_a_file_holds_do_not_count_twice():
    net = _net("zbl")
    graph = _dimer(0.5)
    bond = Edges(torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 3, dtype=torch.int64))
    bonded = replace(graph, edges={"bond": bond})
    term = [
        float(net.priors(batch, batch.positions, batch.cell, added=False))
        for batch in (graphs_to_batch(net.config, [g]) for g in (graph, bonded))
    ]
    assert term[0] == term[1] > 0


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("pbe", "added"),
        ("pbe-d3", "remainder"),
        ("wb97m-v", "none"),
        ("mystery", "none"),
        ("gfn2-xtb", "none"),
    ],
)
def test_what_becomes_of_dispersion(level, expected):
    assert role(_config("d3:pbe"), "d3:pbe", level) == expected
    assert role(_config("zbl"), "zbl", level) == "remainder"


def test_d3_is_not_added_to_d4_nor_d4_to_d3():
    assert role(_config("d3:pbe"), "d3:pbe", "pbe-d4") == "none"
    assert role(_config("d4:pbe"), "d4:pbe", "pbe-d4") == "remainder"
    assert role(_config("d4:pbe"), "d4:pbe", "pbe-d3") == "none"


def test_the_person_is_told():
    lines = explain(_config("zbl", "d3:pbe"), LEVELS)
    assert len(lines) == 7
    assert "every level" in lines[0]
    assert "missing in its labels" in lines[1]
    assert "learns the remainder" in lines[2]
    assert "contain d4:pbe" in lines[3]
    assert "contain vv10" in lines[4]
    assert "'mystery'" in lines[5] and "not declared" in lines[5] and "network.contains" in lines[5]
    assert "contain d4" in lines[6]


@pytest.mark.parametrize("term", ["d3", "d4"])
def test_dispersion_by_level(term):
    _needs(term)
    plain, with_term = _net(), _net(f"{term}:pbe")
    within, other = f"pbe-{term}", {"d3": "pbe-d4", "d4": "pbe-d3"}[term]

    def difference(level: str, **options) -> float:
        return _energy(with_term, _water(level), **options) - _energy(plain, _water(level))

    lacking = difference("pbe", added=True)
    assert -0.1 < lacking < -1e-3
    assert difference("pbe") == 0.0
    assert difference(within) == pytest.approx(lacking, rel=1e-9)
    for level in (other, "wb97m-v", "mystery", "gfn2-xtb"):
        assert difference(level, added=True) == 0.0
    packed = graphs_to_batch(with_term.config, [_water(x) for x in ("mystery", "pbe", within)])
    with torch.no_grad():
        terms = with_term.priors(packed, packed.positions, packed.cell, added=False)
    assert terms.tolist() == [0.0, 0.0, pytest.approx(lacking, rel=1e-9)]


def test_dispersion_ends_smoothly_at_its_own_cutoff():
    pytest.importorskip("tad_dftd3", reason="the extra atomfield[dispersion] is not installed")
    net, end = _net("d3:pbe"), NetworkConfig().dispersion_cutoff
    forces = {}
    for r in (end - 2, end - 1e-3, end + 1e-3):
        batch = graphs_to_batch(net.config, [_dimer(r, "pbe-d3")])
        with torch.no_grad():
            forces[r] = float(net(batch)["forces"][0, 2].abs())
    assert forces[end - 2] > 1e-6
    assert forces[end - 1e-3] < 1e-4 * forces[end - 2]
    assert forces[end + 1e-3] == 0.0


@pytest.mark.parametrize("term", ["zbl", "d3:pbe", "d4:pbe", "morse:O-H=4.5/2.2/0.96,H-H=0.2/1.5/1.4"])
def test_the_remainder_is_what_the_term_adds(term):
    _needs(term)
    plain, with_term = _net(), _net(term)
    level = "pbe-d4" if term == "d4:pbe" else "pbe-d3"
    graph = replace(_water(level), positions=0.6 * _water().positions)
    with torch.no_grad():
        one, two = (n(graphs_to_batch(n.config, [graph])) for n in (plain, with_term))
    energy, forces = remainder_of(with_term.config, graph)
    assert energy == pytest.approx(float(two["energy"] - one["energy"]), rel=1e-9)
    torch.testing.assert_close(forces, two["forces"] - one["forces"], rtol=0, atol=1e-9)
    assert float(forces.abs().max()) > 1e-4


def test_references_and_scales_see_the_remainder():
    """Labels that are constants of the elements plus ZBL: what is left of them is nothing."""
    config = _config("zbl")
    rng = np.random.default_rng(0)
    graphs = []
    for k in range(6):
        bare = _water() if k % 2 else _dimer(float(rng.uniform(0.5, 1.1)))
        bare = replace(bare, positions=bare.positions * float(rng.uniform(0.7, 1.0)))
        energy, forces = remainder_of(config, bare)
        total = energy + sum({1: -3.0, 6: -40.0, 8: -70.0}[z] for z in bare.species.tolist())
        labels = {"energy": torch.tensor(total, dtype=torch.float64), "forces": forces}
        graphs.append(replace(bare, quantities=labels))
    net = AtomFieldNet(config)
    with_term, without = Statistics(config), Statistics()
    with_term.add(graphs)
    without.add(graphs)
    fit = normalize(net, with_term)[0]
    assert fit.residual < 1e-6
    assert 2 * fit.energies[1] + fit.energies[8] == pytest.approx(-76.0, abs=1e-5)
    assert sum(square for square, _ in with_term.force_squares) < 1e-20
    assert sum(square for square, _ in without.force_squares) > 1.0


def test_a_checkpoint_keeps_its_terms(tmp_path):
    net = _net("zbl")
    again = checkpoint.load(checkpoint.save(net, tmp_path / "model"))
    assert again.config == net.config and hash(again.config) == hash(net.config)
    written = json.loads((tmp_path / "model" / "config.json").read_text())["network"]
    assert written["contains"]["pbe-d3"] == ["d3:pbe"]
    assert _energy(again, _dimer(0.4)) == _energy(net, _dimer(0.4))


@pytest.mark.parametrize(
    "priors", [("zbll",), ("d3",), ("d3:",), ("zbl", "zbl"), ("d3:pbe", "d3:b3lyp"), ("d3:pbe", "d4:pbe")]
)
def test_unknown_or_repeated_terms_are_refused(priors):
    with pytest.raises(ValidationError):
        _config(*priors)


@pytest.mark.parametrize("term", ["d3", "d4"])
def test_an_unknown_functional_is_refused(term):
    _needs(term)
    with pytest.raises(InputError, match="'pbeee'"):
        _net(f"{term}:pbeee")


def test_training_on_forces_and_a_hessian_see_d4():
    """The loss of forces reaches the weights, and the Hessian is the slope of the forces with the term in them."""
    _needs("d4")
    net = _net("d4:pbe")
    batch = graphs_to_batch(net.config, [_water("pbe-d4")])
    net(batch)["forces"].square().sum().backward()
    assert any(p.grad is not None and bool((p.grad != 0).any()) for p in net.parameters())

    def forces(positions: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros(1, 3, 3, dtype=torch.float64)
        energy = net.priors(batch, positions, zero, added=False).sum()
        return -torch.autograd.grad(energy, positions, create_graph=True)[0]

    here = batch.positions.clone().requires_grad_()
    (row,) = torch.autograd.grad(forces(here)[0, 2], here)
    ahead, behind = (batch.positions.clone().requires_grad_() for _ in range(2))
    with torch.no_grad():
        ahead[1, 1] += 1e-4
        behind[1, 1] -= 1e-4
    slope = (forces(ahead)[0, 2] - forces(behind)[0, 2]) / 2e-4
    assert float(row[1, 1]) == pytest.approx(float(slope.detach()), rel=1e-3, abs=1e-7)


def test_calculator_and_prediction_add_what_the_labels_lack():
    """Through the skin of the calculator's own pair list too; comparisons with labels go without."""
    pytest.importorskip("tad_dftd3", reason="the extra atomfield[dispersion] is not installed")
    from ase import Atoms

    net = _net("zbl", "d3:pbe")
    graph = replace(_water(), positions=0.6 * _water().positions)
    atoms = Atoms(numbers=graph.species.numpy(), positions=graph.positions.numpy())
    atoms.calc = AtomFieldCalculator(net, dtype="float64")
    with_dispersion = _energy(net, graph, added=True)
    assert with_dispersion < _energy(net, graph) - 1e-3
    assert atoms.get_potential_energy() == pytest.approx(with_dispersion, abs=1e-9)
    assert float(predict_graphs(net, [graph])[0]["energy"]) == pytest.approx(with_dispersion, abs=1e-9)
    compared = predict_graphs(net, [graph], added=False)[0]["energy"]
    assert float(compared) == pytest.approx(_energy(net, graph), abs=1e-9)
