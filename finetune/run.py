"""Finetuning from one command: read, split, fit references, grow the checkpoint, train, evaluate, report."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
import yaml
from rich.console import Console

from atomfield.data.checks import Overlap
from atomfield.inference.inputs import refuse_incomplete
from atomfield.inference.write import write_metrics
from atomfield.models import checkpoint
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.alone import alone_in
from atomfield.pretrain.processes import pick_device
from atomfield.pretrain.streams import Stream
from atomfield.pretrain.validate import errors

from . import trained_on
from .assess import MAX_EDGES
from .card import card
from .closed_form_instead import of_numbers, worth_a_look
from .config import FinetuneConfig
from .evaluate import evaluate
from .extend import check_elements
from .finished import asked_of, forget, known, remember
from .fit import History, Job, adapt_network
from .ignored import ignored
from .mirror import drift
from .mistakes import check_records, is_answered
from .parts import Parts, check_overlap, level_of, read_parts
from .prepare import as_problems, prepare_network, with_level
from .replay import forgotten, remembered
from .resume import States, remove
from .settled import settled
from .strategy import choose
from .tasks import Task, task_of
from .train import VALIDATION_BATCHES, score
from .uncertainty import fit_uncertainty

CONTROL = "scratch"
"""Folder of the control, in that of the run."""


@dataclass
class Trained:
    """A finished training: the network, what it was trained for and on, and what was said on the way."""

    net: AtomFieldNet
    task: Task
    parts: Parts
    shared: Overlap
    history: History
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
    ``control`` are the metrics of a from-scratch run to print beside. Searches, folds and curves: ``study.py``.

    A training that was interrupted in ``config.out`` goes on. Raises ``Interrupted`` after saving where a signal asks to stop.
    """
    console = console or Console(stderr=True)
    done = _trained(config, parts or read_parts(config, console), console)
    net, task = done.net, done.task
    max_edges = min(MAX_EDGES, config.piece_edges or MAX_EDGES)
    if config.uncertainty != "none":
        for note in fit_uncertainty(
            net, task.names, done.level, done.parts.train, done.parts.valid, max_edges
        ):
            console.print(note, highlight=False, markup=False)
    checkpoint.save(net, config.out / "model", card(config, net, task, done.parts))
    trained_on.write(config.out / "model", config, done.parts.train)
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
        max_edges=max_edges,
        title=f"{', '.join(task.names)} on {len(test)} {what}",
        console=console,
    )
    if done.remembered:
        metrics |= done.remembered
        write_metrics(metrics, config.out / "metrics.json")
    (config.out / "model" / "README.md").write_text(
        card(config, net, task, done.parts, metrics), encoding="utf-8"
    )
    remove(config.out)
    forget(config.out / CONTROL)
    return metrics


def run_control(config: FinetuneConfig, parts: Parts, console: Console) -> dict[str, float] | None:
    """The metrics of the same network trained from random weights in ``out/scratch``; None where no control is asked for. Until
    the run beside it is finished, too, it is not trained again."""
    if not config.control:
        return None
    console.rule("control: from random weights")
    changes = {"strategy": "scratch", "control": False, "replay": (), "out": config.out / CONTROL}
    one = config.model_copy(update=changes)
    asked = asked_of(one, parts)
    if (found := known(one.out, asked, console)) is not None:
        return found
    metrics = finetune(one, parts, console=console)
    remember(one.out, asked, metrics)
    return metrics


def validation_score(config: FinetuneConfig, parts: Parts, console: Console) -> float:
    """Train, and score on the validation records alone (see ``train.score``); nothing but the log of the training is kept."""
    done = _trained(config, parts, console)
    found = _judged(done.net, config, done.task, done.parts, pick_device(config.device))
    remove(config.out)
    return found


def _judged(net: AtomFieldNet, config: FinetuneConfig, task: Task, parts: Parts, device: str) -> float:
    """The score of ``net`` on the validation records."""
    valid = Stream(
        as_problems(parts.valid, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=10_000,
        seed=config.seed,
        piece_edges=config.piece_edges,
    )
    with torch.no_grad():
        return score(net, errors(net.eval(), valid, device, VALIDATION_BATCHES))


def trained(config: FinetuneConfig, parts: Parts, console: Console) -> Trained:
    """Check the records, make the network ready and train it; test records are only checked."""
    done = _trained(config, parts, console)
    remove(config.out)
    return done


def _trained(config: FinetuneConfig, parts: Parts, console: Console) -> Trained:
    """As :func:`trained`, with the last state left for who has more to do before the run is finished."""
    device = pick_device(config.device)
    start = None if config.start == "scratch" else checkpoint.load(config.start)
    level = level_of(config, parts)
    parts = Parts(
        with_level(parts.train, level),
        with_level(parts.valid, level),
        with_level(parts.test, level),
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
    with alone_in(config.out, main=True):
        states = States(config.out, config, parts)
        (config.out / "config.yaml").write_text(
            yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)
        )
        job = Job(config, choice.strategy, net, task, parts, device, console, states)
        history, net, kept = _fitted(job)
    return Trained(net, task, parts, shared, history, level, kept)


def _fitted(job: Job) -> tuple[History, AtomFieldNet, dict[str, float]]:
    """Train or solve the prepared network; its history, the network that is kept, and the errors on replayed sources."""
    config, net, device = job.config, job.net, job.device
    net.backbone.recompute = config.recompute
    net.to(device).backbone.prepare()
    before = remembered(config, net, device)
    untrained = copy.deepcopy(net) if worth_a_look(job) else None
    history = adapt_network(job)
    if of_numbers(job):
        net = settled(job, untrained, lambda one: _judged(one, config, job.task, job.parts, device))
    after = remembered(config, net, device)
    job.say(forgotten(before, after))
    kept = {f"{k}_before": v for k, v in before.items()} | {f"{k}_after": v for k, v in after.items()}
    return history, net, kept
