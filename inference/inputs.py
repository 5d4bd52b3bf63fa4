"""Fields that a level was always given: an answer without them is another one, so their absence is an error."""

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
