"""What the engine costs: pretraining beside a plain torch loop, two processes beside one, and the wait for data.

    python benchmarks/pretrain_overhead.py [--windows 30] [--out benchmarks/results/pretrain_overhead.md]

One core and one thread per process (what makes its batches shares that core), the network of the starter configuration (or
``--small``) on crystals and flows. The plain loop has the same network, batches (made ahead by the same loader) and losses,
AdamW, clipping and moving average; it has no verdict, no checkpoints, no record. Two processes do the same global batch.

A shared machine is 30 % faster at one minute than at the next, so all kinds of runs live at the same time and take turns: each
makes the same two steps while the others are stopped, and what is compared are times of the same steps within some ten seconds.
Given are medians of the ratios and their 90 % bootstrap intervals. Wall time needs as many free cores as processes; processor
time does not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")

SMALL = {
    "network": {"channels": 8, "channels_unnatural": 4, "lmax": 1, "radial_hidden": 8, "head_hidden": 8},
    "edges": (600, 800),
}
STEPS = 2
"""Of a window."""
WARM = 3
"""Windows that do not count."""
PATIENCE = 600.0
"""Seconds that a window may take."""


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
        "steps": STEPS * (given.windows + WARM),
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


class Turns:
    """The side of a worker: at the beginning of each window it says that it waits, and waits until it may go on. Notes wall and
    processor time at the beginning and the end of each step."""

    def __init__(self, folder: Path, member: str):
        self.folder, self.member, self.step = folder, member, 0
        self.begun = (0.0, 0.0)
        self.times: list[tuple[float, float]] = []
        self.waited: list[float] = []
        """Seconds of each step in which there was no batch yet."""

    def next_step(self) -> None:
        """Called at the beginning of each step, and once after the last one."""
        now = time.perf_counter(), time.process_time()
        if self.step:
            self.times.append((now[0] - self.begun[0], now[1] - self.begun[1]))
        if self.step % STEPS == 0:
            self._wait(self.step // STEPS)
        self.step += 1
        self.begun = time.perf_counter(), time.process_time()

    def _wait(self, window: int) -> None:
        written(self.folder / f"{self.member}.waits", f"{window} {os.getpid()}")
        kind = self.member.split("-")[0]
        while int(read(self.folder / f"{kind}.go") or -1) < window:
            time.sleep(0.001)

    def end(self) -> None:
        written(self.folder / f"{self.member}.times", json.dumps(self.times))
        written(self.folder / f"{self.member}.waited", json.dumps(self.waited))


def written(path: Path, text: str) -> None:
    draft = path.with_suffix(".new" + path.suffix)
    draft.write_text(text)
    draft.rename(path)


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


class Kind:
    """A kind of run with ``members`` processes, seen by the one that gives the turns."""

    def __init__(self, name: str, members: int, folder: Path, processes: list[subprocess.Popen[bytes]]):
        self.name, self.folder, self.processes = name, folder, processes
        self.members = [f"{name}-{k}" for k in range(members)]
        self.stopped: list[int] = []

    def until(self, window: int) -> None:
        """Wait until every member waits for ``window``, and stop them, with their threads."""
        end = time.monotonic() + PATIENCE
        while True:
            said = [read(self.folder / f"{m}.waits").split() for m in self.members]
            if all(words and int(words[0]) >= window for words in said):
                break
            if any(p.poll() for p in self.processes) or time.monotonic() > end:
                raise SystemExit(
                    f"{TITLES[self.name]}: a process ended before window {window}, or took too long"
                )
            time.sleep(0.02)  # two processes leave no core for one who asks more often
        self.stopped = [int(words[1]) for words in said]
        for pid in self.stopped:
            os.kill(pid, signal.SIGSTOP)

    def go(self, window: int) -> None:
        written(self.folder / f"{self.name}.go", str(window))
        for pid in self.stopped:
            os.kill(pid, signal.SIGCONT)
        self.stopped = []

    def end(self) -> None:
        for pid in self.stopped:
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.kill() if process.poll() is None and self.stopped else process.wait()

    def times(self) -> np.ndarray:
        """``[members, windows, 2]``: wall and processor seconds per step of each window that counts."""
        found = np.array([json.loads((self.folder / f"{m}.times").read_text()) for m in self.members])
        return found.reshape(len(self.members), -1, STEPS, 2).mean(2)[:, WARM:]


def started(given: argparse.Namespace, name: str, members: int, folder: Path) -> Kind:
    """A kind of run: an engine with ``members`` ranks, or so many plain loops that know nothing of each other."""
    script = [str(Path(__file__)), "--folder", str(folder), "--kind", name]
    text = json.dumps(settings(given, folder / f"run-{name}"))
    if name in ("one", "two"):
        launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={members}"]
        commands = [[sys.executable, *launch, *script, "--worker", text]]
    else:
        commands = [[sys.executable, *script, "--core", str(k), "--plain", text] for k in range(members)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": None if given.small else subprocess.DEVNULL}
    return Kind(name, members, folder, [subprocess.Popen(command, **quiet) for command in commands])


def measured(
    given: argparse.Namespace, folder: Path
) -> tuple[dict[str, np.ndarray], dict[str, dict[str, float]]]:
    """Times of every kind ``[members, windows, 2]``, and shares of the steps of the engine's."""
    kinds = [started(given, name, count, folder) for name, count in MEMBERS.items()]
    try:
        for kind in kinds:
            kind.until(0)
        for window in tqdm(range(given.windows + WARM), desc="windows", disable=None):
            for kind in kinds if window % 2 else reversed(kinds):
                kind.go(window)
                kind.until(window + 1)
        for kind in kinds:  # from the wait after the last step
            kind.go(given.windows + WARM)
            for process in kind.processes:
                if process.wait(PATIENCE):
                    raise SystemExit(f"{TITLES[kind.name]} failed")
    finally:
        for kind in kinds:
            kind.end()
    shares = {}
    for name in ("one", "two"):
        lines = [
            json.loads(line) for line in (folder / f"run-{name}" / "metrics.jsonl").read_text().splitlines()
        ]
        rows = [r for r in lines if "train_loss" in r][WARM * STEPS :]
        took = sum(wall for wall, _ in json.loads(read(folder / f"{name}-0.times"))[WARM * STEPS :])
        shares[name] = {
            "loader": sum(json.loads(read(folder / f"{name}-0.waited"))[WARM * STEPS :]) / took,
            # beside what is no waiting for a turn, which the engine takes for one for data
            "communication": statistics.fmean(r["time/communication"] / (1 - r["time/loader"]) for r in rows),
        }
    return {kind.name: kind.times() for kind in kinds}, shares


