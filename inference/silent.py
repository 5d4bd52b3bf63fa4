"""What a network was never trained to say at a level of theory: left out of its answers, refused where something rests on it.

A level that learnt properties alone has no energies, and one that learnt energies has neither charges nor a dipole: the rows of
the head that would say them are exactly zero there. So are those of a state of a field that was never to be found, which is an
input then. Pretraining leaves such rows at zero, and finetuning empties those of its level that its records do not teach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from atomfield.data.errors import InputError, Provenance

if TYPE_CHECKING:
    from atomfield.models.network import AtomFieldNet

ATOMS = ("energy", "forces", "stress", "dipole", "charges")
SURFACE = frozenset({"energy", "forces", "stress"})


def silent(net: AtomFieldNet, level: str = "") -> frozenset[str]:
    """Which of energy, forces, stress, charges and dipole ``net`` was never trained to say at ``level`` (default: the network's
    for atoms). Nothing of a network that was not trained at all."""
    name = level or net.config.default_level_atoms
    head = net.atom_head
    energy = _any(head.energy) | _any(head.reference)
    if head.linear is not None:
        energy = energy | _any(head.linear)
    charges = _any(head.charge)
    dipole = charges | _any(head.dipole)
    if name not in net.config.levels or not (bool((energy | dipole).any()) or _has_properties(net)):
        return frozenset()
    row = net.config.levels.index(name)
    out: set[str] = set()
    if not bool(energy[row]):
        out |= SURFACE
    if not bool(charges[row]):
        out.add("charges")
    if not bool(dipole[row]):
        out.add("dipole")
    return frozenset(out)


def stepped(net: AtomFieldNet, level: str = "") -> tuple[str, ...]:
    """The states of fields that ``net`` was trained to find at ``level`` (default: the network's for fields), others being
    inputs; all states where it was trained on none."""
    name = level or net.config.default_level_field
    if name not in net.config.levels:
        return net.config.field_states
    used = net.field_head.weight[net.config.levels.index(name)].detach().ne(0).flatten(1).any(1).tolist()
    return (
        tuple(n for n, is_used in zip(net.config.field_states, used, strict=True) if is_used)
        or net.config.field_states
    )


def refuse_silent(net: AtomFieldNet, level: str = "", where: Provenance | str | None = None) -> None:
    """Raise ``InputError`` where ``net`` has no energies at ``level``, so that forces, dynamics and relaxations mean nothing."""
    if "energy" not in silent(net, level):
        return
    name = level or net.config.default_level_atoms
    known = net.atom_head.reference.ne(0).any(1).tolist()
    able = [
        n for n, has in zip(net.config.levels, known, strict=True) if has and "energy" not in silent(net, n)
    ]
    properties = ", ".join(p.name for p in net.config.properties) or "other quantities"
    others = (
        f"; levels {', '.join(able)} have some, as far as finetuning left these as they were" if able else ""
    )
    raise InputError(
        f"level {name!r} was trained on {properties} alone and has no energies or forces; take the checkpoint that it began with"
        f"{others}",
        where,
    )


def _has_properties(net: AtomFieldNet) -> bool:
    """Whether any row of the property head was ever trained."""
    for name, parameter in net.property_head.named_parameters():
        parts = name.split(".")
        is_row = parts[-1] in ("sum_weight", "mean_weight", "scalar") or parts[:2] == ["tensors", "weight"]
        if is_row and bool(parameter.detach().ne(0).any()):
            return True
    return net.property_head.trees is not None


def _any(rows: Tensor) -> Tensor:
    """``[levels]`` bool."""
    return rows.detach().ne(0).flatten(1).any(1)
