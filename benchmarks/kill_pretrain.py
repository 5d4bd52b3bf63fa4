"""Kill pretraining at random moments, run it again until it ends, and compare losses and weights with an undisturbed run; damage
its checkpoints in many ways; fill the disk.

    python benchmarks/kill_pretrain.py [--kills 200] [--pairs 20] [--signals 10] [--out benchmarks/results/kill_pretrain.md]

A tiny network on both worlds saves after every step. Runs are forks of one process with the libraries loaded; a kill is
SIGKILL at a moment drawn evenly over what an undisturbed run takes. With two ranks one is killed, the other must end by itself.
SIGTERM or SIGUSR1 to one of two ranks must end both, with exit code 75.
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
from collections import Counter
from pathlib import Path
from typing import Any

from small_runs import outcome, start, undisturbed, write_sources

from atomfield.data.errors import InputError
from atomfield.pretrain import checkpoint


def kill_runs(
    options: dict[str, Any], folder: Path, kills: int, ranks: int, rng: random.Random
) -> tuple[Counter[str], list[str]]:
    """Trials until there were ``kills`` kills; counts and failures."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    undisturbed(options, folder / "first", ranks)  # compiles the kernels
    expected, span = undisturbed(options, folder / f"whole-{ranks}", ranks)
    out, log = folder / "again", folder / "again.log"
    while counts["kills"] < kills:
        counts["trials"] += 1
        shutil.rmtree(out, ignore_errors=True)
        for _ in range(rng.choice([1, 1, 2, 3])):
            child = start({**options, "out": str(out)}, log, ranks)
            if child.wait(rng.random() * span):
                counts["that came too late"] += 1
                break
            child.signal(rng.choice(child.pids), signal.SIGKILL)
            if not child.wait(60):
                failures.append(f"trial {counts['trials']}: the other rank goes on\n{child.said()}")
                child.end()
            counts["kills"] += 1
            where, problem = _left_by(out / "checkpoints")
            counts[where] += 1
            if problem:
                failures.append(f"trial {counts['trials']}: {problem}")
        last, began = start({**options, "out": str(out)}, log, ranks), time.monotonic()
        if not last.wait(600) or any(last.codes.values()):
            failures.append(f"trial {counts['trials']}: codes {last.codes}\n{last.said()}")
            last.end()
        elif outcome(out) != expected:
            failures.append(f"trial {counts['trials']}: losses or weights differ from the undisturbed run")
        span = max(time.monotonic() - began, span / 2)  # other work on the machine comes and goes
        if list((out / "checkpoints").glob("*.tmp")):
            failures.append(f"trial {counts['trials']}: half a checkpoint is left")
        print(f"{ranks} rank(s): {dict(counts)}, failures {len(failures)}", flush=True)
    return counts, failures


