"""Size, separation and batches of molecules and crystals: ``law(net)`` raises ``AssertionError`` where the network breaks it."""

from __future__ import annotations

from dataclasses import replace

import torch

from atomfield.data.fragments import fragments, with_fragments
from atomfield.models.network import AtomFieldNet, graphs_to_batch

from .agreement import agree, exact, outputs, unit_of
from .subjects import chiral_molecule, crystal, lone_atom, supercell, together, water

EXTENSIVE = ("energy", "volume_of_pores")


def distant_fragments_add_up(net: AtomFieldNet) -> None:
    a, b = chiral_molecule(), water()
    both = outputs(net, together(a, b, torch.tensor([60.0, 10.0, -30.0], dtype=torch.float64)))
    parts = [outputs(net, a), outputs(net, b)]
    for name in EXTENSIVE:
        agree(both[name], parts[0][name] + parts[1][name], name, exact(net))
    for name in ("forces", "charges"):
        agree(both[name], torch.cat([p[name] for p in parts]), name, exact(net))


def distant_neutral_fragment_changes_no_ion(net: AtomFieldNet) -> None:
    """The total charge of ion + neutral is the ion's; the neutral must not feel it, nor the ion be diluted."""
    neutral, offset = water(), torch.tensor([60.0, 10.0, -30.0], dtype=torch.float64)
    ion = replace(chiral_molecule(), conditions={"charge": 1.0, "spin": 1.0})
    both = outputs(net, together(ion, neutral, offset))
    parts = [outputs(net, ion), outputs(net, neutral)]
    agree(both["energy"], parts[0]["energy"] + parts[1]["energy"], "energy", exact(net))


def fragments_of_known_charge_add_up(net: AtomFieldNet) -> None:
    """Where atoms carry the charge and spin of their own fragment, an ion and a neutral molecule far apart add up."""
    neutral, offset = water(), torch.tensor([60.0, 10.0, -30.0], dtype=torch.float64)
    ion = replace(chiral_molecule(), conditions={"charge": 1.0, "spin": 1.0})
    system = together(ion, neutral, offset)
    labels = fragments(system, net.config.cutoff)
    assert labels.tolist() == [0] * 5 + [1] * 3
    both = outputs(net, with_fragments(system, labels, [1.0, 0.0], [1.0, 0.0]), neutral)
    parts = [outputs(net, ion), outputs(net, neutral)]
    agree(both["energy"][0], (parts[0]["energy"] + parts[1]["energy"])[0], "energy", exact(net))
    for name in ("forces", "charges"):
        agree(both[name], torch.cat([p[name] for p in (*parts, parts[1])]), name, exact(net))
    assert abs(outputs(net, system)["energy"] - both["energy"][0]) > 1e-6, (
        "the total charge alone says the same"
    )


def supercells_are_multiples(net: AtomFieldNet) -> None:
    graph, repeats = crystal(), (2, 1, 3)
    one, many = outputs(net, graph), outputs(net, supercell(graph, repeats))
    for name in EXTENSIVE:
        agree(many[name], 6 * one[name], name, exact(net))
    for name in ("forces", "charges"):
        agree(many[name], one[name].repeat(6, *[1] * (one[name].ndim - 1)), name, exact(net))
    for name in ("stress", "gap"):
        agree(many[name], one[name], name, exact(net))


def batches_do_not_mix(net: AtomFieldNet) -> None:
    graphs = [
        lone_atom(),
        chiral_molecule(),
        replace(water(), level="quantum-2", conditions={"charge": -1.0}),
    ]
    packed = outputs(net, *graphs)
    start = 0
    for row, graph in enumerate(graphs):
        alone, end = outputs(net, graph), start + graph.num_nodes
        is_alone = graph.num_nodes == 1  # its forces and dipole are zero, as another law says
        for name in ("energy", "gap", "volume_of_pores", *(() if is_alone else ("dipole",))):
            agree(
                packed[name][row],
                alone[name][0],
                f"{name} of graph {row} in a batch",
                exact(net),
                unit_of(net, name),
            )
        for name in ("charges", *(() if is_alone else ("forces",))):
            agree(packed[name][start:end], alone[name], f"{name} of graph {row} in a batch", exact(net))
        start = end


def gradients_stay_in_their_graph(net: AtomFieldNet) -> None:
    batch = graphs_to_batch(net.config, [chiral_molecule(), water()])
    batch.positions.requires_grad_(True)
    energy = net(batch, forces=False)["energy"]
    (gradient,) = torch.autograd.grad(energy[0], batch.positions)
    assert (gradient[5:] == 0).all()
    assert (gradient[:5] != 0).any()


def a_lone_atom_is_its_reference(net: AtomFieldNet) -> None:
    """The energy of an atom alone is its reference plus what the network says of it, wherever it is; nothing acts on it."""
    alone = outputs(net, lone_atom())
    row = net.config.levels.index("quantum")
    reference = net.atom_head.reference[row, 8].clone()
    net.atom_head.reference[row, 8] = 0.0
    bare = outputs(net, lone_atom())["energy"]
    net.atom_head.reference[row, 8] = reference
    assert bare != 0
    agree(alone["energy"], bare + reference, "energy of an atom", 1e-15)
    for graphs in ([lone_atom(), water(), lone_atom()], [replace(lone_atom(), positions=torch.ones(1, 3))]):
        found = outputs(net, *graphs)
        assert all(torch.isfinite(v).all() for v in found.values())
        agree(found["energy"][:1], alone["energy"], "energy of an atom elsewhere", exact(net))
        assert (found["forces"][0] == 0).all()
        assert (found["dipole"][0] == 0).all()
