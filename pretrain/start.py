"""Where a run begins: with a fresh network, or with the weights of a published checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import torch
from ase.data import chemical_symbols

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.references import WORST_RESIDUAL, fit_new_elements
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig
from atomfield.models.grow import grown
from atomfield.models.network import AtomFieldNet

from .balance import level_factors
from .config import PretrainConfig
from .normalize import ReferenceFit, Statistics, normalize
from .property_fits import apply_property_scales, fit_property
from .ridge import PropertyFit
from .survey import survey


class Built(NamedTuple):
    """What a run begins with."""

    net: AtomFieldNet
    references: list[ReferenceFit]
    factors: tuple[tuple[str, float], ...]
    """Of the loss, per level: :func:`balance.level_factors`."""
    properties: tuple[PropertyFit, ...] = ()
    """Those that the head got for this run."""
    unlabelled: tuple[tuple[int, int], ...] = ()
    """(number of a set that is trained on with labels, how many of its records have none)."""
    offsets: tuple[tuple[str, str, float], ...] = ()
    """(level, name, mean) of the numbers of fields that are read as their distance from a mean fitted here."""
    dominated: tuple[str, ...] = ()
    """Sentences on scales that one record sets alone."""


def build(
    config: PretrainConfig, train_sets: list[Sequence[Graph]], labelled: Collection[int] | None = None
) -> Built:
    """The network with every scale that it lacks fitted on the training records.

    labelled: numbers of the sets whose labels are trained on, so that their properties get rows in the head; None: all.
    """
    start = None if config.start is None else checkpoint.load(config.start)
    if start is not None:
        _check_size(config, start.config)
    size = NetworkConfig(**config.network.hyperparameters()) if start is None else start.config
    statistics = Statistics(size)
    seen = survey(train_sets, config.fit_records, labelled)
    for sample in seen.samples:
        statistics.add(sample)
    molecules, crystals, atoms, fields = seen.molecules, seen.crystals, seen.atoms, seen.fields
    holders, conditions = seen.holders, seen.conditions
    unlabelled = tuple(seen.unlabelled.items())
    offsets = statistics.without(() if start is None else start.config.levels).offsets()
    centred = {name for _, name in offsets}
    told = tuple((level, name, mean) for (level, name), mean in offsets.items())
    dominated = tuple(statistics.dominated())
    known = () if start is None else start.config.properties
    properties = tuple(
        fit_property(name, holders[name], "auto", "auto")
        for name in sorted(holders.keys() - {p.name for p in known})
    )
    _check_parts(size, config, properties)
    torch.manual_seed(config.seed)
    if start is None:
        net = AtomFieldNet(
            NetworkConfig(
                **config.network.for_data(grids=seen.grids).hyperparameters(),
                conditions=size.reading(conditions),
                levels=tuple(atoms | fields),
                average_neighbors=16.0,
                default_level_atoms=next(iter(molecules or atoms), ""),
                default_level_field=next(iter(fields), ""),
                crystal_levels=tuple(name for name in crystals if name),
                centred=tuple(sorted(centred)),
                auxiliary=config.auxiliary,
                properties=tuple(fit.config for fit in properties),
            )
        )
        fits = normalize(net, statistics)
        with torch.no_grad():
            apply_property_scales(net, properties)
        factors = level_factors(config.balance, net, statistics)
        return Built(net, fits, factors, properties, unlabelled, told, dominated)
    old = start.config
    new = [level for level in atoms | fields if level not in old.levels]
    parts = [
        part for part in (*old.auxiliary, *config.auxiliary) if not (part == "direct" and config.fresh_heads)
    ]
    if "direct" in config.auxiliary:
        parts.append("direct")
    net = grown(
        start,
        old.model_copy(
            update={
                "levels": (*old.levels, *new),
                "conditions": old.reading(conditions),
                "default_level_atoms": old.default_level_atoms or next(iter(molecules or atoms), ""),
                "default_level_field": old.default_level_field or next(iter(fields), ""),
                "crystal_levels": tuple(dict.fromkeys(n for n in (*old.crystal_levels, *crystals) if n)),
                "centred": tuple(sorted({*old.centred, *centred})),
                "auxiliary": tuple(dict.fromkeys(parts)),
                "properties": (*known, *(fit.config for fit in properties)),
                "uncertainty": None,  # of other weights
            }
        ),
        fresh_heads=config.fresh_heads,
    )
    fits = _new_elements(net, statistics, old.levels) + normalize(net, statistics, known=old.levels)
    with torch.no_grad():
        apply_property_scales(net, properties)
    factors = level_factors(config.balance, net, statistics)
    return Built(net, fits, factors, properties, unlabelled, told, dominated)


def _new_elements(net: AtomFieldNet, statistics: Statistics, levels: Sequence[str]) -> list[ReferenceFit]:
    """Levels of the checkpoint keep their references; elements that their new records bring get theirs beside them."""
    fits = []
    for level in levels:
        if level not in statistics.counts:
            continue
        counts = np.array(statistics.counts[level], dtype=np.float64)
        energies = np.array(statistics.energies[level])
        row = net.atom_head.reference[levels.index(level)]
        new = fit_new_elements(row.double().cpu().numpy(), counts, energies)
        if not new:
            continue
        with torch.no_grad():
            row[list(new)] = torch.tensor(list(new.values()), dtype=row.dtype)
        have = counts[:, list(new)].sum(1) > 0
        left = (energies[have] - counts[have] @ row.double().cpu().numpy()) / counts[have].sum(1)
        residual = float(np.sqrt(np.mean(left**2)))
        if residual > WORST_RESIDUAL:
            names = ", ".join(chemical_symbols[z] for z in new)
            raise InputError(
                f"records of level {level!r} with {names}, which the checkpoint does not know, lie {residual:.1f} eV per atom "
                f"(RMS) off its references, expected below {WORST_RESIDUAL:g}: these energies have another zero; give these "
                "records a level of their own"
            )
        fits.append(ReferenceFit(level, new, residual, int(have.sum())))
    return fits


def check_pieces(net: AtomFieldNet, config: PretrainConfig, processes: int) -> None:
    """``InputError`` where DeepSpeed cannot cut the weights: at stage 3 it ends when it gathers a tensor without numbers."""
    used = [name for name, p in net.named_parameters() if not p.numel()]
    if not net.config.properties:  # that head is never called
        used = [name for name in used if not name.startswith("property_head.")]
    if config.zero_stage == 3 and processes > 1 and used:
        raise InputError(
            f"zero_stage 3 on {processes} processes cannot cut a network with empty weights (the first is {used[0]}), which one "
            "without unnatural channels or degrees has (size xs, symmetry none); take a larger network or zero_stage 2"
        )


def _check_parts(size: NetworkConfig, config: PretrainConfig, properties: Sequence[PropertyFit]) -> None:
    """``InputError`` where the network is too small for what it is to say or to read."""
    if size.symmetry == "O3" and size.lmax == 0 and {"direct", "given_forces"} & set(config.auxiliary):
        raise InputError(
            "network.lmax is 0, expected at least 1 for forces: direct and for denoise_forces: forces as a head or as an input "
            "are vectors"
        )
    for fit in properties:
        if size.symmetry == "O3" and (lack := size.lacks(fit.config)):
            raise InputError(
                f"property {fit.config.name!r} of the records has irreps {fit.config.irreps}, {lack}; take a larger network, "
                "such as size s, or prepare the source without it"
            )


def _check_size(config: PretrainConfig, found: NetworkConfig) -> None:
    """A network that the configuration gives must be that of the checkpoint; one that it leaves out is."""
    if "network" not in config.model_fields_set:
        return
    for name, value in config.network.hyperparameters().items():
        theirs = getattr(found, name)
        if name in config.network.model_fields_set and name != "contains" and theirs != value:
            raise InputError(
                f"network.{name} is {value!r} and the checkpoint's {theirs!r}; leave network out of a configuration with start",
                str(config.start),
            )
