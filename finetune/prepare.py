"""The network of a finetuning: grown from a checkpoint or fresh, with its rows, references and scales, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.quantities import FIELD_INPUTS, FIELD_STATES
from atomfield.data.steady import unsolved
from atomfield.models import checkpoint
from atomfield.models.config import ByLevel, NetworkConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.priors import explain
from atomfield.pretrain.normalize import Statistics
from atomfield.pretrain.property_fits import fit_property
from atomfield.pretrain.ridge import PropertyFit

from .config import FinetuneConfig, Strategy
from .extend import (
    begin_without_change,
    centre_level,
    closest_level,
    extended,
    fit_scales,
    forget_untaught,
    fresh,
    size_of,
    worse_than_no_change,
)
from .outliers import without_outliers
from .replay import replayed
from .states import adopt_states
from .tasks import Task
from .uncertainty import without_uncertainty


def prepare_network(
    config: FinetuneConfig,
    start: AtomFieldNet | None,
    task: Task,
    level: str,
    graphs: Sequence[Graph],
    strategy: Strategy = "full",
) -> tuple[AtomFieldNet, list[str]]:
    """The network with its new rows and refitted scales, and what to tell the person about it."""
    graphs = as_problems(graphs, task)
    terms = start.config if start is not None else NetworkConfig(**config.network.hyperparameters())
    terms = terms.model_copy(
        update={"contains": tuple((dict(terms.contains) | config.network.contains).items())}
    )
    statistics = Statistics(terms)
    statistics.add(graphs)
    usual = {name: without_outliers(name, graphs, config.classes.get(name, ())) for name in task.properties}
    fits: list[PropertyFit] = [
        fit_property(
            name,
            usual[name][0],
            config.task,
            config.pooling,
            config.parity,
            nonnegative=name in config.nonnegative,
            classes=config.classes.get(name, ()),
        )
        for name in task.properties
    ]
    notes = [said for _, said in usual.values() if said]
    notes += [f"{f.config.name}: {f.reason}" for f in fits]
    source, conditions = level, {name for g in graphs for name in g.conditions}
    if start is None or strategy == "scratch":
        if start is not None:  # the network that would be trained from the checkpoint
            far, _ = beyond_cutoff(config, start.config, task, "full")
            size = size_of(start.config).model_copy(update={"long_range": far})
        else:
            size = config.network.for_data(grids=any(g.is_periodic_grid for g in graphs), steady=task.steady)
            if size.fourier and config.network.fourier is None:
                notes.append("periodic grids: every layer also works in Fourier space (network.fourier)")
        net = fresh(size, task, level, fits, config.seed, conditions)
    else:
        torch.manual_seed(config.seed)
        known = level in start.config.levels
        if not known:
            notes += adopt_states(start, task, graphs)
        source = level if known else closest_level(start, task, graphs)
        strange = [] if known else worse_than_no_change(start, task, graphs, source)
        labels, levels = replayed(config)
        far, said = beyond_cutoff(config, start.config, task, strategy)
        notes += said
        net = extended(start, task, level, fits, source, terms.contains, labels, far, conditions)
        notes.append(
            f"level {level!r}: {'known to the checkpoint' if source == level else f'new, starts as a copy of {source!r}'}"
        )
        if strange:
            notes.append(begin_without_change(net, level, strange, source))
        stays = strategy in ("heads", "frozen", "boosted") and len(task.properties) == len(task.names)
        if source != level or not (stays or level in levels):
            untold = forget_untaught(net, task, level)
            if untold and task.world == "atoms":
                notes.append(
                    f"level {level!r} says nothing of {', '.join(sorted(untold))}, which the targets do not teach"
                )
        if gone := {p.name for p in start.config.properties} - {p.name for p in net.config.properties}:
            notes.append(
                f"left out: {', '.join(sorted(gone))}, properties of the checkpoint that this run does not train on; what they "
                "read changes, so ask the checkpoint for them, or replay records that have them (--replay)"
            )
    if task.steady:
        notes.append(
            f"records have one time each: {', '.join(task.names)} as a steady problem, from the other fields"
        )
    elif inputs := sorted(
        {n for g in graphs for n in g.quantities if n in FIELD_STATES and n not in task.names}
    ):
        notes.append(f"{', '.join(inputs)}: no target, so an input that follows the record in rollouts")
    if task.world == "atoms":
        notes += explain(net.config, [level])
    fresh_start = start is None or strategy == "scratch"
    if task.world == "field":
        notes += centre_level(net, level, statistics)
    lines = fit_scales(
        net,
        task,
        level,
        statistics,
        fits,
        scratch=fresh_start,
        source=None if fresh_start else source,
        mode=config.references,
    )
    if lines:
        notes.append("\n".join(lines))
    if task.world == "field":
        net.config = net.config.model_copy(update={"inputs": _inputs(net.config, task, level, graphs)})
    return checkpoint.cast(without_uncertainty(net), getattr(torch, config.dtype)), notes


def beyond_cutoff(
    config: FinetuneConfig, theirs: NetworkConfig, task: Task, strategy: Strategy
) -> tuple[str, list[str]]:
    """What acts beyond the cutoff in a network that starts from a checkpoint, and what to tell the person about it.

    Raises ``InputError`` where the checkpoint has something else than is asked for, or nothing would train what is added.
    """
    asked, has = config.network.long_range, theirs.long_range
    if asked in (None, has):
        if asked is None and task.steady and strategy == "full" and has == "none":
            return "coarse", [
                "a steady problem: coarse levels are added to the checkpoint (network.long_range)"
            ]
        return has, []
    if has != "none":
        raise InputError(f"network.long_range is {asked!r} and the checkpoint's {has!r}; leave it out")
    if strategy != "full":
        raise InputError(
            f"network.long_range {asked!r} would be added to the checkpoint and stay untrained with strategy {strategy!r}; "
            "take strategy full, or leave it out"
        )
    return asked, []


def _inputs(config: NetworkConfig, task: Task, level: str, graphs: Sequence[Graph]) -> ByLevel:
    """The checkpoint's table with ``level``: what all of ``graphs`` have and the network does not find."""
    always = tuple(n for n in FIELD_INPUTS if n not in task.names and all(n in g.quantities for g in graphs))
    return tuple({**dict(config.inputs), level: always}.items())


def as_problems(graphs: Sequence[Graph], task: Task) -> list[Graph]:
    """Records of a steady problem without its solution among the inputs; others as they are."""
    return [unsolved(g, task.names) for g in graphs] if task.steady else list(graphs)


def with_level(graphs: Sequence[Graph], level: str) -> list[Graph]:
    """The same records, all of ``level``."""
    return [g if g.level == level else replace(g, level=level) for g in graphs]
