"""``atomfield prepare`` is killed with SIGKILL at random moments; the same command given again must end with the same bytes.

Run: python benchmarks/kill_prepare.py [--kills 50] [--workers 2] [--out benchmarks/results/kill_prepare.md]

Every trial starts from nothing, kills the command (or, one time in four, one of its workers) at a time drawn evenly between its
start and a little after the usual end, one to three times in a row, then lets it finish and compares every file of the
store with that of an undisturbed run. About 15 minutes on two cores.
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
    words = ["prepare", *sources, "--out", str(out), "--on-bad", "skip", "--workers", str(workers)]
    return subprocess.Popen(
        [sys.executable, "-m", "atomfield", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started and that live."""
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def content(store: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in store.iterdir()}


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
    counts = {"killed": 0, "of these a worker": 0, "came too late": 0, "went on from finished chunks": 0}
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="kill-prepare-") as name:
        folder = Path(name)
        sources = write_sources(folder, options.frames)
        begun = time.monotonic()
        whole = start(sources, folder / "whole", options.workers)
        if whole.wait():
            print(whole.stderr.read().decode() if whole.stderr else "")
            return 1
        usual = time.monotonic() - begun
        expected = content(folder / "whole")
        print(f"undisturbed: {usual:.1f} s, {len(expected)} files", flush=True)
        trial = 0
        while counts["killed"] < options.kills:
            trial += 1
            out = folder / "again"
            for _ in range(rng.choice([1, 1, 2, 3])):
                process = start(sources, out, rng.randint(1, options.workers))
                time.sleep(rng.random() * usual * 1.05)
                workers = children(process.pid)
                victim = rng.choice(workers) if workers and rng.random() < 0.25 else process.pid
                if process.poll() is not None:
                    counts["came too late"] += 1
                    break
                os.kill(victim, signal.SIGKILL)
                process.communicate()
                counts["killed"] += 1
                counts["of these a worker"] += victim != process.pid
            last = start(sources, out, rng.randint(1, options.workers))
            _, said = last.communicate()
            counts["went on from finished chunks"] += b"goes on after" in said
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

`python benchmarks/kill_prepare.py --kills {options.kills} --workers {options.workers}`, {os.cpu_count()} cores.

{options.frames} frames in one file (one in a thousand bad) and a folder of 60 crystals; an undisturbed run took {usual:.1f} s.
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
