"""How much of a training step is spent waiting for data: molecules, crystals and fields, made ahead by the loader or in turn.

    python benchmarks/loader_wait.py [--steps 40] [--threads 1] [--fresh]

Trains the network of the starter configuration with plain torch on the packaged starter corpus, or on any sources named.
``--fresh`` forgets kept edges, as for a store that is larger than memory: every batch is read and searched again.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch

from atomfield.data.loader import Loader
from atomfield.data.source import open_source
from atomfield.models.sizes import NetworkSize
from atomfield.pretrain import streams as stream_room
from atomfield.pretrain.config import LossWeights, OptimizerConfig, PretrainConfig, StreamConfig
from atomfield.pretrain.engine import TorchEngine, parameter_groups
from atomfield.pretrain.losses import Targets
from atomfield.pretrain.start import build
from atomfield.pretrain.step import MicroBatch, training_step
from atomfield.pretrain.streams import Stream

SOURCES = {"starter/molecules": 2000, "starter/crystals": 2000, "starter/fields": 4700}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sources", nargs="*", default=list(SOURCES))
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.fresh:
        stream_room.CACHE_EDGES = 0
    print(f"{'source':24}{'edges/batch':>12}{'step ms':>10}{'make ms':>10}{'wait ms':>10}{'wait share':>12}")
    for source in arguments.sources:
        measure(source, arguments)


def measure(source: str, arguments: argparse.Namespace) -> None:
    """One line: the median step with a loader, the median time of making a batch alone, the mean wait."""
    graphs = open_source(source)
    objective = "next_step" if graphs[0].world == "field" else "supervised"
    config = PretrainConfig(
        streams=(StreamConfig(source=source, objective=objective),), network=NetworkSize()
    )
    net, *_ = build(config, [graphs])
    engine = TorchEngine(net, parameter_groups(net, 0.0), OptimizerConfig())
    stream = Stream(
        graphs,
        Targets(objective),
        cutoff=5.0,
        max_edges=SOURCES.get(source, 2000),
        seed=0,
        noise=0.005 if objective == "next_step" else 0.0,
        name=source,
    )
    alone, edges = [], []
    for number in range(10_000, 10_000 + arguments.steps):
        began = time.perf_counter()
        edges.append(stream.batch(number).num_edges)
        alone.append(time.perf_counter() - began)
    steps: list[float] = []
    with Loader(stream.batch, itertools.count(), workers=arguments.workers) as batches:
        for _ in range(arguments.steps + 3):
            began = time.perf_counter()
            training_step(engine, net, [MicroBatch(next(batches), stream.targets)], LossWeights())
            steps.append(time.perf_counter() - began)
            if len(steps) == 3:
                warm = batches.waited
        waited = (batches.waited - warm) / arguments.steps
    step = sum(steps[3:]) / arguments.steps
    make, size = sorted(alone)[len(alone) // 2], sum(edges) / len(edges)
    print(
        f"{source:24}{size:12.0f}{1e3 * step:10.1f}{1e3 * make:10.2f}{1e3 * waited:10.3f}{waited / step:12.2%}",
        flush=True,
    )


if __name__ == "__main__":
    main()
