"""A prepared network is trained or solved, as the strategy says."""

from __future__ import annotations

import itertools

import torch
from rich.console import Console

from atomfield.data.errors import RunError
from atomfield.data.loader import Loader
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


def adapt_network(
    config: FinetuneConfig,
    strategy: Strategy,
    net: AtomFieldNet,
    task: Task,
    parts: Parts,
    device: str,
    console: Console,
    states: States,
) -> list[dict[str, float]]:
    """Solve or train ``net`` in place as the strategy says; returns the history (empty where nothing was trained). A training
    goes on from where ``states`` are; what is solved begins anew."""
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
        return fit(config, strategy, net, task, parts, device, console, states)
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
    config: FinetuneConfig,
    strategy: Strategy,
    net: AtomFieldNet,
    task: Task,
    parts: Parts,
    device: str,
    console: Console,
    states: States,
) -> list[dict[str, float]]:
    """Train ``net`` in place on ``parts``, from where ``states`` are; returns the history."""
    edges, graphs = budgets(config, task)
    noise = config.noise if task.world == "field" and not task.steady else 0.0
    stream = Stream(
        as_problems(parts.train, task),
        task.targets,
        cutoff=net.config.cutoff,
        max_edges=edges,
        max_graphs=graphs,
        seed=config.seed,
        noise=noise,
    )
    streams = [stream, *replay_streams(config, net, edges)]
    valid = Stream(
        as_problems(parts.valid, task),
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
    rates = relative_rates(net, strategy, config.layer_decay, task)
    engine = TorchEngine(net, groups_of(net, rates, optimizer.weight_decay), optimizer)
    ema = Ema(net, optimizer.ema_decay)
    states.restore(engine, ema, console)
    start = states.here.step
    keys = ((which, number) for number in itertools.count(start) for which in range(len(streams)))
    schedule = Schedule(steps, config.max_time, rate, config.clock)
    with (
        Record(config.out, steps, main=True, title="finetune", start=start) as record,
        StopRequest(aloud=True) as request,
        Loader(Batches(tuple(streams)), keys, pin=device.startswith("cuda")) as batches,
    ):
        return train(
            net, engine, ema, streams, batches, valid, schedule, config.loss, record, device, states, request
        )


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
