"""What the engine costs: pretraining beside a plain torch loop, two processes beside one, and the wait for data.

    python benchmarks/pretrain_overhead.py [--steps 40] [--repeats 3] [--out benchmarks/results/pretrain_overhead.md]

One core and one thread per process (what makes its batches shares that core), the network of the starter configuration (or
``--small``) on crystals and flows. The plain loop has the
same network, batches (made ahead by the same loader) and losses, AdamW, clipping and moving average; it has no verdict,
no checkpoints, no record. Runs take turns, and the shortest median step of each kind counts, so that a neighbour harms no kind
alone. Two processes do the same global batch. Wall time needs as many free cores as processes; processor time does not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

SMALL = {
    "network": {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8},
    "edges": (600, 800),
}
WARM = 5
"""Steps that do not count."""


def settings(given: argparse.Namespace, out: Path) -> dict[str, Any]:
    atoms, flows = SMALL["edges"] if given.small else (2000, 4700)
    network = (
        SMALL["network"] if given.small else {"channels": 32, "channels_unnatural": 8, "lmax": 2, "layers": 2}
    )
    return {
        "out": str(out),
        "streams": [
            {"source": "starter/crystals", "micro_batches": given.micro_batches, "max_edges": atoms},
            {
                "source": "starter/fields",
                "objective": "next_step",
                "micro_batches": given.micro_batches,
                "max_edges": flows,
            },
        ],
        "network": network,
        "steps": given.steps + WARM,
        "save_every": 10_000,
        "validate_every": 10_000,
        "log_every": 1,
        "zero_stage": given.stage,
        "wandb": "disabled",
        "device": "cpu",
        "resume": True,
    }


def keep_to_core(number: int) -> None:
    """This process and its threads on the ``number``-th of the cores that it may use."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})


def engine_step(given: argparse.Namespace, folder: Path, processes: int) -> dict[str, float]:
    """Median wall and processor seconds of a step of a real run, over all ranks, and its share of time waiting for data."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    worker = [str(Path(__file__)), "--worker", json.dumps(settings(given, out))]
    subprocess.run([*command, *worker], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [r for r in lines if "train_loss" in r][WARM - 1 :]
    share = lambda name: statistics.fmean(r[f"time/{name}"] for r in rows)  # noqa: E731
    ranks = [taken(json.loads(file.read_text())) for file in sorted(out.glob("stamps-*.json"))]
    slowest = [max(processor) for processor in zip(*(r["processor"] for r in ranks), strict=True)]
    return {
        "step": statistics.median(ranks[0]["step"]),
        "processor": sum(statistics.median(r["processor"]) for r in ranks),
        "mean": statistics.fmean(itertools.chain(*(r["processor"] for r in ranks))),
        "slowest": statistics.fmean(slowest),
        "loader": share("loader"),
        "communication": share("communication"),
    }


def taken(stamps: list[tuple[float, float]]) -> dict[str, list[float]]:
    """Of (wall, processor) seconds at the beginnings of steps: what each step took, the first ones left out."""
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(stamps[WARM:])]
    return {"step": [wall for wall, _ in steps], "processor": [processor for _, processor in steps]}


def worker(options: dict[str, Any]) -> None:
    """A run as ``atomfield pretrain`` makes it, which notes the time at the beginning of each step."""
    from atomfield.pretrain import loop
    from atomfield.pretrain.config import PretrainConfig
    from atomfield.pretrain.run import pretrain

    stamps: list[tuple[float, float]] = []
    real = loop.micro_batches_of

    def noted(run: Any, batches: Any) -> Any:
        stamps.append((time.perf_counter(), time.process_time()))
        return real(run, batches)

    loop.micro_batches_of = noted
    pretrain(PretrainConfig(**options))
    Path(options["out"], f"stamps-{os.environ['RANK']}.json").write_text(json.dumps(stamps))


def plain_step(given: argparse.Namespace, folder: Path, copies: int = 1) -> dict[str, float]:
    """Of the first of ``copies`` plain loops that run at the same time and know nothing of each other."""
    outs = [folder / f"plain-{number}.json" for number in range(copies)]
    script = [sys.executable, str(Path(__file__))]
    running = [
        subprocess.Popen(
            [*script, "--core", str(number), "--plain", json.dumps(settings(given, out))],
            stdout=subprocess.DEVNULL,
        )
        for number, out in enumerate(outs)
    ]
    codes = [child.wait() for child in running]
    if any(codes):
        raise SystemExit("the plain loop failed")
    found = taken(json.loads(outs[0].read_text()))
    return {key: statistics.median(values) for key, values in found.items()}


def plain_loop(options: dict[str, Any]) -> None:
    """A loop as one would write it in a notebook; writes the times at the beginnings of its steps to ``out``."""
    import torch

    from atomfield.data.loader import Loader
    from atomfield.data.source import open_source
    from atomfield.pretrain.config import PretrainConfig
    from atomfield.pretrain.engine import parameter_groups
    from atomfield.pretrain.losses import counts, loss_sums
    from atomfield.pretrain.sources import select, stream_of
    from atomfield.pretrain.start import build
    from atomfield.pretrain.streams import Batches

    config = PretrainConfig(**options)
    sets = {s.sources[0]: select(open_source(s.sources[0]), "train") for s in config.streams}
    net, _, factors, *_ = build(config, list(sets.values()))
    net.backbone.prepare()
    streams = [stream_of(config, n, sets, net.config.cutoff, factors) for n in range(len(config.streams))]
    keys = (
        (which, number)
        for step in itertools.count()
        for which, stream in enumerate(streams)
        for number in range(step * stream.micro_batches, (step + 1) * stream.micro_batches)
    )
    optimizer = torch.optim.AdamW(
        parameter_groups(net, config.optimizer.weight_decay), lr=1e-3, betas=(0.9, 0.99)
    )
    average = [p.detach().clone() for p in net.parameters()]
    stamps = []
    with Loader(Batches(tuple(streams)), keys, ahead=8) as batches:
        for _ in range(config.steps):
            stamps.append((time.perf_counter(), time.process_time()))
            for stream in streams:
                micro = [next(batches) for _ in range(stream.micro_batches)]
                total: dict[str, float] = {}
                for batch in micro:
                    for name, count in counts(net, batch, stream.targets, config.loss).items():
                        total[name] = total.get(name, 0.0) + count
                for batch in micro:
                    sums = loss_sums(net, net, batch, stream.targets, config.loss)
                    sum(v.double() / max(total[k], 1.0) for k, v in sums.items()).to(net.dtype).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.optimizer.gradient_clipping)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(average, list(net.parameters()), 0.01)
    Path(config.out).write_text(json.dumps(stamps))


Turn = dict[str, dict[str, float]]
"""What each kind of run took in one turn."""


TITLES = {
    "plain": "plain torch loop",
    "pair": "plain loop, while a second one runs",
    "one": "engine, one process",
    "two": "engine, two processes",
}


def page(given: argparse.Namespace, turns: list[Turn], load: str) -> str:
    rows, claims = (processor_tables if given.busy else wall_tables)(turns)
    note = (
        "The machine had other work: wall times and shares of them would say how much that was, and are left out."
        if given.busy
        else "Wall time needs as many free cores as processes, and is that of the best turn."
    )
    table = "\n".join([*rows, "", "| claim | measured | wanted |", "|---|---|---|", *claims])
    return f"""# What the engine costs

