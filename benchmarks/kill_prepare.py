"""``atomfield prepare`` is killed with SIGKILL at random moments; the same command given again must end with the same bytes.

Run: python benchmarks/kill_prepare.py [--kills 50] [--workers 2] [--out benchmarks/results/kill_prepare.md]

Every trial starts from nothing, kills the command (or, one time in four, one of its workers), one to three times in a row, then
lets it finish and compares every file of the store with that of an undisturbed run. The clock of a kill starts when the
first record is read, not with the process, which first loads its libraries for seconds; its time is drawn evenly over what
an undisturbed run needs from there to its end, and a little more. About 15 minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def write_sources(folder: Path, frames: int) -> list[str]:
    """One file that is large enough to be cut into chunks, with some bad records, and a folder of small ones."""
    rng = np.random.default_rng(0)
    with open(folder / "large.extxyz", "w") as file:
        for i in range(frames):
            size = int(rng.integers(5, 20))
            positions = rng.normal(size=(size, 3)) * 0.1 + np.stack(
                [np.arange(size) * 1.5, np.arange(size) % 3, np.zeros(size)], 1
            )
            if i % 1000 == 700:
                positions[1] = positions[0]
            forces = rng.normal(size=(size, 3))
            file.write(f"{size}\nProperties=species:S:1:pos:R:3:forces:R:3 energy={rng.normal():.6f}\n")
            for k in range(size):
                numbers = " ".join(f"{x:.6f}" for x in (*positions[k], *forces[k]))
                file.write(f"{'CHNO'[k % 4]} {numbers}\n")
    (folder / "small").mkdir()
    for i in range(60):
        text = f"NaCl\n1.0\n4 0 0\n0 4 0\n0 0 {4 + i / 50}\nNa Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
        (folder / "small" / f"{i}.vasp").write_text(text)
    return [str(folder / "large.extxyz"), str(folder / "small")]


def start(sources: list[str], out: Path, workers: int) -> subprocess.Popen[bytes]:
    """The command, on its way."""
    words = [
        "prepare",
        *sources,
        "--out",
        str(out),
        "--on-bad",
        "skip",
        "--no-check",
        "--workers",
        str(workers),
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "atomfield", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def wait_for_work(process: subprocess.Popen[bytes], out: Path, workers: int) -> float:
    """Wait until records are being read: the draft is there and so are the workers, which take as long to load as the command
    did. The time in seconds since the draft began."""
    draft = out.parent / f".{out.name}.partial" / "journal.jsonl"
    while process.poll() is None and not draft.exists():
        time.sleep(0.01)
    begun = time.monotonic()
    if workers > 1:
        while process.poll() is None and not any(map(is_loaded, children(process.pid))):
            time.sleep(0.01)
    return time.monotonic() - begun


def is_loaded(pid: int) -> bool:
    """Whether a worker has opened one of the sources."""
    try:
        opened = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:  # it ended
        return False
    return any(name.endswith((".extxyz", ".vasp")) for name in opened)


def reached(out: Path) -> int:
    """Chunks that the journal of an unfinished store lists as done."""
    journal = out.parent / f".{out.name}.partial" / "journal.jsonl"
    return journal.read_bytes().count(b'"shards"') if journal.exists() else 0


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started and that live."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def content(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.iterdir()}


def page_of(
    options: argparse.Namespace,
    counts: dict[str, int],
    trials: int,
    shards: int,
    spans: dict[int, float],
    failures: list[str],
) -> str:
    """The page so far."""
    usual = ", ".join(f"{spans[n]:.1f} s with {n} worker{'s' * (n > 1)}" for n in spans)
    return f"""# Killing `prepare`

`python benchmarks/kill_prepare.py --kills {options.kills} --workers {options.workers}`, {time.strftime("%d %B %Y")},
{os.cpu_count()} cores shared with other work{"" if counts["kills"] >= options.kills else ", stopped before its end"}.

