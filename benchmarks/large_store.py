"""Two million generated graphs are prepared, checked, opened, planned and sampled; the peak of memory of each step is reported.

Run: python benchmarks/large_store.py [--records 2000000] [--parsed 200000] [--workers 2] [--out PAGE.md]

Molecules and crystals of 4 to 10 atoms with energy and forces: ``--parsed`` of them are written as extended XYZ and go
through ``atomfield prepare --no-check``, and so does that store as many times over as make ``--records``; then records are
read in random order, the checks of ``prepare`` look at every one, and ``atomfield pretrain`` makes one step on them. Each
of these is a process of its own, whose memory is read from /proc while it runs: *anonymous* is what it cannot do without,
*resident* counts pages of the mapped shards too, which the system takes back when it needs them. An hour on two idle cores, a
quarter of one with ``--unchecked``, and 4 GB of disk, which are given back.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PER_FILE = 100_000


def write_frames(path: Path, count: int, seed: int) -> None:
    """``count`` records, molecules and crystals in turn. Formatting is by columns of digits, since 14 million atoms are many."""
    rng = np.random.default_rng(seed)
    symbols = np.array(["C", "H", "N", "O", "Si", "Na", "Cl"])
    with open(path, "w") as file:
        done = 0
        while done < count:
            block = min(2000, count - done)
            sizes = rng.integers(4, 11, block)
            total = int(sizes.sum())
            place = np.arange(total) - np.repeat(np.cumsum(sizes) - sizes, sizes)
            positions = np.stack([place % 2, place // 2 % 2, place // 4], 1) * 1.7 + rng.uniform(
                -0.2, 0.2, (total, 3)
            )
            numbers = np.concatenate([positions, rng.normal(size=(total, 3))], 1)
            texts = [f"{s} {a:.4f} {b:.4f} {c:.4f} {d:.4f} {e:.4f} {f:.4f}" for s, (a, b, c, d, e, f) in
                     zip(symbols[rng.integers(0, 7, total)].tolist(), numbers.tolist(), strict=True)]  # fmt: skip
            energies = rng.normal(size=block).tolist()
            start = 0
            for i, size in enumerate(sizes.tolist()):
                cell = 'Lattice="3.6 0 0 0 3.6 0 0 0 7.0" ' if i % 2 else ""
                head = f"{cell}Properties=species:S:1:pos:R:3:forces:R:3 energy={energies[i]:.5f}"
                file.write("\n".join([str(size), head, *texts[start : start + size], ""]))
                start += size
            done += block


def memory(pids: list[int]) -> tuple[float, float]:
    """Anonymous and resident memory of processes, MB, added up."""
    sums = [0, 0]
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for line in lines:
            if line.startswith("RssAnon:"):
                sums[0] += int(line.split()[1])
            if line.startswith("VmRSS:"):
                sums[1] += int(line.split()[1])
    return sums[0] / 1024, sums[1] / 1024


def family(pid: int) -> list[int]:
    """A process and those that it started."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return [pid]
    return [pid, *(one for child in below for one in family(int(child)))]


class Watched:
    """Peak memory and time of a process and its children."""

    def __init__(self, pid: int):
        self.peak = [0.0, 0.0]
        self.begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(pid,), daemon=True)
        self._thread.start()

    def _watch(self, pid: int) -> None:
        while not self._over.wait(0.25):
            self.peak = [max(a, b) for a, b in zip(self.peak, memory(family(pid)), strict=True)]

    def row(self, what: str, result: str) -> str:
        self._over.set()
        self._thread.join()
        seconds = time.monotonic() - self.begun
        return f"| {what} | {result.format(seconds=seconds)} | {seconds:.0f} | {self.peak[0]:.0f} | {self.peak[1]:.0f} |"


