"""How equal the ranks' shares of a step are, and what a micro-batch costs.

    python benchmarks/dealing.py [--steps 12] [--out benchmarks/results/dealing.md]

Times the passes over micro-batches of the starter corpus with network ``s`` on one thread, in processor time, so that other work
on the machine harms little. From these times: the prices that ``pretrain/dealing.py`` estimates with, and how far the
slowest rank would be above the mean if a step were dealt by number (every n-th of each stream, as before), in rounds, freely, and
freely by the measured times themselves.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from page_text import table, wrapped

from atomfield.data.source import open_source
from atomfield.models.network import AtomFieldNet
from atomfield.pretrain.config import PretrainConfig
from atomfield.pretrain.dealing import PRICES, Key, freely, shares
from atomfield.pretrain.losses import counts, loss_sums
from atomfield.pretrain.sources import select, stream_of
from atomfield.pretrain.start import build
from atomfield.pretrain.streams import Stream

Deal = Callable[..., list[list[Key]]]
PER_STEP = 4
STREAMS = [
    {"source": "starter/molecules", "max_edges": 2000},
    {"source": "starter/crystals", "max_edges": 2000},
    {"source": "starter/fields", "objective": "next_step", "max_edges": 4700},
]
"""The steps that are dealt."""
OTHERS = [
    {"source": "starter/molecules", "max_edges": 1000},
    {"source": "starter/molecules", "max_edges": 4000},
    {"source": "starter/crystals", "max_edges": 4000},
    {"source": "starter/molecules", "objective": "denoise", "noise": 0.1, "max_edges": 1000},
    {"source": "starter/molecules", "objective": "denoise", "noise": 0.1, "max_edges": 4000},
    {"source": "starter/crystals", "objective": "masked_atoms", "max_edges": 2000},
    {"source": "starter/fields", "objective": "next_step", "max_edges": 10_000},
    {"source": "starter/fields", "objective": "masked_patches", "max_edges": 4700},
]
"""Besides, for the prices: eight micro-batches of each."""


def passes(net: AtomFieldNet, stream: Stream, number: int, config: PretrainConfig) -> float:
    """Processor seconds of a forward and a backward pass, the better of two."""
    batch = stream.batch(number)
    found = counts(net, batch, stream.targets, config.loss)
    best = float("inf")
    for _ in range(2):
        began = time.process_time()
        sums = loss_sums(net, net, batch, stream.targets, config.loss)
        sum(v.double() / max(found[k], 1.0) for k, v in sums.items()).to(net.dtype).backward()
        best = min(best, time.process_time() - began)
    net.zero_grad()
    return best


def fitted(kind: str, streams: list[Stream], times: dict[Key, float]) -> list[str]:
    """A row: the prices in use, those that fit ``times`` best, and how far estimates are off."""
    from scipy.optimize import nnls

    rows, seconds = [], []
    price = PRICES[kind]
    for (which, number), spent in times.items():
        if streams[which].price is price:
            items = streams[which].sampler.batch(number)
            sampler = streams[which].sampler
            axes = streams[which].grid_axes[items].sum()
            rows.append([1.0, sampler.nodes[items].sum(), sampler.edges[items].sum(), axes])
            seconds.append(spent)
    sizes, spent_S = np.array(rows), 1e6 * np.array(seconds)
    best, _ = nnls(sizes / spent_S[:, None], np.ones(len(seconds)))
    off = sizes @ np.array([price.pass_, price.node, price.edge, price.axis]) / spent_S
    figures = [
        f"{price.pass_:.0f}, {price.node:g}, {price.edge:g}, {price.axis:g}",
        ", ".join(f"{b:.3g}" for b in best),
    ]
    return [kind, str(len(seconds)), *figures, f"{np.std(off / off.mean()):.0%}"]


def everything(streams: list[Stream], step: int) -> list[Key]:
    return [(w, step * s.micro_batches + k) for w, s in enumerate(streams) for k in range(s.micro_batches)]


def spread(dealt: Deal, times: dict[Key, float], steps: int) -> float:
    """The largest share over the mean share, the mean of all steps weighted by their time."""
    loads = [[sum(times[key] for key in hand) for hand in dealt(step)] for step in range(steps)]
    return sum(map(max, loads)) / sum(map(statistics.fmean, loads))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path, help="page to write")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = PretrainConfig(streams=[{**s, "micro_batches": PER_STEP} for s in STREAMS + OTHERS], network="s")
    sets = {name: select(open_source(name), "train") for name in {str(s["source"]) for s in STREAMS}}
    net, _, factors, *_ = build(config, list(sets.values()))
    net.backbone.prepare()
    streams = [stream_of(config, n, sets, net.config.cutoff, factors) for n in range(len(config.streams))]
    own = streams[: len(STREAMS)]
    began = time.process_time()
    times: dict[Key, float] = {}
    for which, stream in enumerate(streams):
        for number in range(given.steps * PER_STEP if which < len(own) else 8):
            times[which, number] = passes(net, stream, number, config)
    print(f"{len(times)} micro-batches in {time.process_time() - began:.0f} s of processor time", flush=True)

    rows = []
    for ranks in (2, 4):
        deals: list[Deal] = [
            lambda step, n=ranks: [everything(own, step)[rank::n] for rank in range(n)],
            lambda step, n=ranks: shares(own, step, n, alike=True),
            lambda step, n=ranks: shares(own, step, n, alike=False),
            lambda step, n=ranks: freely({k: times[k] for k in everything(own, step)}, n),
        ]
        found = [spread(deal, times, given.steps) for deal in deals]
        rows.append([str(ranks), *(f"{x:.3f} ({ranks / x:.2f})" for x in found)])
    each = ", ".join(
        f"{s.name} {1e3 * statistics.fmean(t for (w, _), t in times.items() if w == which):.0f} ms"
        for which, s in enumerate(own)
    )
    page = wrapped(
        [
            "# Shares of a step",
            "",
            f"`python benchmarks/dealing.py --steps {given.steps}`, {time.strftime('%d %B %Y')}, one thread; processor time of "
            f"the passes, so that other work on the machine (load average {os.getloadavg()[0]:.1f}) harms little.",
            "",
            f"{given.steps} steps of {PER_STEP} micro-batches of each of three streams (a micro-batch of {each}). How far the "
            "slowest rank is above the mean, by measured times, and in brackets the times that so many processes are as fast "
            "as one if nothing else costs anything:",
            "",
            *table(
                [
                    "ranks",
                    "by number (before)",
                    "in rounds (ZeRO 2, 3)",
                    "freely (ZeRO 0, 1)",
                    "freely, costs known",
                ],
                rows,
            ),
            "",
            "Prices, in microseconds for a pass, a node, a planned edge, a node and axis of a grid; "
            "the spread is that of estimate over measurement:",
            "",
            *table(
                ["passes", "micro-batches", "in use", "best fit here", "spread"],
                [fitted(kind, streams, times) for kind in PRICES],
            ),
            "",
        ]
    )
    print(page)
    if given.out:
        given.out.write_text(page)


if __name__ == "__main__":
    main()
