"""Elements and worlds that training never showed: their energies are arbitrary, so they are refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from atomfield.data.errors import InputError, Provenance

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet


def seen_elements(net: AtomFieldNet, level: str = "") -> Tensor | None:
    """``[119]`` bool by atomic number: elements in the training records of ``level`` (default: the network's), as its table of
    reference energies shows. None where the level has no such table: properties alone, or references of zero.

    Raises ``InputError`` where the network has no level of atoms.
    """
    name = level or net.config.default_level_atoms
    if name not in net.config.levels:
        known = ", ".join(net.config.levels) or "none"
        if level and net.config.default_level_atoms:
            raise InputError(f"level {level!r} is unknown to this model, expected one of {known}")
        raise InputError(
            f"this model has not seen atoms: no level of theory stands for them (its levels: {known}); take another checkpoint"
        )
    table = net.atom_head.reference.ne(0).cpu()
    row = table[net.config.levels.index(name)]
    if row.any():
        return row
    if table.any():
        others = ", ".join(
            n for n, used in zip(net.config.levels, table.any(1).tolist(), strict=True) if used
        )
        if level and level != net.config.default_level_atoms:
            raise InputError(
                f"level {name!r} has no energies of atoms in this model, expected one of {others}"
            )
    return None


def refuse_unseen(
    net: AtomFieldNet, species: Tensor, level: str = "", where: Provenance | str | None = None
) -> None:
    """Raise ``InputError`` where an element of ``species [N]`` is not among :func:`seen_elements`."""
    seen = seen_elements(net, level)
    if seen is None:
        return
    unknown = torch.unique(species[~seen[species]]).tolist()
    if unknown:
        from ase.data import chemical_symbols

        names = ", ".join(chemical_symbols[z] for z in unknown)
        own = [chemical_symbols[z] for z in torch.nonzero(seen).flatten().tolist() if z]
        known = ", ".join(own) if len(own) <= 20 else f"{len(own)} others"
        name = level or net.config.default_level_atoms
        first = int((species == unknown[0]).nonzero()[0])
        table = net.atom_head.reference.ne(0).cpu()
        others = [n for n, row in zip(net.config.levels, table, strict=True) if bool(row[species].all())]
        choice = (
            f"take a level that knows all elements ({', '.join(others)})" if others else "take another level"
        )
        raise InputError(
            f"the model has not seen {names} (atom {first}) at level {name!r}: its energy would mean nothing; it knows {known}; "
            f"finetune it on structures with the element, or {choice}",
            where,
        )


def refuse_strangers(
    net: AtomFieldNet, species: Tensor, level: str = "", where: Provenance | str | None = None
) -> None:
    """Raise ``InputError`` where an element of ``species [N]`` was in the training records of no level: its features would be
    those of the random numbers that training began with. Nothing is refused where ``level`` has no table of elements."""
    name = level or net.config.default_level_atoms
    table = net.atom_head.reference.ne(0).cpu()
    if name not in net.config.levels or not bool(table[net.config.levels.index(name)].any()):
        return
    known = table.any(0)
    unknown = torch.unique(species[~known[species]]).tolist()
    if unknown:
        from ase.data import chemical_symbols

        names = ", ".join(chemical_symbols[z] for z in unknown)
        raise InputError(
            f"the model has not seen {names} at any level: its features would mean nothing; finetune it on structures with the "
            "element, or take another model",
            where,
        )
