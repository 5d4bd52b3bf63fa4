"""Which level of theory answers for a structure that names none.

A molecule: the network's default. A periodic structure: where the network has levels for crystals, the one of them that knows it;
the network's default if it is among them, an error with the names where there are several. A level knows a structure of elements
that it has seen, and, where the network says which pairs of elements stood together in its training records, of pairs that
it has seen: a potential of oxides that has seen silicon and oxygen knows quartz and no silicon. For a pure element it is enough
that the level has seen some pure element. A finetuned network has no such list, and its own level answers for everything.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import torch
from ase.data import chemical_symbols
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


def level_for(
    net: AtomFieldNet, species: Tensor, periodic: bool, where: Provenance | str | None = None
) -> str:
    """The name of the level for atoms of ``species [N]`` (atomic numbers), with periodic directions or without; "" where the
    network has none.

    Raises ``InputError`` naming the levels where several know a periodic structure, and where none does.
    """
    default = net.config.default_level_atoms
    missing = {} if not periodic else {name: unknown_to(net, name, species) for name in _with_energies(net)}
    if not missing:
        return default
    knowing = [name for name, lack in missing.items() if not lack]
    if default in knowing or len(knowing) == 1:
        return default if default in knowing else knowing[0]
    elements = ", ".join(_symbols(species))
    if knowing:
        raise InputError(
            f"several levels of theory know a crystal of {elements}: {', '.join(knowing)}; choose one, level={knowing[0]!r} or "
            f"--level {knowing[0]}",
            where,
        )
    lacking = "; ".join(f"{name} has not seen {lack}" for name, lack in missing.items())
    raise InputError(
        f"no level of theory knows a crystal of {elements}: {lacking}; finetune the model on such structures, or name a level "
        f"(its levels: {', '.join(net.config.levels)})",
        where,
    )


def unknown_to(net: AtomFieldNet, level: str, species: Tensor) -> str:
    """What of a structure of ``species [N]`` the records of ``level`` never had, elements or pairs; "" if it knows all."""
    row = net.atom_head.reference[net.config.levels.index(level)].ne(0).cpu()
    if bool((~row[species]).any()):
        return ", ".join(_symbols(species[~row[species]]))
    together = dict(net.config.element_pairs).get(level)
    if together is None:
        return ""
    symbols = _symbols(species)
    if len(symbols) == 1:  # a level with any pure element is asked about all of its elements
        return "" if any("-" not in system for system in together) else f"{symbols[0]} alone"
    pairs = [f"{a}-{b}" for a, b in combinations(symbols, 2)]
    return ", ".join(pair for pair in pairs if pair not in together)


def with_level(net: AtomFieldNet, graph: Graph, number: int = 0) -> Graph:
    """``graph`` with the level of :func:`level_for` where it is periodic and names none; fields and others as they are.

    number: of the record, for messages about a graph that came from no file. Raises ``InputError`` as :func:`level_for` does.
    """
    if graph.level or graph.world == "field" or not net.config.crystal_levels or not bool(graph.pbc.any()):
        return graph
    where = graph.provenance if graph.provenance.file else Provenance("<input>", number)
    return graph.changed(level=level_for(net, graph.species, True, where))


def with_level_for_features(net: AtomFieldNet, graph: Graph) -> Graph:
    """As :func:`with_level`, but features need no energies: the first level that knows the structure, or else the default."""
    if graph.level or graph.world == "field" or not bool(graph.pbc.any()):
        return graph
    knowing = [name for name in _with_energies(net) if not unknown_to(net, name, graph.species)]
    return graph.changed(level=knowing[0]) if knowing else graph


def _with_energies(net: AtomFieldNet) -> list[str]:
    """Levels for crystals, without those that were trained without energies."""
    any_energy = net.atom_head.reference.ne(0).any(1).tolist()
    return [name for name in net.config.crystal_levels if any_energy[net.config.levels.index(name)]]


def _symbols(species: Tensor) -> list[str]:
    """By atomic number, each once."""
    return [chemical_symbols[z] for z in torch.unique(species).tolist()]