def worker(options: dict[str, Any], turns: Turns) -> None:
    """A run as ``atomfield pretrain`` makes it, which takes turns with others."""
    from atomfield.pretrain import loop, run
    from atomfield.pretrain.config import PretrainConfig

    real = loop.micro_batches_of

    def in_turn(its: Any, batches: Any) -> Any:
        turns.next_step()
        before = batches.waited
        found = real(its, batches)
        turns.waited.append(batches.waited - before)
        return found

    loop.micro_batches_of = in_turn
    train = run.train

    def to_the_end(*given: Any) -> Any:
        ending = train(*given)
        turns.next_step()
        return ending

    run.train = to_the_end
    run.pretrain(PretrainConfig(**options))
    turns.end()


def plain_loop(options: dict[str, Any], turns: Turns) -> None:
    """A loop as one would write it in a notebook, which takes turns with others."""
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
    with Loader(Batches(tuple(streams)), keys, ahead=8) as batches:
        for _ in range(config.steps):
            turns.next_step()
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
        turns.next_step()
    turns.end()


TITLES = {
    "plain": "plain torch loop",
    "one": "engine, one process",
    "two": "engine, two processes",
    "pair": "plain loop, while a second one runs",
}
MEMBERS = {"plain": 1, "one": 1, "two": 2, "pair": 2}


def with_interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """The median, and the ends of its 90 % bootstrap interval."""
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, 1), (0.05, 0.95))
    return float(np.median(ratios)), float(low), float(high)