`python benchmarks/pretrain_overhead.py {" ".join(sys.argv[1:])}`, {time.strftime("%d %B %Y")}, {os.cpu_count()} cores,
load average {load}. One core per process, ZeRO {given.stage}, {given.micro_batches} micro-batches of each of two streams in a
step, {given.steps} steps, {given.repeats} turn(s).

Processor time is that of a whole step on all ranks, threads that make data included. It says what the engine adds also on a
machine with other work. The processor time of the slower rank of each step is what a step takes where each rank has a core and
messages take no time. {note}

{table}
"""


def processor_tables(turns: list[Turn]) -> tuple[list[str], list[str]]:
    """Rows of the table and of the claims, from processor times alone."""
    least = {kind: min(t[kind]["processor"] for t in turns) for kind in turns[0]}
    rows = ["| | processor seconds per step |", "|---|---|"]
    rows += [f"| {TITLES[kind]} | {seconds:.4f} |" for kind, seconds in least.items()]
    overhead = statistics.median(t["one"]["processor"] / t["plain"]["processor"] - 1 for t in turns)
    balance = statistics.median(t["two"]["slowest"] / t["two"]["mean"] for t in turns)
    gain = statistics.median(t["one"]["slowest"] / t["two"]["slowest"] for t in turns)
    return rows, [
        f"| overhead of the engine, processor time, median of turns | {overhead:+.1%} | below 5 % |",
        f"| the slower rank of a step over the mean of both, processor time | {balance:.3f} | |",
        f"| two processes beside one, by processor time of the slower rank | {gain:.2f} times | at least 1.8 |",
    ]


def wall_tables(turns: list[Turn]) -> tuple[list[str], list[str]]:
    """The same with wall times besides, for a machine without other work."""
    best = {kind: min((t[kind] for t in turns), key=lambda f: f["step"]) for kind in turns[0]}
    least = {kind: min(t[kind]["processor"] for t in turns) for kind in turns[0]}
    rows = [
        "| | wall seconds per step | processor seconds per step | waiting for data | communication |",
        "|---|---|---|---|---|",
    ]
    for kind, found in best.items():
        shares = f"{found['loader']:.1%} | {found['communication']:.1%}" if "loader" in found else "|"
        rows.append(f"| {TITLES[kind]} | {found['step']:.4f} | {least[kind]:.4f} | {shares} |")
    plain, one, two, pair = (best[kind]["step"] for kind in ("plain", "one", "two", "pair"))
    return rows, [
        *processor_tables(turns)[1],
        f"| overhead of the engine, wall | {one / plain - 1:+.1%} | below 5 % |",
        f"| two processes beside one, wall | {one / two:.2f} times | at least 1.8 |",
        f"| two plain loops that share nothing, the limit of the machine, wall | {2 * plain / pair:.2f} times | |",
        f"| waiting for data, one process | {best['one']['loader']:.1%} | below 5 % |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--micro-batches", type=int, default=4, help="of each stream in a step")
    parser.add_argument(
        "--small", action="store_true", help="a network that trains in seconds, to try the script"
    )
    parser.add_argument("--busy", action="store_true", help="the machine has other work: no wall times")
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker or given.plain:
        keep_to_core(int(os.environ.get("LOCAL_RANK", given.core)))
    if given.worker:
        return worker(json.loads(given.worker))
    if given.plain:
        return plain_loop(json.loads(given.plain))
    load = f"{os.getloadavg()[0]:.1f} before the start"
    turns: list[Turn] = []
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        folder = Path(name)
        for number in range(given.repeats):
            turns.append(
                {
                    "plain": plain_step(given, folder),
                    "one": engine_step(given, folder, 1),
                    "two": engine_step(given, folder, 2),
                }
            )
            if not given.busy:
                turns[-1]["pair"] = plain_step(given, folder, 2)
            print(f"turn {number}: {turns[-1]}", flush=True)
    text = page(given, turns, f"{load}, {os.getloadavg()[0]:.1f} after it")
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
