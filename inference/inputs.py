"""What an answer cannot do without: a level that knows such records, and what it was always given (fields of a level, bonds of
molecules), without which the answer is another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


def refuse_incomplete(net: AtomFieldNet, graph: Graph) -> None:
    """Raise ``InputError`` where the field lacks what all training records of its level had (``NetworkConfig.inputs``)."""
    level = graph.level or net.config.default_level_field
    lacking = [n for n in dict(net.config.inputs).get(level, ()) if n not in graph.quantities]
    if graph.world == "field" and lacking:
        names = ", ".join(lacking)
        raise InputError(
            f"found {', '.join(graph.quantities) or 'no quantities'}, expected {names} too: all records that level {level!r} was "
            f"trained on had it; give it as there, in the file or with --map {lacking[0]}=...",
            graph.provenance,
        )


def refuse_atoms_alone(net: AtomFieldNet, graph: Graph) -> None:
    """Raise ``InputError`` for a field where ``net``, or the level that answers, has seen atoms alone: what it said of a field
    would be the field itself."""
    if graph.world != "field":
        return
    name = graph.level or net.config.default_level_field
    known = ", ".join(net.config.levels) or "none"
    if not name:
        raise InputError(
            f"this model has not seen fields: no level stands for them (its levels: {known}); take another checkpoint",
            graph.provenance,
        )
    if name not in net.config.levels:
        return  # refused with the names of all
    row = net.config.levels.index(name)
    if bool(net.atom_head.reference[row].any()) and not bool(net.field_head.weight[row].any()):
        raise InputError(
            f"level {name!r} is one of atoms and knows no fields, expected another of {known}",
            graph.provenance,
        )


def refuse_without_bonds(net: AtomFieldNet, graph: Graph) -> None:
    """Raise ``InputError`` where a property is read from descriptors of the chemical graph and the bonds are not known."""
    read = [p.name for p in net.config.properties if p.trees is not None and p.trees.descriptors]
    if read and graph.world != "field" and graph.bonds is None:
        raise InputError(
            f"found no bonds, and property {read[0]!r} is read from descriptors of the chemical graph too; give SMILES, SDF, "
            "MOL2 or another file that says the bonds, or finetune with --strategy full",
            graph.provenance,
        )