{options.frames} frames in one file (one in a thousand bad) and a folder of 60 crystals, {shards} shards. An undisturbed run took
{usual}, libraries loaded; kills are spread over that time.
{trials} trials, each from nothing: {", ".join(f"{v} {k}" for k, v in counts.items())}.

**Stores that differ in any byte from the undisturbed one, failed reruns and files left behind: {len(failures)}.**
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50, help="how many, at least")
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument(
        "--workers", type=int, default=2, help="at most; each trial draws a number from one to this"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="page to write")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    counts = {
        "kills": 0,
        "of these of a worker": 0,
        "before the first chunk was done": 0,
        "between two chunks": 0,
        "after the last": 0,
        "that came too late": 0,
        "reruns that went on from finished chunks": 0,
    }
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kill-prepare-") as name:
        folder = Path(name)
        sources = write_sources(folder, options.frames)
        spans: dict[int, float] = {}
        loads: dict[int, float] = {}
        for workers in range(1, options.workers + 1):
            shutil.rmtree(folder / "whole", ignore_errors=True)
            begun = time.monotonic()
            whole = start(sources, folder / "whole", workers)
            wait_for_work(whole, folder / "whole", workers)
            working = time.monotonic()
            _, said = whole.communicate()
            if whole.returncode:
                print(said.decode())
                return 1
            loads[workers], spans[workers] = working - begun, time.monotonic() - working
        expected = content(folder / "whole")
        total = sum(name.endswith(".arrow") for name in expected)
        print(f"undisturbed: loading {loads}, work {spans}, {len(expected)} files", flush=True)
        trial, page = 0, ""
        while counts["kills"] < options.kills:
            trial += 1
            out = folder / "again"
            for _ in range(rng.choice([1, 1, 2, 3])):
                number = rng.randint(1, options.workers)
                process = start(sources, out, number)
                wait_for_work(process, out, number)
                time.sleep(rng.random() * spans[number] * 1.05)
                workers = children(process.pid)
                victim = rng.choice(workers) if workers and rng.random() < 0.25 else process.pid
                if process.poll() is not None:
                    counts["that came too late"] += 1
                    break
                os.kill(victim, signal.SIGKILL)
                process.communicate()
                done = reached(out)
                place = ("before the first chunk was done" if not done else
                         "between two chunks" if done < total else "after the last")  # fmt: skip
                counts[place] += 1
                counts["kills"] += 1
                counts["of these of a worker"] += victim != process.pid
            last = start(sources, out, rng.randint(1, options.workers))
            _, said = last.communicate()
            counts["reruns that went on from finished chunks"] += b"goes on after" in said
            if last.returncode or content(out) != expected:
                failures.append(f"trial {trial}: exit code {last.returncode}, {said.decode().strip()[-300:]}")
            left = [
                p.name for p in folder.iterdir() if p.name not in ("whole", "again", "large.extxyz", "small")
            ]
            if left:
                failures.append(f"trial {trial}: left behind {left}")
            shutil.rmtree(out, ignore_errors=True)
            print(f"trial {trial}: {counts}, failures {len(failures)}", flush=True)
    page = f"""# Killing `prepare`

`python benchmarks/kill_prepare.py --kills {options.kills} --workers {options.workers}`, {time.strftime("%d %B %Y")},
{os.cpu_count()} cores shared with other work.

{options.frames} frames in one file (one in a thousand bad) and a folder of 60 crystals, {total} shards. An undisturbed run took
{", ".join(f"{spans[n]:.1f} s with {n} worker{'s' * (n > 1)}" for n in spans)}, libraries loaded; kills are spread over that time.
{trial} trials, each from nothing: {", ".join(f"{v} {k}" for k, v in counts.items())}.

**Stores that differ in any byte from the undisturbed one, failed reruns and files left behind: {len(failures)}.**
"""
    print(page, *failures, sep="\n")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
