"""What the engine costs: pretraining beside a plain torch loop, two processes beside one, and the wait for data.

    python benchmarks/pretrain_overhead.py [--steps 40] [--repeats 3] [--out benchmarks/results/pretrain_overhead.md]

One thread per process, the network of the starter configuration (or ``--small``) on crystals and flows. The plain loop has the
same network, batches (made ahead by the same loader) and losses, AdamW, clipping and moving average; it has no verdict,
no checkpoints, no record. Runs take turns, and the shortest median step of each kind counts, so that a neighbour harms no kind
alone. Two processes do the same global batch. Needs as many free cores as processes.
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
    molecules, flows = SMALL["edges"] if given.small else (2000, 4700)
    network = (
        SMALL["network"] if given.small else {"channels": 32, "channels_unnatural": 8, "lmax": 2, "layers": 2}
    )
    return {
        "out": str(out),
        "streams": [
            {"source": "starter/crystals", "micro_batches": 2, "max_edges": molecules},
            {"source": "starter/fields", "objective": "next_step", "micro_batches": 2, "max_edges": flows},
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


def engine_step(given: argparse.Namespace, folder: Path, processes: int) -> dict[str, float]:
    """Median seconds between logged steps of a real run, and its share of time waiting for data."""
    out = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    worker = [str(Path(__file__)), "--worker", json.dumps(settings(given, out))]
    subprocess.run([*command, *worker], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    rows = [r for r in lines if "train_loss" in r][WARM - 1 :]
    steps = [b["seconds"] - a["seconds"] for a, b in itertools.pairwise(rows)]
    share = lambda name: statistics.fmean(r[f"time/{name}"] for r in rows)  # noqa: E731
    return {
        "step": statistics.median(steps),
        "loader": share("loader"),
        "communication": share("communication"),
    }


def plain_step(given: argparse.Namespace, folder: Path) -> dict[str, float]:
    out = folder / "plain.json"
    words = [sys.executable, str(Path(__file__)), "--plain", json.dumps(settings(given, out))]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return json.loads(out.read_text())


def plain_loop(options: dict[str, Any]) -> None:
    """A loop as one would write it in a notebook; writes its median step to ``out``."""
    import torch

    from atomfield.data.loader import Loader
    from atomfield.data.source import open_source
    from atomfield.pretrain.config import PretrainConfig
    from atomfield.pretrain.engine import parameter_groups
    from atomfield.pretrain.losses import counts, loss_sums
    from atomfield.pretrain.run import _stream, build, select
    from atomfield.pretrain.streams import Batches

    config = PretrainConfig(**options)
    sets = {s.sources[0]: select(open_source(s.sources[0]), "train") for s in config.streams}
    net, _, factors = build(config, list(sets.values()))
    net.backbone.prepare()
    streams = [_stream(config, n, sets, net.config.cutoff, factors) for n in range(len(config.streams))]
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
    steps = []
    with Loader(Batches(tuple(streams)), keys, ahead=8) as batches:
        for _ in range(config.steps):
            began = time.perf_counter()
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
            steps.append(time.perf_counter() - began)
    Path(config.out).write_text(json.dumps({"step": statistics.median(steps[WARM:])}))


def page(
    given: argparse.Namespace, plain: float, one: dict[str, float], two: dict[str, float], load: str
) -> str:
    return f"""# What the engine costs

`python benchmarks/pretrain_overhead.py {" ".join(sys.argv[1:])}`, {time.strftime("%d %B %Y")}, {os.cpu_count()} cores,
load average {load}. One thread per process, ZeRO {given.stage}, {given.steps} steps, the best of {given.repeats} turns.

| | seconds per step | waiting for data | communication |
|---|---|---|---|
| plain torch loop | {plain:.4f} | | |
| engine, one process | {one["step"]:.4f} | {one["loader"]:.1%} | {one["communication"]:.1%} |
| engine, two processes | {two["step"]:.4f} | {two["loader"]:.1%} | {two["communication"]:.1%} |

| claim | measured | wanted |
|---|---|---|
| overhead of the engine | {one["step"] / plain - 1:+.1%} | below 5 % |
| two processes beside one | {one["step"] / two["step"]:.2f} times | at least 1.8 |
| waiting for data, one process | {one["loader"]:.1%} | below 5 % |
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument(
        "--small", action="store_true", help="a network that trains in seconds, to try the script"
    )
    parser.add_argument("--out", type=Path, help="page to write")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--plain", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        from atomfield.pretrain.config import PretrainConfig
        from atomfield.pretrain.run import pretrain

        pretrain(PretrainConfig(**json.loads(given.worker)))
        return
    if given.plain:
        return plain_loop(json.loads(given.plain))
    load = f"{os.getloadavg()[0]:.1f} before the start"
    plain, one, two = [], [], []
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        for turn in range(given.repeats):
            plain.append(plain_step(given, Path(name))["step"])
            one.append(engine_step(given, Path(name), 1))
            two.append(engine_step(given, Path(name), 2))
            print(f"turn {turn}: plain {plain[-1]:.4f}, one {one[-1]}, two {two[-1]}", flush=True)
    best = lambda found: min(found, key=lambda f: f["step"])  # noqa: E731
    text = page(given, min(plain), best(one), best(two), load)
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