def in_a_process(function: Callable[..., Any], *given: Any) -> tuple[Any, Watched]:
    """What a function returns, run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(function, given, theirs))
    process.start()
    assert process.pid is not None
    watched = Watched(process.pid)
    theirs.close()
    result = ours.recv()
    process.join()
    return result, watched


def _send(function: Callable[..., Any], given: tuple[Any, ...], pipe: Any) -> None:
    pipe.send(function(*given))


def open_and_plan(folder: Path) -> str:
    """What a training run does before its first step."""
    from atomfield.data.sampler import Budget, EpochSampler, estimated_edges
    from atomfield.data.store import Store

    store = Store(folder)
    columns = store.columns
    nodes = columns["num_nodes"]
    batches = EpochSampler(nodes, estimated_edges("crystal", nodes), Budget(edges=30_000), seed=0).plan(0)
    return (
        f"{len(store):,} records, {len(columns['elements'])} elements, an epoch of {len(batches):,} batches"
    )


def checked(folder: Path) -> str:
    """The checks that ``prepare`` ends with."""
    from atomfield.data.checks import audit
    from atomfield.data.store import Store

    store = Store(folder)
    begun = time.process_time()
    report = audit(store, where=folder.name)
    report.write(folder.parent / "checks.json")
    found = ", ".join(f"{f.check} {f.count:,}" for f in report.sorted())
    rate = len(store) / (time.process_time() - begun)
    return f"{len(store):,} records, {rate:,.0f} records per processor second; found: {found}"


def sample(folder: Path, records: int) -> str:
    """Random batches of 64 all over the store."""
    from atomfield.data.store import Store

    store = Store(folder)
    order = np.random.default_rng(1).permutation(len(store))[:records]
    store.batch(order[:64])
    begun = time.monotonic()
    nodes = 0
    for start in range(0, len(order), 64):
        nodes += store.batch(order[start : start + 64]).num_nodes
    seconds = time.monotonic() - begun
    return f"{len(order):,} random records, {len(order) / seconds:,.0f} records/s, {nodes / seconds:,.0f} atoms/s"


def prepared(what: str, count: int, sources: list[Path], out: Path, workers: int) -> str:
    """The row of one run of the command."""
    words = ["prepare", *map(str, sources), "--out", str(out), "--workers", str(workers), "--no-check"]
    process = subprocess.Popen([sys.executable, "-m", "atomfield", *words], stdout=subprocess.DEVNULL)
    watched = Watched(process.pid)
    if process.wait():
        sys.exit("prepare failed")
    taken = time.monotonic() - watched.begun
    return watched.row(what, f"{count:,} records, {count / taken:,.0f} records/s")


def pretrained(folder: Path) -> str:
    """The row of ``atomfield pretrain`` from its start to the end of its first step."""
    streams = [
        {"source": str(folder), "max_edges": 2000},
        {"source": str(folder), "objective": "denoise_forces", "noise": 0.1, "max_edges": 2000},
        {"source": str(folder), "objective": "denoise", "noise": 0.1, "max_edges": 2000},
    ]
    config = {
        "network": "xs",
        "streams": streams,
        "steps": 1,
        "zero_stage": 0,
        "wandb": "disabled",
        "device": "cpu",
    }
    file = folder.parent / "pretrain.yaml"
    file.write_text(json.dumps({**config, "out": str(folder.parent / "run"), "validate_every": 1000}))
    process = subprocess.Popen(
        [sys.executable, "-m", "atomfield", "pretrain", str(file)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    watched = Watched(process.pid)
    if process.wait():
        sys.exit("pretrain failed")
    return watched.row("pretrain, to the end of its first step", "three streams, one process")


def machine() -> str:
    """Cores, processor and memory, as Linux names them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown")
    name += " with AVX-512" if any("avx512f" in line for line in lines if line.startswith("flags")) else ""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores of {name}, {size:.0f} GiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=int, default=2_000_000)
    parser.add_argument("--parsed", type=int, default=200_000)
    parser.add_argument("--sampled", type=int, default=500_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--unchecked", action="store_true", help="leave out the checks, which take 40 minutes"
    )
    parser.add_argument("--folder", type=Path, help="where a temporary folder may take 5 GB")
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    rows: list[str] = []
    with tempfile.TemporaryDirectory(prefix="large-store-", dir=options.folder) as name:
        folder = Path(name)
        (folder / "files").mkdir()
        for number, first in enumerate(range(0, options.parsed, PER_FILE)):
            path = folder / "files" / f"part{number}.extxyz"
            write_frames(path, min(PER_FILE, options.parsed - first), number)
        size = sum(p.stat().st_size for p in (folder / "files").iterdir()) / 1e9
        print(f"written: {size:.1f} GB", flush=True)
        repeats = -(-options.records // options.parsed)
        total = repeats * options.parsed
        for what, count, sources in (
            ("prepare from extended XYZ", options.parsed, [folder / "files"]),
            ("prepare from stores", total, [folder / "parsed"] * repeats),
        ):
            out = folder / ("parsed" if sources[0].name == "files" else "store")
            rows.append(prepared(what, count, sources, out, options.workers))
            print(rows[-1], flush=True)
        stored = sum(p.stat().st_size for p in (folder / "store").iterdir()) / 1e9
        for what, function, given in (
            ("open, columns, plan of an epoch", open_and_plan, ()),
            ("sample", sample, (options.sampled,)),
            *([] if options.unchecked else [("check", checked, ())]),
        ):
            result, watched = in_a_process(function, folder / "store", *given)
            rows.append(watched.row(what, result))
            print(rows[-1], flush=True)
        rows.append(pretrained(folder / "store"))
        print(rows[-1], flush=True)
    page = f"""# A store of {total:,} graphs

`python benchmarks/large_store.py {" ".join(sys.argv[1:])}`,
{time.strftime("%d %B %Y")}, {machine()}, shared with other work.

{size:.2f} GB of extended XYZ became a store of {options.parsed:,} records, and {repeats} times that one of {stored:.1f} GB.
Memory is the highest sum over the process and its workers: *anonymous* is what it cannot do without; *resident* counts
the pages of mapped shards too, which the system takes back when it needs them (and pages shared by processes more than once).

| step | result | s | anonymous, MB | resident, MB |
| --- | --- | --- | --- | --- |
{chr(10).join(rows)}
"""
    print(page)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)


if __name__ == "__main__":
    main()
