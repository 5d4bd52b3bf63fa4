"""Thousands of spoiled files of every format: no crash, no hang, no traceback, and what is accepted is what others read too.

    python -m benchmarks.fuzz_readers [--cases 10000] [--workers 2] [--limit 5] [--only extxyz] [--keep FOLDER]

Each case is read in a subprocess that is killed after ``--limit`` seconds (and tried once more with six times that, since the
machine may be busy). Exit code 1 if anything is at fault; such files are kept in ``--keep``, and one case is repeated by
``--repeat NAME NUMBER``.
"""

from __future__ import annotations

import argparse
import json
import logging
import queue
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from atomfield.data.readers.files import kind_of
from tests.fuzz.case import spoiled
from tests.fuzz.judge import judge
from tests.fuzz.seeds import Seed, seeds


class Worker:
    """A process that judges cases; started anew after it died or was killed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def judge(self, name: str, number: int, limit: float) -> tuple[str, str]:
        if self.process is None:
            command = [sys.executable, "-c", "from tests.fuzz.case import serve; serve()"]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            assert self._answer(300) == '"ready"\n', "the worker did not start"
        assert self.process.stdin is not None
        self.process.stdin.write(f"{name} {number}\n")
        self.process.stdin.flush()
        answer = self._answer(limit)
        if answer is None:
            self.end()
            return "hang", f"no answer in {limit} s"
        if not answer:
            code = self.process.wait()
            self.end()
            return "fault", f"the process died with exit code {code}"
        verdict, why = json.loads(answer)
        return verdict, why

    def _answer(self, limit: float) -> str | None:
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        return self.process.stdout.readline() if ready else None

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case of each format")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=5.0)
    parser.add_argument("--only", default="", help="part of the names of the seeds")
    parser.add_argument("--keep", type=Path, default=Path("fuzz_findings"))
    parser.add_argument("--repeat", nargs=2, metavar=("NAME", "NUMBER"))
    arguments = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        known = [
            s for s in seeds(Path(folder)) if kind_of(Path(folder) / s.name) and arguments.only in s.name
        ]
        if arguments.repeat:
            name, number = arguments.repeat
            (seed,) = (s for s in known if s.name == name)
            path = Path(folder) / name
            path.write_bytes(spoiled(seed, int(number)))
            print(*judge(path, seed), sep="\n")
            return 0
    return run(known, arguments)


def run(known: list[Seed], arguments: argparse.Namespace) -> int:
    cases: queue.SimpleQueue[tuple[Seed, int]] = queue.SimpleQueue()
    for number in range(arguments.cases):
        cases.put((known[number % len(known)], arguments.first + number // len(known)))
    tally: dict[str, Counter[str]] = {s.name: Counter() for s in known}
    reasons: Counter[str] = Counter()
    findings: list[str] = []
    began = time.monotonic()

    def work() -> None:
        worker = Worker()
        while not cases.empty():
            try:
                seed, number = cases.get_nowait()
            except queue.Empty:
                break
            verdict, why = worker.judge(seed.name, number, arguments.limit)
            if verdict == "hang":
                verdict, why = worker.judge(seed.name, number, 6 * arguments.limit)
                tally[seed.name]["slow"] += 1
            tally[seed.name]["compared" if why == "compared" else verdict] += 1
            if verdict == "unforeseen":
                reasons[why.split(":", 1)[-1][:150]] += 1
            if verdict in ("fault", "hang"):
                arguments.keep.mkdir(parents=True, exist_ok=True)
                (arguments.keep / f"{number}-{seed.name}").write_bytes(spoiled(seed, number))
                findings.append(f"{seed.name} {number}: {verdict}: {why}")
                print(findings[-1], flush=True)
        worker.end()

    threads = [threading.Thread(target=work) for _ in range(arguments.workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    columns = ("refused", "unforeseen", "accepted", "compared", "slow", "hang", "fault")
    print(f"{'seed':18}" + "".join(f"{c:>11}" for c in columns))
    for name, counts in tally.items():
        print(f"{name:18}" + "".join(f"{counts[c]:11}" for c in columns))
    total = sum(tally.values(), Counter())
    print(
        f"{'all':18}" + "".join(f"{total[c]:11}" for c in columns) + f"   in {time.monotonic() - began:.0f} s"
    )
    print("\nMost frequent refusals that no reader foresaw:")
    for reason, count in reasons.most_common(12):
        print(f"{count:6} {reason}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
