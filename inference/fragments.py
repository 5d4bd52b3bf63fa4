"""Where the total charge of several separate molecules sits, by the model's own energies.

Far apart, the ground state has whole charges on every fragment (Perdew, Parr, Levy & Balduz, Phys. Rev. Lett. 49, 1691
(1982)): the division of the total charge with the least sum of energies. Each fragment is asked for its energy at each charge,
which depends on nothing but the fragment, so the choice does not change when a further neutral molecule is put far away,
unless that one ionises more easily.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from atomfield.data.errors import InputError
from atomfield.data.fragments import fragments, with_fragments
from atomfield.data.graph import Graph
from atomfield.models.denormals import flushed_denormals
from atomfield.models.network import AtomFieldNet, graphs_to_batch


def assign_charges(net: AtomFieldNet, graph: Graph) -> Graph:
    """``graph`` with ``fragment_charge`` (and, where its spin is known, the lowest ``fragment_spin``) on its atoms.

    Fragments are the components of the network's radius graph; every one gets between none and all of the total charge.
    Raises ``InputError`` where the total charge is unknown or not a whole number.
    """
    total = graph.conditions.get("charge")
    if total is None or total != round(total):
        raise InputError(
            f"the total charge is {'unknown' if total is None else f'{total:g}'}, expected a whole number to divide",
            graph.provenance,
        )
    labels = fragments(graph, net.config.cutoff)
    sign, count = (1 if total >= 0 else -1), abs(round(total))
    parts = [(labels == number).nonzero().squeeze(1) for number in range(int(labels.max()) + 1)]
    spins = [[int(graph.species[part].sum() - sign * q) % 2 for q in range(count + 1)] for part in parts]
    known_spin = "spin" in graph.conditions
    trials = [
        _part(graph, part, sign * q, spins[number][q] if known_spin else None)
        for number, part in enumerate(parts)
        for q in range(count + 1)
    ]
    batch = graphs_to_batch(net.config, trials).to(net.device)
    with torch.no_grad(), flushed_denormals():
        energy = net(batch, forces=False, properties=False)["energy"].view(len(parts), count + 1).tolist()
    chosen = _least(energy, count)
    return with_fragments(
        graph,
        labels,
        [float(sign * q) for q in chosen],
        [float(spins[number][q]) for number, q in enumerate(chosen)] if known_spin else None,
    )


def _part(graph: Graph, part: torch.Tensor, charge: int, spin: int | None) -> Graph:
    conditions = {**graph.conditions, "charge": float(charge)}
    if spin is not None:
        conditions["spin"] = float(spin)
    return replace(
        graph,
        positions=graph.positions[part],
        species=graph.species[part],
        node_type=graph.node_type[part],
        volume=None,
        edges={},
        quantities={},
        conditions=conditions,
        bonds=None if graph.bonds is None else graph.bonds.among(part),
    )


def _least(energy: list[list[float]], count: int) -> list[int]:
    """Units of charge per fragment that add up to ``count`` with the least total of ``energy[fragment][units]``."""
    nothing: list[int] = []
    best = [(0.0, nothing)] + [(float("inf"), nothing)] * count
    for row in energy:
        best = [
            min(
                ((best[q - own][0] + row[own], [*best[q - own][1], own]) for own in range(q + 1)),
                key=lambda pair: pair[0],
            )
            for q in range(count + 1)
        ]
    return best[count][1]
