"""Finetuning from one command: read, split, fit references, grow the checkpoint, train, evaluate, report."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import yaml
from rich.console import Console

from atomfield.data.checks import Overlap
from atomfield.data.errors import InputError, RunError
from atomfield.data.graph import Graph
from atomfield.data.loader import Loader
from atomfield.data.quantities import FIELD_INPUTS, FIELD_STATES
from atomfield.data.steady import unsolved
from atomfield.inference.inputs import refuse_incomplete
from atomfield.models import checkpoint
from atomfield.models.config import ByLevel, NetworkConfig
from atomfield.models.denormals import flushed_denormals
from atomfield.models.network import AtomFieldNet
from atomfield.models.priors import explain
from atomfield.pretrain.config import OptimizerConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine
from atomfield.pretrain.normalize import Statistics
from atomfield.pretrain.property_fits import fit_property
from atomfield.pretrain.record import Record
from atomfield.pretrain.ridge import PropertyFit
from atomfield.pretrain.run import pick_device
from atomfield.pretrain.streams import Batches, Stream
from atomfield.pretrain.validate import errors

from .boosted import boosted
from .card import card
from .closed_form_instead import of_numbers, worth_a_look
from .config import FinetuneConfig, Strategy
from .evaluate import evaluate, write_metrics
from .extend import (
    centre,
    check_elements,
    closest_level,
    extended,
    fit_scales,
    forget_untaught,
    fresh,
    size_of,
)
from .frozen import solve
from .ignored import ignored
from .lora import merge
from .mirror import drift
from .mistakes import check_records, is_answered
from .outliers import without_outliers
from .parts import Parts, check_overlap, level_of, read_parts
from .replay import forgotten, remembered, replay_streams, replayed
from .settled import settled
from .states import adopt_states
from .strategy import RATES, apply_strategy, choose, groups_of, relative_rates
from .tasks import Task, task_of
from .train import VALIDATION_BATCHES, Schedule, score, train
from .uncertainty import fit_uncertainty, without_uncertainty


@dataclass
class Trained:
    """A finished training: the network, what it was trained for and on, and what was said on the way."""

    net: AtomFieldNet
    task: Task
    parts: Parts
    shared: Overlap
    history: list[dict[str, float]]
    level: str
    remembered: dict[str, float]
    """Errors on replayed sources, ``KEY_before`` and ``KEY_after``."""


def finetune(
    config: FinetuneConfig,
    parts: Parts | None = None,
    *,
    control: dict[str, float] | None = None,
    console: Console | None = None,
) -> dict[str, float]:
    """One run of ``config``; returns the metrics of ``metrics.json``. ``parts`` replaces reading ``train``, ``valid``, ``test``;
    ``control`` are the metrics of a from-scratch run to print beside. Searches, folds and curves: ``study.py``."""
    console = console or Console(stderr=True)
    done = trained(config, parts or read_parts(config, console), console)
    net, task = done.net, done.task
    if config.uncertainty != "none":
        for note in fit_uncertainty(net, task.names, done.level, done.parts.train, done.parts.valid):
            console.print(note, highlight=False, markup=False)
    checkpoint.save(net, config.out / "model", card(config, net, task, done.parts))
    test = done.parts.test
    judged = tuple(n for n in task.names if any(is_answered(g, n) for g in test))
    if others := [n for n in task.names if n not in judged]:
        console.print(f"{', '.join(others)}: no label among these records, so it is not judged", markup=False)
    what = "validation records (no --test was given)" if done.parts.test_is_valid else "test records"
    console.print(f"Evaluating on {len(test)} {what}")
    metrics = evaluate(
        net,
        test,
        judged,
        config.out,
        train=done.parts.train,
        history=done.history,
        control=control,
        shared=done.shared,
        calibrated_here=done.parts.test_is_valid,
        title=f"{', '.join(task.names)} on {len(test)} {what}",
        console=console,
    )
    if done.remembered:
        metrics |= done.remembered
        write_metrics(metrics, config.out / "metrics.json")
    (config.out / "model" / "README.md").write_text(
        card(config, net, task, done.parts, metrics), encoding="utf-8"
    )
    return metrics


def run_control(config: FinetuneConfig, parts: Parts, console: Console) -> dict[str, float] | None:
    """The metrics of the same network trained from random weights in ``out/scratch``; None where no control is asked for."""
    if not config.control:
        return None
    console.rule("control: from random weights")
    changes = {"strategy": "scratch", "control": False, "replay": (), "out": config.out / "scratch"}
    return finetune(config.model_copy(update=changes), parts, console=console)


def validation_score(config: FinetuneConfig, parts: Parts, console: Console) -> float:
    """Train, and score on the validation records alone (see ``train.score``); nothing but the log of the training is kept."""
    done = trained(config, parts, console)
    return _judged(done.net, config, done.task, done.parts, pick_device(config.device))


def _judged(net: AtomFieldNet, config: FinetuneConfig, task: Task, parts: Parts, device: str) -> float:
    """The score of ``net`` on the validation records."""
    valid = Stream(
        _as_problems(parts.valid, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=10_000,
        seed=config.seed,
    )
    with torch.no_grad():
        return score(net, errors(net.eval(), valid, device, VALIDATION_BATCHES))


def trained(config: FinetuneConfig, parts: Parts, console: Console) -> Trained:
    """Check the records, make the network ready and train it; test records are only checked."""
    device = pick_device(config.device)
    start = None if config.start == "scratch" else checkpoint.load(config.start)
    level = level_of(config, parts)
    parts = Parts(
        _with_level(parts.train, level),
        _with_level(parts.valid, level),
        _with_level(parts.test, level),
        parts.test_is_valid,
    )
    task = task_of(config.target, parts.train)
    others = {"valid": parts.valid, **({} if parts.test_is_valid else {"test": parts.test})}
    check_records(
        config, task, parts.train, others, lambda text: console.print(text, highlight=False, markup=False)
    )
    shared = check_overlap(config, parts, console)
    choice = choose(config, task, len(parts.train))
    net, notes = prepare_network(config, start, task, level, parts.train, choice.strategy)
    check_elements(net, [*parts.valid, *parts.test], task.names)
    for graph in (*parts.valid, *parts.test):
        refuse_incomplete(net, graph)
    notes.insert(0, f"strategy {choice.strategy}: {choice.reason}")
    notes += ignored(config, task, choice.strategy)
    notes += drift(task, parts.train)
    for note in notes:
        console.print(note, highlight=False, markup=False)
    config.out.mkdir(parents=True, exist_ok=True)
    (config.out / "config.yaml").write_text(
        yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)
    )
    net.backbone.recompute = config.recompute
    net.to(device).backbone.prepare()
    before = remembered(config, net, device)
    untrained = copy.deepcopy(net) if worth_a_look(config, choice.strategy, net, task, parts) else None
    history = adapt_network(config, choice.strategy, net, task, parts, device, console)
    if of_numbers(config, choice.strategy, net, task, parts):
        judge = lambda one: _judged(one, config, task, parts, device)  # noqa: E731
        net = settled(net, untrained, config, task, parts, device, judge, console)
    after = remembered(config, net, device)
    for line in forgotten(before, after):
        console.print(line, highlight=False, markup=False)
    kept = {f"{k}_before": v for k, v in before.items()} | {f"{k}_after": v for k, v in after.items()}
    return Trained(net, task, parts, shared, history, level, kept)


def prepare_network(
    config: FinetuneConfig,
    start: AtomFieldNet | None,
    task: Task,
    level: str,
    graphs: Sequence[Graph],
    strategy: Strategy = "full",
) -> tuple[AtomFieldNet, list[str]]:
    """The network with its new rows and refitted scales, and what to tell the person about it."""
    graphs = _as_problems(graphs, task)
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
        labels, levels = replayed(config)
        far, said = beyond_cutoff(config, start.config, task, strategy)
        notes += said
        net = extended(start, task, level, fits, source, terms.contains, labels, far, conditions)
        notes.append(
            f"level {level!r}: {'known to the checkpoint' if source == level else f'new, starts as a copy of {source!r}'}"
        )
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
        notes += centre(net, level, statistics)
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


def adapt_network(
    config: FinetuneConfig,
    strategy: Strategy,
    net: AtomFieldNet,
    task: Task,
    parts: Parts,
    device: str,
    console: Console,
) -> list[dict[str, float]]:
    """Solve or train ``net`` in place as the strategy says; returns the history (empty where nothing was trained)."""
    if strategy == "frozen":
        for line in solve(net, parts.train, task.properties, device):
            console.print(line, highlight=False, markup=False)
        return []
    if strategy == "boosted":
        free = config.pooling == "auto"
        for line in boosted(
            net, parts.train, parts.valid, task.properties, device, config.seed, free_pooling=free
        ):
            console.print(line, highlight=False, markup=False)
        return []
    console.print(apply_strategy(net, config, strategy, task), highlight=False)
    try:
        return fit(config, strategy, net, task, parts, device)
    except torch.OutOfMemoryError as error:
        edges, graphs = budgets(config, task)
        raise RunError(
            f"the memory of {device} is full ({str(error).splitlines()[0]}): lower max_edges (pairs in a batch, {edges}; "
            f"validation takes four times as many) or max_graphs ({graphs}), or take a smaller network"
        ) from error
    finally:
        merge(net)


@flushed_denormals()
def fit(
    config: FinetuneConfig, strategy: Strategy, net: AtomFieldNet, task: Task, parts: Parts, device: str
) -> list[dict[str, float]]:
    """Train ``net`` in place on ``parts``; returns the history."""
    edges, graphs = budgets(config, task)
    noise = config.noise if task.world == "field" and not task.steady else 0.0
    stream = Stream(
        _as_problems(parts.train, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=edges,
        max_graphs=graphs,
        seed=config.seed,
        noise=noise,
    )
    streams = [stream, *replay_streams(config, net, edges)]
    valid = Stream(
        _as_problems(parts.valid, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=4 * edges,
        seed=config.seed,
    )
    rate = config.learning_rate or RATES[strategy]
    optimizer = OptimizerConfig(
        learning_rate=rate,
        weight_decay=config.weight_decay,
        gradient_clipping=config.gradient_clipping,
        ema_decay=config.ema_decay,
    )
    steps = config.steps or (1_000_000 if config.max_time else default_steps(stream))
    (config.out / "metrics.jsonl").unlink(missing_ok=True)
    record = Record(config.out, steps, main=True, title="finetune")
    keys = ((which, number) for number in itertools.count() for which in range(len(streams)))
    try:
        rates = relative_rates(net, strategy, config.layer_decay, task)
        engine = TorchEngine(net, groups_of(net, rates, optimizer.weight_decay), optimizer)
        schedule = Schedule(steps, config.max_time, rate, config.clock)
        ema = Ema(net, optimizer.ema_decay)
        with Loader(Batches(tuple(streams)), keys, pin=device.startswith("cuda")) as batches:
            return train(net, engine, ema, streams, batches, valid, schedule, config.loss, record, device)
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


def _as_problems(graphs: Sequence[Graph], task: Task) -> list[Graph]:
    """Records of a steady problem without its solution among the inputs; others as they are."""
    return [unsolved(g, task.names) for g in graphs] if task.steady else list(graphs)


def _with_level(graphs: Sequence[Graph], level: str) -> list[Graph]:
    return [g if g.level == level else replace(g, level=level) for g in graphs]
