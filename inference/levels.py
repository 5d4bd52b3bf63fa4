"""Which level of theory answers for a structure that names none.

A molecule: the network's default. A periodic structure: where the network has levels for crystals, the one of them that has seen
all of its elements; the network's default if it is among them, an error with the names where there are several. A finetuned
network has no such list, and its own level answers for everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from atomfield.data.errors import InputError, Provenance
from atomfield.data.graph import Graph

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


def level_for(
    net: AtomFieldNet, species: Tensor, periodic: bool, where: Provenance | str | None = None
) -> str:
    """The name of the level for atoms of ``species [N]``, with periodic directions or without; "" where the network has none.

    Raises ``InputError`` naming the levels where several know the elements of a periodic structure, and where none does.
    """
    default = net.config.default_level_atoms
    rows = _with_energies(net)
    if not periodic or not rows:
        return default
    knowing = [name for name, row in rows.items() if bool(row[species].all())]
    if default in knowing or len(knowing) == 1:
        return default if default in knowing else knowing[0]
    elements = _symbols(species)
    if knowing:
        raise InputError(
            f"several levels of theory know a crystal of {elements}: {', '.join(knowing)}; choose one, level={knowing[0]!r} or "
            f"--level {knowing[0]}",
            where,
        )
    lacking = "; ".join(
        f"{name} has not seen {_symbols(species[~row[species]])}" for name, row in rows.items()
    )
    raise InputError(
        f"no level of theory knows a crystal of {elements}: {lacking}; finetune the model on structures with these elements, or "
        f"name a level that has seen them in molecules (its levels: {', '.join(net.config.levels)})",
        where,
    )


def settled(net: AtomFieldNet, graph: Graph, number: int = 0) -> Graph:
    """``graph`` with the level of :func:`level_for` where it is periodic and names none; fields and others as they are."""
    if graph.level or graph.world == "field" or not net.config.crystal_levels or not bool(graph.pbc.any()):
        return graph
    where = graph.provenance if graph.provenance.file else Provenance("<input>", number)
    return graph.changed(level=level_for(net, graph.species, True, where))


def settled_for_features(net: AtomFieldNet, graph: Graph) -> Graph:
    """As :func:`settled`, but features need no energies: the first level that knows the elements, or else the default."""
    if graph.level or graph.world == "field" or not bool(graph.pbc.any()):
        return graph
    knowing = [name for name, row in _with_energies(net).items() if bool(row[graph.species].all())]
    return graph.changed(level=knowing[0]) if knowing else graph


def _with_energies(net: AtomFieldNet) -> dict[str, Tensor]:
    """Levels for crystals -> ``[119]`` bool, the elements in their reference energies; without those that have no energies."""
    table = net.atom_head.reference.ne(0).cpu()
    rows = {name: table[net.config.levels.index(name)] for name in net.config.crystal_levels}
    return {name: row for name, row in rows.items() if bool(row.any())}


def _symbols(species: Tensor) -> str:
    from ase.data import chemical_symbols

    return ", ".join(chemical_symbols[z] for z in torch.unique(species).tolist())
