"""What answers were always given, fields of a level or bonds of molecules: an answer without them is another one, so that their
absence is an error."""

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


def refuse_without_bonds(net: AtomFieldNet, graph: Graph) -> None:
    """Raise ``InputError`` where a property is read from descriptors of the chemical graph and the bonds are not known."""
    read = [p.name for p in net.config.properties if p.trees is not None and p.trees.descriptors]
    if read and graph.world != "field" and graph.bonds is None:
        raise InputError(
            f"found no bonds, and property {read[0]!r} is read from descriptors of the chemical graph too; give SMILES, SDF, "
            "MOL2 or another file that says the bonds, or finetune with --strategy full",
            graph.provenance,
        )