def signals(
    options: dict[str, Any], folder: Path, count: int, rng: random.Random
) -> tuple[Counter[str], float, list[str]]:
    """Ask one of two ranks to stop at random moments of the training; counts, the longest time to the end of both, failures."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    longest = 0.0
    expected, _ = undisturbed(options, folder / "whole-signals", 2)
    out, log = folder / "asked", folder / "asked.log"
    while counts["asked"] < count:
        shutil.rmtree(out, ignore_errors=True)
        for last in (False, True):
            child = start({**options, "out": str(out)}, log, 2)
            if last:
                break
            while not checkpoint.complete(out / "checkpoints") and not child.poll():
                time.sleep(0.002)
            time.sleep(rng.random() * 0.5)
            child.signal(rng.choice(child.pids), rng.choice([signal.SIGTERM, signal.SIGUSR1]))
            began = time.monotonic()
            ended = child.wait(60)
            codes = sorted(child.codes.values())
            counts["asked"] += 1
            counts["ended after the last step" if codes == [0, 0] else "saved and ended with 75"] += 1
            longest = max(longest, time.monotonic() - began)
            if not ended or codes not in ([75, 75], [0, 0]):
                failures.append(f"signal {counts['asked']}: codes {child.codes}\n{child.said()}")
                child.end()
        if not child.wait(600) or outcome(out) != expected:
            failures.append(f"signal {counts['asked']}: not as undisturbed: {child.codes}\n{child.said()}")
            child.end()
        print(f"signals: {dict(counts)}, failures {len(failures)}", flush=True)
    return counts, longest, failures


def _left_by(folder: Path) -> tuple[str, str]:
    """Where the kill fell, and what is wrong with the newest checkpoint ("" if nothing)."""
    found = checkpoint.complete(folder)
    unfinished = any(folder.glob("*.tmp")) if folder.is_dir() else False
    where = "within a save" if unfinished else "between saves" if found else "before the first checkpoint"
    try:
        if found:
            checkpoint.verify(found[-1])
    except InputError as error:
        return where, str(error)
    return where, ""


def damage(newest: Path, truncations: int, flips: int, rng: random.Random) -> tuple[Counter[str], list[str]]:
    """Every damage must be refused with the name of the file that has it."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    files = sorted(p for p in newest.iterdir() if p.is_file())
    whole = {file: file.read_bytes() for file in files}
    total = sum(map(len, whole.values()))

    def place(offset: int) -> tuple[Path, int]:
        for file in files:
            if offset < len(whole[file]):
                return file, offset
            offset -= len(whole[file])
        raise AssertionError

    def tried(kind: str, file: Path) -> None:
        counts[kind] += 1
        try:
            checkpoint.verify(newest)
        except InputError as error:
            if str(file) in str(error):
                counts[f"{kind} found and named"] += 1
            else:
                failures.append(f"{kind} of {file.name}: {error}")
        else:
            failures.append(f"{kind} of {file.name}: not found")
        file.write_bytes(whole[file])

    # the small files would hardly be met by offsets spread over all bytes: every second one goes to each file in turn
    for n in range(truncations):
        file, offset = place(n * total // truncations) if n % 2 else (files[n // 2 % len(files)], 0)
        offset = offset if n % 2 else rng.randrange(len(whole[file]))
        file.write_bytes(whole[file][:offset])
        tried("truncation", file)
    for n in range(flips):
        file, offset = place(rng.randrange(total)) if n % 2 else (files[n // 2 % len(files)], 0)
        offset = offset if n % 2 else rng.randrange(len(whole[file]))
        data = bytearray(whole[file])
        data[offset] ^= 1 << rng.randrange(8)
        file.write_bytes(bytes(data))
        tried("flipped bit", file)
    for file in files:
        file.unlink()
        tried("deletion", file)
    checkpoint.verify(newest)
    return counts, failures


def full_disk(options: dict[str, Any], folder: Path, expected: Any) -> tuple[str, list[str]]:
    """A real file system that is too small: the run must say so and leave its last good checkpoint; with room it goes on."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        return "not tried: mounting a small file system needs root", []
    failures = []
    filler = disk / "filler"
    try:
        # the check beforehand is switched off in the first run, so that the disk runs full in the middle of a file
        for before, room in ((0.0, 0.5), (checkpoint.FREE, 0.9)):
            filler.write_bytes(b"")
            child = start(
                {**options, "out": str(disk / "run")},
                folder / "full.log",
                prepare=lambda b=before: _unchecked(b),
            )
            while not (found := checkpoint.complete(disk / "run" / "checkpoints")) and not child.poll():
                time.sleep(0.002)
            size = sum(f.stat().st_size for f in found[-1].iterdir())
            filler.write_bytes(b"0" * max(shutil.disk_usage(disk).free - int(room * size), 0))
            ended = child.wait(60)
            left = checkpoint.complete(disk / "run" / "checkpoints")
            if not ended or list(child.codes.values()) != [1] or "the disk is full" not in child.said():
                failures.append(f"full disk: codes {child.codes}\n{child.said()}")
            if not left or list((disk / "run" / "checkpoints").glob("*.tmp")):
                failures.append("full disk: no checkpoint, or half of one, is left")
            else:
                checkpoint.verify(left[-1])
            filler.unlink()
        child = start({**options, "out": str(disk / "run")}, folder / "full.log")
        if not child.wait(300) or outcome(disk / "run") != expected:
            failures.append(f"full disk: the run did not go on\n{child.said()}")
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    return (
        "twice, in the middle of a file and found before the save; each time a message and exit code 1",
        failures,
    )


def _unchecked(before: float) -> None:
    checkpoint.FREE = before


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200, help="with one rank")
    parser.add_argument("--pairs", type=int, default=20, help="with two ranks")
    parser.add_argument("--signals", type=int, default=10, help="to one of two ranks")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="page to write")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill-pretrain-") as name:
        folder = Path(name)
        options = {**write_sources(folder), "steps": given.steps, "save_every": 1, "validate_every": 10}
        options["timeout"] = 10  # a rank whose partner died before they met waits so long
        one, failed_one = kill_runs(options, folder, given.kills, 1, rng)
        two, failed_two = kill_runs(options, folder, given.pairs, 2, rng) if given.pairs else (Counter(), [])
        told, longest, failed_told = signals(options, folder, given.signals, rng)
        newest = checkpoint.complete(folder / "whole-1" / "checkpoints")[-1]
        hurt, failed_hurt = damage(newest, 64, 256, rng)
        disk, failed_disk = full_disk(options, folder, outcome(folder / "whole-1"))
    failures = [*failed_one, *failed_two, *failed_told, *failed_hurt, *failed_disk]
    listed = lambda c: ", ".join(f"{v} {k}" for k, v in c.items())  # noqa: E731
    page = f"""# Killing pretraining

`python benchmarks/kill_pretrain.py --kills {given.kills} --pairs {given.pairs} --signals {given.signals} --steps {given.steps}
--seed {given.seed}`, {time.strftime("%d %B %Y")}, {os.cpu_count()} cores shared with other work,
{(time.monotonic() - began) / 60:.0f} minutes.

A run of {given.steps} steps on molecules and flows that saves after every step, validates every tenth and keeps the last two
checkpoints and the best. After each trial the losses of all steps and the published weights are compared bit by bit with those
of an undisturbed run.

| what | counted |
|---|---|
| SIGKILL, one rank | {listed(one)} |
| SIGKILL of one of two ranks | {listed(two)} |
| SIGTERM or SIGUSR1 to one of two ranks | {listed(told)}; at most {longest:.1f} s until both had ended |
| damage to the newest checkpoint | {listed(hurt)} |
| full disk | {disk} |

**Runs that differ in a bit, checkpoints that do not verify, damage not found or not named, other failures: {len(failures)}.**
"""
    print(page, *failures, sep="\n")
    if given.out:
        given.out.write_text(page)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
