"""Trials of physics penalties in a pretraining run (the rule: ``penalties.py``), the same on every rank.

Each copy makes its batches anew from their numbers, so that none is kept in memory. Steps of a trial count as steps of the run
and use up its data. A run that is told to stop during a trial goes back to where the trial began, saves and ends; the trial is
then made when it goes on, with the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from . import loop
from .config import LossWeights, PretrainConfig
from .loop import Run, loader_of, save
from .penalties import length_of, try_penalties
from .ranks import from_main
from .record import Record
from .schedule import seconds_of
from .step import finite, guarded_step
from .streams import Stream
from .validate import Stopped, errors_of, score_of


def why_none(config: PretrainConfig, validation: list[Stream]) -> str:
    """A sentence where penalties are asked for and cannot be tried; empty otherwise."""
    if not config.loss.physics:
        return ""
    if config.zero_stage == 3:
        return "physics penalties are not tried at zero_stage 3: they stay on whether they help or not"
    if not validation:
        return "physics penalties are not tried, since there are no validation records: they stay on whether they help or not"
    return ""


def tried(run: Run, record: Record) -> bool:
    """Make the trial that is due, and go on from its best copy. True if the run was told to stop meanwhile."""
    begun, now = replace(run.here), seconds_of(run.config.clock)
    since = now()
    count = length_of(begun.step)
    if run.config.max_time is None:
        count = min(count, run.config.steps - begun.step)
    try:
        trial = try_penalties(
            run.engine, run.net, run.ema, run.loss, count, lambda weights: _steps(run, weights, count, begun.step),
            lambda: _score(run),
        )  # fmt: skip
    except Stopped:
        run.here = begun
        if run.saved < begun.step:
            save(run)
        return True
    run.here = replace(
        begun,
        step=begun.step + count,
        seconds=begun.seconds + now() - since,
        trials=begun.trials + 1,
        switched_off=[*begun.switched_off, *trial.dropped],
    )
    record.write({"step": run.here.step, "seconds": run.here.seconds, **trial.row()})
    record.say(trial.sentences())
    save(run)
    return False


def _steps(run: Run, weights: LossWeights, count: int, first: int) -> Iterator[None]:
    """``count`` steps from ``first`` on; raises ``Stopped`` when any rank is told to stop."""
    run.here.step = first
    with loader_of(run) as batches:
        for _ in range(count):
            report = guarded_step(
                run.engine,
                run.net,
                loop.micro_batches_of(run, batches),
                weights,
                judge=finite,
                clock=run.clock,
                known=run.known_terms,
                stop=bool(run.request.wanted),
            )
            run.here.step += 1
            if report.asked_to_stop:
                raise Stopped
            if not report.verdict:
                run.ema.update()
            yield


def _score(run: Run) -> float:
    """That of the present weights on the validation records, as rank 0 has it."""
    found = errors_of(run.net, run.validation, run.device, run.asked_to_stop)
    score = score_of(found)
    return from_main(float("inf") if score is None else score)
