"""Heads: rows of levels are independent, extensive properties add up, intensive ones do not grow."""

from dataclasses import replace

import pytest
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.models.network import graphs_to_batch
from tests.small import morse_clusters, small_network


def test_a_level_reads_its_own_row():
    net = small_network(levels=("a", "b", "wave")).double().eval()
    graph = morse_clusters(1, level="a")[0]
    other = replace(graph, level="b")
    before = net(graphs_to_batch(net.config, [graph, other]))["energy"]
    with torch.no_grad():
        net.atom_head.energy[1] += 1.0
    after = net(graphs_to_batch(net.config, [graph, other]))["energy"]
    assert after[0] == before[0] and after[1] != before[1]


def test_an_unknown_level_is_named():
    net = small_network()
    with pytest.raises(InputError, match="'dft'.*expected one of morse, wave"):
        net(graphs_to_batch(net.config, [replace(morse_clusters(1)[0], level="dft")]))


def test_extensive_adds_up_and_intensive_does_not():
    net = small_network().double().eval()
    one = replace(morse_clusters(1)[0], quantities={}, conditions={})
    far = torch.cat([one.positions, one.positions + 100.0])
    two = Graph(far, torch.cat([one.species, one.species]), "molecule", level="morse")
    single, double = (net(graphs_to_batch(net.config, [g]), forces=False) for g in (one, two))
    assert torch.allclose(double["volume"], 2 * single["volume"], rtol=1e-12)
    assert torch.allclose(double["energy"], 2 * single["energy"], rtol=1e-12)
    assert torch.allclose(double["gap"], single["gap"], rtol=1e-12)


def test_a_level_whose_units_are_all_off_still_gets_gradients():
    """As after a step that was too large: silu has no gradient left there, the linear part of the energy has."""
    net = small_network().double()
    with torch.no_grad():
        net.atom_head.trunk.bias.fill_(-1e4)
    net(graphs_to_batch(net.config, morse_clusters(2)))["energy"].sum().backward()
    assert net.atom_head.linear.grad.abs().max() > 1e-3
    assert net.atom_head.energy.grad.abs().max() == 0.0