def tables(
    times: dict[str, np.ndarray], shares: dict[str, dict[str, float]], busy: bool
) -> tuple[list[str], list[str]]:
    """Rows of the table and of the claims; ``busy``: without wall times."""
    wall = {name: found[..., 0].mean(0) for name, found in times.items()}
    processor = {name: found[..., 1] for name, found in times.items()}
    rows = [
        "| median of windows | processor seconds per step, all ranks |"
        + ("" if busy else " wall seconds per step | waiting for data | communication |")
    ]
    rows.append("|---|---|" + ("" if busy else "---|---|---|"))
    for name in MEMBERS:
        ranks = processor[name].sum(0) if name == "two" else processor[name].mean(0)
        row = f"| {TITLES[name]} | {np.median(ranks):.4f} |"
        if not busy:
            part = shares.get(name)
            row += f" {np.median(wall[name]):.4f} | " + (
                f"{part['loader']:.1%} | {part['communication']:.1%} |" if part else "| |"
            )
        rows.append(row)
    slower = processor["two"].max(0)
    claims = [
        percent(
            "overhead of the engine, processor time",
            processor["one"][0] / processor["plain"][0] - 1,
            "below 5 %",
        ),
        times_line(
            "the slower rank of a window over the mean of both, processor time",
            slower / processor["two"].mean(0),
            "",
        ),
        times_line(
            "two processes beside one, by processor time of the slower rank",
            processor["one"][0] / slower,
            "at least 1.8",
        ),
    ]
    if not busy:
        claims += [
            percent("overhead of the engine, wall", wall["one"] / wall["plain"] - 1, "below 5 %"),
            times_line("two processes beside one, wall", wall["one"] / wall["two"], "at least 1.8"),
            times_line("two processes beside the plain loop, wall", wall["plain"] / wall["two"], ""),
            times_line(
                "two plain loops that share nothing, the limit of the machine, wall",
                2 * wall["plain"] / wall["pair"],
                "",
            ),
            f"| waiting for data, one process | {shares['one']['loader']:.1%} | | below 5 % |",
        ]
    return rows, claims


def percent(what: str, ratios: np.ndarray, wanted: str) -> str:
    middle, low, high = with_interval(ratios)
    return f"| {what} | {middle:+.1%} | {low:+.1%} to {high:+.1%} | {wanted} |"


def times_line(what: str, ratios: np.ndarray, wanted: str) -> str:
    middle, low, high = with_interval(ratios)
    return f"| {what} | {middle:.2f} times | {low:.2f} to {high:.2f} | {wanted} |"


def page(given: argparse.Namespace, rows: list[str], claims: list[str], load: str) -> str:
    note = (
        "The machine had other work: wall times would say how much that was, and are left out."
        if given.busy
        else ""
    )
    table = "\n".join(
        [*rows, "", "| claim | measured | 90 % interval | wanted |", "|---|---|---|---|", *claims]
    )
    words = [w for w in sys.argv[1:] if not w.startswith("--out") and w != str(given.out)]
    return f"""# What the engine costs

`python benchmarks/pretrain_overhead.py {" ".join(words)}`, {time.strftime("%d %B %Y")}, {os.cpu_count()} cores, load average
{load}. One core per process, ZeRO {given.stage}, {given.micro_batches} micro-batches of each of two streams in a step.

All kinds of runs live at once and take turns of {STEPS} steps, the same steps for each, while the others are stopped:
{given.windows} windows. Ratios are of the same steps, within some ten seconds of each other; given are their medians. Processor
time is that of all threads of a process, those that make data included; that of the slower rank is what a step takes where each
rank has a core and messages take no time. Communication is a share of the time outside the loader, and counts waiting for the
slower rank. {note}

{table}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--windows", type=int, default=30)
    parser.add_argument("--stage", type=int, default=1)
    parser.add_argument("--micro-batches", type=int, default=8, help="of each stream in a step")
    parser.add_argument(
        "--small", action="store_true", help="a network that trains in seconds, to try the script"
    )
    parser.add_argument("--busy", action="store_true", help="the machine has other work: no wall times")
    parser.add_argument("--out", type=Path, help="page to write")
    for name in ("--worker", "--plain", "--folder", "--kind"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--core", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker or given.plain:
        number = int(os.environ.get("LOCAL_RANK", given.core))
        keep_to_core(number)
        turns = Turns(Path(given.folder), f"{given.kind}-{number}")
        return (worker if given.worker else plain_loop)(json.loads(given.worker or given.plain), turns)
    load = f"{os.getloadavg()[0]:.1f} before the start"
    with tempfile.TemporaryDirectory(prefix="overhead-") as name:
        times, shares = measured(given, Path(name))
    text = page(given, *tables(times, shares, given.busy), f"{load}, {os.getloadavg()[0]:.1f} after it")
    print(text)
    if given.out:
        given.out.write_text(text)


if __name__ == "__main__":
    main()
