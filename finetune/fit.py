"""A prepared network is trained or solved, as the strategy says."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console

from atomfield.data.errors import RunError
from atomfield.data.loader import Loader
from atomfield.inference.memory import is_out_of_memory
from atomfield.models.denormals import flushed_denormals
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.config import OptimizerConfig
from atomfield.pretrain.ema import Ema
from atomfield.pretrain.engine import TorchEngine
from atomfield.pretrain.record import Record
from atomfield.pretrain.stopping import StopRequest
from atomfield.pretrain.streams import Batches, Stream

from .boosted import boosted
from .config import FinetuneConfig, Strategy
from .frozen import solve
from .lora import merge
from .parts import Parts
from .prepare import as_problems
from .replay import replay_streams
from .resume import States
from .strategy import RATES, apply_strategy, groups_of, relative_rates
from .tasks import Task
from .train import Schedule, train

History = list[dict[str, float]]


@dataclass(frozen=True)
class Job:
    """A prepared network, what it is for, and what is to be done with it. A training goes on from where ``states`` are."""

    config: FinetuneConfig
    strategy: Strategy
    net: AtomFieldNet
    task: Task
    parts: Parts
    device: str
    console: Console
    states: States

    def say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.console.print(line, highlight=False, markup=False)


def adapt_network(job: Job) -> History:
    """Solve or train the network in place as the strategy says; returns the history (empty where nothing was trained). What is
    solved begins anew.

    Raises ``RunError`` where memory does not suffice.
    """
    config, net, parts, names = job.config, job.net, job.parts, job.task.properties
    if job.strategy == "frozen":
        job.say(solve(net, parts.train, names, job.device))
        return []
    if job.strategy == "boosted":
        free = config.pooling == "auto"
        job.say(boosted(net, parts.train, parts.valid, names, job.device, config.seed, free_pooling=free))
        return []
    job.console.print(apply_strategy(net, config, job.strategy, job.task), highlight=False)
    try:
        return fit(job)
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RunError) or not is_out_of_memory(error):
            raise
        raise RunError(_memory_full(job, error)) from error
    finally:
        merge(net)


@flushed_denormals()
def fit(job: Job) -> History:
    """Train the network in place; returns the history."""
    config, task, net = job.config, job.task, job.net
    edges, graphs = budgets(config, task)
    stream = Stream(
        as_problems(job.parts.train, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=edges,
        max_graphs=graphs,
        seed=config.seed,
        noise=config.noise if task.world == "field" and not task.steady else 0.0,
        piece_edges=config.piece_edges,
    )
    streams = [stream, *replay_streams(config, net, edges)]
    valid = Stream(
        as_problems(job.parts.valid, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=4 * edges,
        seed=config.seed,
        piece_edges=config.piece_edges,
    )
    rate = config.learning_rate or RATES[job.strategy]
    optimizer = OptimizerConfig(
        learning_rate=rate,
        weight_decay=config.weight_decay,
        gradient_clipping=config.gradient_clipping,
        ema_decay=config.ema_decay,
    )
    steps = config.steps or (1_000_000 if config.max_time else default_steps(stream))
    rates = relative_rates(net, job.strategy, config.layer_decay, task)
    engine = TorchEngine(net, groups_of(net, rates, optimizer.weight_decay), optimizer)
    ema = Ema(net, optimizer.ema_decay)
    job.states.restore(engine, ema, job.console)
    start = job.states.here.step
    keys = ((which, number) for number in itertools.count(start) for which in range(len(streams)))
    schedule = Schedule(steps, config.max_time, rate, config.clock)
    with (
        Record(config.out, steps, main=True, title="finetune", start=start) as record,
        StopRequest(aloud=True) as request,
        Loader(Batches(tuple(streams)), keys, pin=job.device.startswith("cuda")) as batches,
    ):
        return train(
            net, engine, ema, streams, batches, valid, schedule, config.loss, record, job.device, job.states,
            request,
        )  # fmt: skip


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


def _memory_full(job: Job, error: BaseException) -> str:
    edges = budgets(job.config, job.task)[0]
    pieces = job.config.piece_edges
    now = f"pieces of {pieces} pairs" if pieces else f"batches of {edges} pairs, {4 * edges} in validation"
    saving = "" if job.config.recompute else " or --set recompute=true (more time),"
    first = str(error).splitlines()[0] if str(error) else type(error).__name__
    return (
        f"the memory of {job.device} is full ({first}) with {now}: give the same command with --set piece_edges="
        f"{max(1, (pieces or edges) // 2)}, which sends the same batches through in smaller pieces,{saving} and it goes on; a "
        "single record that is too large needs a smaller network"
    )
