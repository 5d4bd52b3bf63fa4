"""A long run in which much goes wrong at random, and which must end where the undisturbed run ends.

    python benchmarks/soak_pretrain.py [--minutes 60] [--ranks 1] [--out benchmarks/results/soak_pretrain.md]

The undisturbed run is measured first; the other gets so many steps that it fills the time. Until it ends it is started again and
again and meets, at random moments: SIGKILL of a rank, SIGTERM or SIGUSR1, a damaged newest checkpoint (it must be refused by
name; the folder is then removed, as the message says), and half-written folders. Both runs meet the same NaN positions and NaN
losses at the same steps, which must be skipped in both alike. In the end every loss and the published weights are compared bit by
bit. Spike detection is off: where a run goes back to depends on its checkpoints, and a signal adds some.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from small_runs import Child, outcome, start, undisturbed, write_sources

from atomfield.pretrain import checkpoint, loop

NAN_EVERY = 37
"""Steps between two injected NaNs, alternately in a position and in the loss."""


def inject_nans() -> None:
    """The same faults in every attempt: they depend on the step alone, and hit rank 0."""
    real = loop.micro_batches_of

    def injected(run: Any, batches: Any) -> Any:
        micro = real(run, batches)
        turn, rest = divmod(run.here.step + 1, NAN_EVERY)
        if rest == 0 and run.rank == 0:
            if turn % 2:
                micro[0].batch.positions[0] = float("nan")
            else:
                micro[-1].weight = float("nan")
        return micro

    loop.micro_batches_of = injected


def disturb(child: Child, rng: random.Random, seconds: float, counts: Counter[str]) -> None:
    """Let ``child`` run for a while, then kill it or ask it to stop."""
    if child.wait(rng.random() * seconds):
        return
    pid = rng.choice(child.pids)
    number = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
    child.signal(pid, number)
    counts[number.name] += 1
    if not child.wait(90):
        counts["attempts that did not end"] += 1
        child.end()


def damage(folder: Path, rng: random.Random) -> Path | None:
    """Flip a bit of a file of the newest of at least two checkpoints, cut it, or remove it; the damaged folder."""
    found = checkpoint.complete(folder)
    if len(found) < 2:
        return None
    file = rng.choice(sorted(found[-1].iterdir()))
    data = bytearray(file.read_bytes())
    match rng.choice(["flip", "cut", "remove"]):
        case "flip":
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(bytes(data))
        case "cut":
            file.write_bytes(bytes(data[: rng.randrange(len(data))]))
        case _:
            file.unlink()
    (folder / "step-99999999.tmp").mkdir(exist_ok=True)
    return found[-1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of the undisturbed run; the disturbed one takes longer"
    )
    parser.add_argument(
        "--every", type=float, default=20.0, help="seconds between two disturbances, on average"
    )
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="page to write")
    given = parser.parse_args()
    rng = random.Random(given.seed)
    counts: Counter[str] = Counter()
    failures: list[str] = []
    inject_nans()
    with tempfile.TemporaryDirectory(prefix="soak-pretrain-") as name:
        folder = Path(name)
        options = {
            **write_sources(folder),
            "save_every": 10,
            "validate_every": 50,
            "keep_last": 3,
            "timeout": 30,
            "numerics": {"spike_sigma": None},
        }
        probe = {**options, "steps": 60}
        undisturbed(probe, folder / "first", given.ranks)  # compiles the kernels
        _, seconds = undisturbed(probe, folder / "probe", given.ranks)
        options["steps"] = max(60, int(60 * 60 * given.minutes / seconds))
        print(f"{options['steps']} steps", flush=True)
        began = time.monotonic()
        expected, quiet = undisturbed(options, folder / "whole", given.ranks, 600 + 300 * given.minutes)
        out, log, refused = folder / "run", folder / "run.log", None
        while True:
            counts["attempts"] += 1
            child = start({**options, "out": str(out)}, log, given.ranks)
            if refused is not None:
                child.wait(90)
                if any(code != 2 for code in child.codes.values()) or str(refused) not in child.said():
                    failures.append(f"damage to {refused} was not refused: {child.codes}\n{child.said()}")
                    child.end()
                shutil.rmtree(refused)
                refused = None
                continue
            disturb(child, rng, 2 * given.every, counts)
            if list(child.codes.values()) == [0] * given.ranks:
                break
            if (
                any(code not in (0, 1, 75, -9, -10, -15) for code in child.codes.values())
                or counts["attempts that did not end"]
            ):
                failures.append(f"attempt {counts['attempts']}: codes {child.codes}\n{child.said()}")
                break
            if rng.random() < 0.2 and (refused := damage(out / "checkpoints", rng)):
                counts["damaged checkpoints, refused by name"] += 1
            print(f"{(time.monotonic() - began) / 60:.1f} min: {dict(counts)}", flush=True)
        if not failures and outcome(out) != expected:
            failures.append("the losses or the weights are not those of the undisturbed run")
        skipped = options["steps"] // NAN_EVERY
        page = f"""# A soak

`python benchmarks/soak_pretrain.py {" ".join(sys.argv[1:])}`, {time.strftime("%d %B %Y")}, {os.cpu_count()} cores shared with
other work. {options["steps"]} steps on {given.ranks} rank(s), a checkpoint every tenth, {skipped} injected NaNs in both runs:
{quiet / 60:.1f} minutes
undisturbed, {(time.monotonic() - began - quiet) / 60:.1f} minutes disturbed: {", ".join(f"{v} {k}" for k, v in counts.items())}.

**Failures, and bits that differ in any loss or weight at the end: {len(failures)}.**
"""
    print(page, *failures, sep="\n")
    if given.out:
        given.out.write_text(page)
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
