"""Grow a checkpoint: a row for a new level of theory in every stacked head, and rows for a user's properties.

Old rows keep their values and their places, so the old levels still answer as before until training moves shared weights. Rows of
old properties go: all properties share their head, and what they read moves too.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.inference.silent import SURFACE, silent, stepped
from atomfield.models.config import ByLevel, NetworkConfig
from atomfield.models.grow import grown
from atomfield.models.network import AtomFieldNet, graphs_to_batch
from atomfield.models.sizes import NetworkSize
from atomfield.pretrain.normalize import (
    Statistics,
    apply_energy_scale,
    apply_field_scales,
    centre,
    centred_line,
)
from atomfield.pretrain.property_fits import apply_property_scales
from atomfield.pretrain.ridge import PropertyFit

from .references import set_references
from .tasks import Task

TRIAL_RECORDS = 16


def size_of(config: NetworkConfig) -> NetworkSize:
    """The free hyper-parameters of a checkpoint, for the same network from random weights."""
    own = {name: getattr(config, name) for name in NetworkSize.model_fields if name != "size"}
    return NetworkSize(**{**own, "contains": dict(config.contains)})


def fresh(
    size: NetworkSize,
    task: Task,
    level: str,
    fits: Sequence[PropertyFit],
    seed: int,
    conditions: Collection[str] = (),
) -> AtomFieldNet:
    """Random weights with one level. conditions: of the records, which the network reads."""
    _check_parity(size, fits)
    torch.manual_seed(seed)
    default = {"default_level_field" if task.world == "field" else "default_level_atoms": level}
    plain = NetworkConfig(**size.hyperparameters())
    return AtomFieldNet(
        NetworkConfig(
            **size.hyperparameters(),
            conditions=plain.reading(conditions),
            levels=(level,),
            properties=tuple(f.config for f in fits),
            steady=task.names if task.steady else (),
            **default,
        )
    )


def extended(
    net: AtomFieldNet,
    task: Task,
    level: str,
    fits: Sequence[PropertyFit],
    copy_from: str,
    contains: ByLevel | None = None,
    kept: Collection[str] = (),
    long_range: str | None = None,
    conditions: Collection[str] = (),
) -> AtomFieldNet:
    """A copy of ``net`` with ``level`` (a copy of the row ``copy_from``, unless the level exists) and with the properties.

    contains: what the labels of levels contain, in place of the checkpoint's own table. kept: names of the checkpoint's own
    properties that are trained on again; its others are left out. long_range: what acts beyond the cutoff; what the checkpoint
    lacks begins by adding nothing. None: as it is. conditions: of the new records; those that the checkpoint does not read yet
    begin by changing nothing.
    """
    config = net.config
    _check_parity(config, fits)
    levels = config.levels if level in config.levels else (*config.levels, level)
    own = tuple(
        p for p in config.properties if p.name in kept and p.name not in {f.config.name for f in fits}
    )
    default = {"default_level_field" if task.world == "field" else "default_level_atoms": level}
    return grown(
        net,
        config.model_copy(
            update={
                "levels": levels,
                "properties": (*own, *(f.config for f in fits)),
                "contains": config.contains if contains is None else contains,
                "long_range": long_range or config.long_range,
                "conditions": config.reading(conditions),
                "steady": tuple(
                    sorted({*config.steady, *task.names} if task.steady else {*config.steady} - {*task.names})
                ),
                **default,
                **(
                    {} if task.world == "field" else {"crystal_levels": (), "element_pairs": ()}
                ),  # its own level answers for all atoms
            }
        ),
        copy_from=copy_from,
    )


@torch.no_grad()
def forget_untaught(net: AtomFieldNet, task: Task, level: str) -> frozenset[str]:
    """Empty the rows of ``level`` that the targets do not teach, and return what the network is silent about there: a copy of
    another level's energies says nothing about records of a property, nor do its charges beside other energies. A state of a
    field that is no target becomes an input."""
    head, row = net.atom_head, net.config.levels.index(level)
    names = set(task.names)
    if task.world == "field":
        others = [k for k, name in enumerate(net.config.field_states) if name not in names]
        net.field_head.weight[row, others] = 0.0
        return frozenset(net.config.field_states[k] for k in others)
    if "energy" not in names:
        head.reference[row] = 0.0
    if not names & SURFACE:
        head.energy[row] = 0.0
        if head.linear is not None:
            head.linear[row] = 0.0
    if not names & {"charges", "dipole"} and not head.electrostatics:  # else they are a part of the energy
        head.charge[row] = 0.0
    if "dipole" not in names:
        head.dipole[row] = 0.0
    return silent(net, level)


def _check_parity(size: NetworkSize | NetworkConfig, fits: Sequence[PropertyFit]) -> None:
    """Refuse properties that a network of this size cannot say."""
    odd = [f.config.name for f in fits if f.config.irreps == "0o"]
    if odd and size.symmetry == "O3" and (size.lmax == 0 or size.channels_unnatural == 0):
        raise InputError(
            f"property {odd[0]!r} changes sign in a mirror, which a network with lmax {size.lmax} and "
            f"{size.channels_unnatural} channels of unnatural parity cannot say; start from one with both, such as size s"
        )
    config = size if isinstance(size, NetworkConfig) else NetworkConfig(**size.hyperparameters())
    for fit in fits:
        if config.symmetry == "O3" and (lack := config.lacks(fit.config)):
            raise InputError(
                f"property {fit.config.name!r} has irreps {fit.config.irreps}, {lack}; start from a larger network, "
                "such as size s"
            )


def level_choices(net: AtomFieldNet, world: str) -> list[str]:
    """Levels of this world that were ever taught: those with reference energies (atoms), those with a state of a field; all
    where none was."""
    atoms = net.atom_head.reference.ne(0).any(1)
    fields = net.field_head.weight.detach().ne(0).flatten(1).any(1) & ~atoms
    taught = (atoms if world == "atoms" else fields).tolist()
    rows = [name for name, is_taught in zip(net.config.levels, taught, strict=True) if is_taught]
    return rows or list(net.config.levels)


def closest_level(net: AtomFieldNet, task: Task, graphs: Sequence[Graph]) -> str:
    """The level whose row predicts the new data best before any training: by forces, by one step of a field (of the levels that
    were taught most of its targets), or (without either) by how many of the elements it knows."""
    choices = level_choices(net, task.world)
    if task.world == "field":
        taught = {name: len({*stepped(net, name)} & {*task.names}) for name in choices}
        choices = [name for name in choices if taught[name] == max(taught.values())]
    if len(choices) == 1 or task.steady:
        return choices[0]
    if task.world == "atoms" and "forces" not in task.names:
        elements = sorted({int(z) for g in graphs for z in g.species.unique()})
        known = net.atom_head.reference.ne(0)[:, elements].sum(1)
        return max(choices, key=lambda name: int(known[net.config.levels.index(name)]))
    errors = {name: trial_error(net, task, graphs, name) for name in choices}
    return min(errors, key=lambda k: errors[k] if np.isfinite(errors[k]) else float("inf"))


def trial_error(net: AtomFieldNet, task: Task, graphs: Sequence[Graph], level: str) -> float:
    """Squared error of the forces, or of one step from the first state, of some of ``graphs`` as records of ``level``, summed."""
    return sum(error for error, _ in _trial(net, task, graphs, level).values())


def worse_than_no_change(net: AtomFieldNet, task: Task, graphs: Sequence[Graph], level: str) -> list[str]:
    """The targets whose first steps ``level`` predicts no better than that nothing changes."""
    if task.world != "field" or task.steady:
        return []
    return [name for name, (error, change) in _trial(net, task, graphs, level).items() if not error < change]


@torch.no_grad()
def begin_without_change(net: AtomFieldNet, level: str, names: Sequence[str], source: str) -> str:
    """Empty the rows by which ``level``, a copy of ``source``, says how the states ``names`` change, and say so."""
    columns = [net.config.field_states.index(name) for name in names]
    net.field_head.weight[net.config.levels.index(level), columns] = 0.0
    return (
        f"{', '.join(names)}: level {source!r} predicts the first steps no better than that nothing changes, which is where the "
        "training starts"
    )


@torch.no_grad()
def _trial(
    net: AtomFieldNet, task: Task, graphs: Sequence[Graph], level: str
) -> dict[str, tuple[float, float]]:
    """By label: its squared error, and that of the answer that nothing changes (of fields) or that there are no forces."""
    picked = [graphs[i] for i in np.linspace(0, len(graphs) - 1, min(TRIAL_RECORDS, len(graphs))).astype(int)]
    trial = extended(net, task, level, (), level)
    renamed = [replace(g, level=level) for g in picked]
    if task.world == "field":
        local = Statistics()
        local.add(renamed)
        centre_level(trial, level, local)
        apply_field_scales(trial, local)
        renamed = [g.pair(0) for g in renamed]
    trial.eval()
    found: dict[str, tuple[float, float]] = {}
    for g in renamed:
        batch = graphs_to_batch(trial.config, [g])
        out = trial(batch)
        wanted = batch.next_quantities if task.world == "field" else batch.quantities
        for key in task.names if task.world == "field" else ("forces",):
            if key in wanted and key in out:
                before = batch.quantities[key] if task.world == "field" else torch.zeros_like(wanted[key])
                errors = [float((v - wanted[key]).square().mean().clamp(max=1e6)) for v in (out[key], before)]
                error, change = found.get(key, (0.0, 0.0))
                found[key] = error + errors[0], change + errors[1]
    return found


def centre_level(net: AtomFieldNet, level: str, statistics: Statistics) -> list[str]:
    """Let ``net`` read the numbers of fields that stand off zero at ``level`` as their distance from the mean, which
    ``apply_field_scales`` fits; what to tell the person about it."""
    names = dict.fromkeys((*net.config.field_inputs, *net.config.field_states))
    means = {n: m for n in names if (m := statistics.offset(level, n))}
    if not means:
        return []
    centre(net, {*net.config.centred, *means})
    return [centred_line(name, mean) for name, mean in means.items()]


def fit_scales(
    net: AtomFieldNet,
    task: Task,
    level: str,
    statistics: Statistics,
    fits: Sequence[PropertyFit],
    *,
    scratch: bool,
    source: str | None = None,
    mode: Literal["refit", "carry"] = "refit",
) -> list[str]:
    """Refit what belongs to the new data: references of its level (whose table, see ``references.py``, is returned as lines),
    scales of its fields, scales of the properties. The shared energy scale is kept from the checkpoint, because the old heads are
    in its units."""
    with torch.no_grad():
        references = set_references(net, level, source, statistics, mode) if "energy" in task.names else []
        if scratch and task.world == "atoms":
            apply_energy_scale(net, statistics)
        apply_field_scales(net, statistics)
        apply_property_scales(net, fits)
    return references


def check_elements(net: AtomFieldNet, graphs: Sequence[Graph], names: tuple[str, ...]) -> None:
    """An element that training never saw has an arbitrary energy: refuse it where energies are asked for."""
    if "energy" not in names:
        return
    from ase.data import chemical_symbols

    level = graphs[0].level or net.config.default_level_atoms
    known = net.atom_head.reference[net.config.levels.index(level)] != 0
    for g in graphs:
        missing = [int(z) for z in g.species.unique() if not known[z]]
        if missing:
            raise InputError(
                f"element {chemical_symbols[missing[0]]} does not occur in the training records of level {level!r}, so its "
                "energy reference is unknown; add records that contain it to --train",
                g.provenance,
            )
