"""Finetuning from one command: read, split, fit references, grow the checkpoint, train, evaluate, report."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import yaml
from rich.console import Console

from atomfield.data.checks import Overlap, check_share, overlap
from atomfield.data.errors import InputError
from atomfield.data.graph import Graph
from atomfield.data.loader import Loader
from atomfield.data.readers import BadRecord, ReadOptions
from atomfield.data.source import open_source
from atomfield.data.splits import split_groups
from atomfield.data.steady import unsolved
from atomfield.models import checkpoint
from atomfield.models.config import NetworkConfig
from atomfield.models.network import AtomFieldNet
from atomfield.models.priors import explain
from atomfield.pretrain.config import OptimizerConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.normalize import Statistics, reference_table
from atomfield.pretrain.record import Record
from atomfield.pretrain.run import pick_device
from atomfield.pretrain.streams import Stream

from .card import card
from .config import FinetuneConfig
from .evaluate import evaluate
from .extend import check_elements, closest_level, extended, fit_scales, fresh
from .tasks import PropertyFit, Task, fit_property, task_of
from .train import Schedule, train
from .uncertainty import fit_uncertainty, without_uncertainty

NEW_LEVEL = "finetuned"
SMALLEST_SERIES = 8
"""Times of the shortest single trajectory that is cut into training and validation blocks."""


@dataclass
class Parts:
    """Training, validation and test records of a run."""

    train: list[Graph]
    valid: list[Graph]
    test: list[Graph]
    test_is_valid: bool = False


def finetune(
    config: FinetuneConfig,
    parts: Parts | None = None,
    *,
    control: dict[str, float] | None = None,
    console: Console | None = None,
) -> dict[str, float]:
    """Run ``config`` and return the metrics of ``metrics.json``. ``parts`` replaces reading ``train``, ``valid``, ``test``;
    ``control`` are the metrics of a from-scratch run to print beside."""
    console = console or Console(stderr=True)
    device = pick_device(config.device)
    start = None if config.start == "scratch" else checkpoint.load(config.start)
    parts = parts or read_parts(config, console)
    level = config.level or next((g.level for g in parts.train if g.level), "") or NEW_LEVEL
    parts = Parts(
        _with_level(parts.train, level),
        _with_level(parts.valid, level),
        _with_level(parts.test, level),
        parts.test_is_valid,
    )
    task = task_of(config.target, parts.train)
    shared = check_overlap(config, parts, console)
    net, notes = prepare_network(config, start, task, level, parts.train)
    check_elements(net, [*parts.valid, *parts.test], task.names)
    for note in notes:
        console.print(note, highlight=False)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)
    )
    net.backbone.recompute = config.recompute
    net.to(device).backbone.prepare()
    history = fit(config, net, task, parts, device)
    if config.uncertainty != "none":
        for note in fit_uncertainty(net, task.names, level, parts.train, parts.valid):
            console.print(note, highlight=False)
    checkpoint.save(net, config.out / "model", card(config, net, task, parts))
    what = "validation records (no --test was given)" if parts.test_is_valid else "test records"
    console.print(f"Evaluating on {len(parts.test)} {what}")
    metrics = evaluate(
        net,
        parts.test,
        task.names,
        config.out,
        train=parts.train,
        history=history,
        control=control,
        shared=shared,
        calibrated_here=parts.test_is_valid,
        title=f"{', '.join(task.names)} on {len(parts.test)} {what}",
        console=console,
    )
    (config.out / "model" / "README.md").write_text(card(config, net, task, parts, metrics), encoding="utf-8")
    return metrics


def read_parts(config: FinetuneConfig, console: Console) -> Parts:
    """Read the sources; hold out validation records by groups where none are given."""
    options = ReadOptions(
        map=dict(config.map),
        targets=config.target,
        conformers=config.conformers,
        seed=config.seed,
        on_bad=config.on_bad,
        level=config.level,
        units=dict(config.units),
        declared=dict(config.target_irreps),
        classes=dict(config.classes),
    )
    bad: list[BadRecord] = []

    def gather(sources: tuple[str, ...]) -> list[Graph]:
        graphs: list[Graph] = []
        for source in sources:
            skipped: list[BadRecord] = []
            its = open_source(source, options, skipped)
            check_share(skipped, len(its), config.max_bad, source)
            graphs += its
            bad.extend(skipped)
        return graphs

    train_part, valid_part, test_part = gather(config.train), gather(config.valid), gather(config.test)
    if bad:
        console.print(
            f"[yellow]left out {len(bad)} bad records, the first: {bad[0].where}: {bad[0].message}[/yellow]"
        )
    if not train_part:
        raise InputError("no record could be read", ", ".join(config.train))
    if not valid_part and len(train_part) == 1 and train_part[0].num_times >= SMALLEST_SERIES:
        train_part, valid_part = split_in_time(train_part[0], config.valid_fraction)
        console.print(
            "one trajectory: its last part is held out for validation, after a gap of the same length"
        )
    elif not valid_part:
        kept, held = split_groups(
            [g.group or str(g.provenance) for g in train_part], config.valid_fraction, config.seed
        )
        train_part, valid_part = [train_part[i] for i in kept], [train_part[i] for i in held]
    console.print(f"{len(train_part)} training, {len(valid_part)} validation, {len(test_part)} test records")
    if not train_part or not valid_part:
        raise InputError(
            f"{len(train_part)} training and {len(valid_part)} validation records, expected at least one of each; give "
            "more data or --valid",
            ", ".join(config.train),
        )
    return Parts(train_part, valid_part, test_part or valid_part, test_is_valid=not test_part)


def check_overlap(config: FinetuneConfig, parts: Parts, console: Console) -> Overlap:
    """What the records that the report is about share with the training records.

    Raises ``InputError`` where they are the same set, or where anything is shared and ``on_leak`` is ``raise``.
    """
    names = {"valid": ", ".join(config.valid) or "a part of --train", "test": ", ".join(config.test)}
    sets = {"test": parts.test} if not parts.test_is_valid else {}
    if config.valid or parts.test_is_valid:
        sets["valid"] = parts.valid
    found = {}
    for name, graphs in sets.items():
        found[name] = overlap(parts.train, graphs, config.target, f"--{name} {names[name]}")
        found[name].refuse(config.on_leak if name == "test" or config.valid else "report")
        for finding in found[name].findings():
            if finding.severity != "note":
                console.print(f"[yellow]{finding.line()}[/yellow]", highlight=False)
    return found["valid"] if parts.test_is_valid else found["test"]


def split_in_time(graph: Graph, fraction: float) -> tuple[list[Graph], list[Graph]]:
    """Blocks of one trajectory: training, a gap as long as the validation block, validation."""
    size = max(2, round(fraction * graph.num_times))
    total = graph.num_times
    return [graph.window(0, total - 2 * size)], [graph.window(total - size, total)]


def prepare_network(
    config: FinetuneConfig, start: AtomFieldNet | None, task: Task, level: str, graphs: Sequence[Graph]
) -> tuple[AtomFieldNet, list[str]]:
    """The network with its new rows and refitted scales, and what to tell the person about it."""
    graphs = [unsolved(g, task.names) for g in graphs] if task.steady else graphs
    terms = start.config if start is not None else NetworkConfig(**config.network.hyperparameters())
    terms = terms.model_copy(
        update={"contains": tuple((dict(terms.contains) | config.network.contains).items())}
    )
    statistics = Statistics(terms)
    statistics.add(graphs)
    fits: list[PropertyFit] = [
        fit_property(
            name,
            graphs,
            config.task,
            config.pooling,
            config.parity,
            nonnegative=name in config.nonnegative,
            classes=config.classes.get(name, ()),
        )
        for name in task.properties
    ]
    notes = [f"{f.config.name}: {f.reason}" for f in fits]
    if start is None:
        size = config.network.for_data(grids=any(g.is_periodic_grid for g in graphs))
        if size.fourier and config.network.fourier is None:
            notes.append("periodic grids: every layer also works in Fourier space (network.fourier)")
        net = fresh(size, task, level, fits, config.seed)
    else:
        torch.manual_seed(config.seed)
        source = level if level in start.config.levels else closest_level(start, task, graphs, statistics)
        net = extended(start, task, level, fits, source, terms.contains)
        notes.append(
            f"level {level!r}: {'known to the checkpoint' if source == level else f'new, starts as a copy of {source!r}'}"
        )
    if task.steady:
        notes.append(
            f"records have one time each: {', '.join(task.names)} as a steady problem, from the other fields"
        )
    if task.world == "atoms":
        notes += explain(net.config, [level])
    references = fit_scales(net, task, level, statistics, fits, scratch=start is None)
    if references:
        notes.append("Reference energies\n" + reference_table(references))
    return checkpoint.cast(without_uncertainty(net), getattr(torch, config.dtype)), notes


def fit(
    config: FinetuneConfig, net: AtomFieldNet, task: Task, parts: Parts, device: str
) -> list[dict[str, float]]:
    """Train ``net`` in place on ``parts``; returns the history."""
    edges, graphs = budgets(config, task)
    noise = config.noise if task.world == "field" and not task.steady else 0.0
    train_part, valid_part = (
        [unsolved(g, task.names) for g in part] if task.steady else part
        for part in (parts.train, parts.valid)
    )
    stream = Stream(
        train_part,
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=edges,
        max_graphs=graphs,
        seed=config.seed,
        noise=noise,
    )
    valid = Stream(valid_part, task.targets, cutoff=net.config.cutoff, max_edges=4 * edges, seed=config.seed)
    rate = config.learning_rate or (4e-3 if config.start == "scratch" else 2e-3)
    optimizer = OptimizerConfig(
        learning_rate=rate,
        weight_decay=config.weight_decay,
        gradient_clipping=config.gradient_clipping,
        ema_decay=config.ema_decay,
    )
    steps = config.steps or (1_000_000 if config.max_time else default_steps(stream))
    (config.out / "metrics.jsonl").unlink(missing_ok=True)
    record = Record(config.out, steps, main=True, title="finetune")
    try:
        engine = TorchEngine(net, parameter_groups(net, optimizer.weight_decay), optimizer)
        schedule = Schedule(steps, config.max_time, rate)
        ema = Ema(net, optimizer.ema_decay)
        with Loader(stream.batch, itertools.count(), pin=device.startswith("cuda")) as batches:
            return train(net, engine, ema, stream, batches, valid, schedule, config.loss, record, device)
    finally:
        record.close()


def budgets(config: FinetuneConfig, task: Task) -> tuple[int, int]:
    """(edges, graphs) of a micro-batch: small batches for potential energy surfaces, larger ones for noisy scalars."""
    if task.world == "field":
        edges, graphs = 5_000, 16
    elif task.properties:
        edges, graphs = 10_000, 32
    else:
        edges, graphs = 2_000, 8
    return config.max_edges or edges, config.max_graphs or graphs


def default_steps(stream: Stream) -> int:
    """Enough epochs for small sets, bounded for large ones: between 1,000 and 20,000 steps."""
    return max(1_000, min(20_000, 60 * stream.micro_batches_per_epoch))


def _with_level(graphs: Sequence[Graph], level: str) -> list[Graph]:
    return [g if g.level == level else replace(g, level=level) for g in graphs]
