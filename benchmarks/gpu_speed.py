"""Energy and forces, and one training step, of our network and of its peers on one GPU: the same structures, in turns.

    bash benchmarks/peers/make_env.sh mace; bash benchmarks/peers/make_env.sh nequip        once
    .peers/mace/bin/pip install cuequivariance-torch cuequivariance-ops-torch-cu13          for sizes that end in :cueq
    python benchmarks/gpu_speed.py --peer mace,nequip [--structure si216,si1728] [--size mace=64x0e,64x0e:cueq] [--limit 300]
    python benchmarks/gpu_speed.py --largest --peer mace,nequip      silicon cells that double until the memory is full: inference
    python benchmarks/gpu_speed.py --page                            results/gpu_speed.md from what stands in results/

Each package and size runs in a process of its own, in its package's environment. Neighbours are found on the CPU beforehand and
are in no time. Up to ``--together`` atoms all networks are on the card and asked in turns; beyond, each has it to itself, so that
memory is not shared. A turn is some calls that are not counted, then calls for ``--seconds``, each with a wait for the GPU; there
are ``--rounds`` turns. float32 without TF32. A training step is the loss (mean squares of the energy per atom and the forces) and
its backward pass, without an optimiser. Weights are random. Memory is the most that tensors took, network and batch included.

What fails (memory, say) is written in its row and the rest goes on. No answer is waited for longer than ``--patience`` seconds,
the whole run ends after ``--limit``, and the file is written whole after each step. ``--device cpu`` needs no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structures
from gpu_speed_page import page, table_of
from machine import commit, description
from peers.client import Worker, python_of

RESULTS = Path(__file__).parent / "results"
SIZES = {
    "atomfield": ("default",),
    "mace": ("64x0e", "64x0e+64x1o", "128x0e+128x1o", "64x0e:cueq", "64x0e+64x1o:cueq", "128x0e+128x1o:cueq"),
    "nequip": ("S", "S+compiled"),
}
STRUCTURES = "ethanol1,ethanol32,si216,si1728,si13824,si110592"
JOBS = ("energy_forces", "training_step")
Row = dict[str, Any]


Key = tuple[str, str]


class Crew:
    """A process for each package and size, so that none takes another along where it fails, and the clock over all."""

    def __init__(self, options: argparse.Namespace, packages: list[str], kind: str = "speed"):
        self.options, self.kind, self.end = options, kind, time.monotonic() + options.limit
        self.pythons = {name: python_of(name, options.peers) for name in packages}
        keys = [(package, size) for package in packages for size in options.sizes[package]]
        self.workers = {key: self._start(key) for key in keys}  # they come up side by side
        self.silent: dict[Key, str] = {}  # these gave no answer in time and are not started again
        self.versions = {
            key[0]: worker.hello.get("versions") or worker.hello for key, worker in self.workers.items()
        }

    def _start(self, key: Key) -> Worker:
        options = self.options
        memory = options.memory if options.device == "cpu" else 0.0
        return Worker(key[0], self.pythons[key[0]], options.threads, memory, self.kind, options.device)

    def over(self) -> bool:
        return time.monotonic() >= self.end

    def revive(self) -> None:
        for key, worker in self.workers.items():
            if not worker.alive() and key not in self.silent:
                self.workers[key] = self._start(key)

    def ask_all(self, questions: dict[Key, dict[str, Any]]) -> dict[Key, dict[str, Any]]:
        """One question to each of several, which work side by side; all have to answer within the patience."""
        sent = {key: self.workers[key].send(**question) for key, question in questions.items()}
        until = min(time.monotonic() + self.options.patience, self.end)
        return {key: self._answer(key, until) if there else self._ended(key) for key, there in sent.items()}

    def ask(self, key: Key, **question: Any) -> dict[str, Any]:
        return self.ask_all({key: question})[key]

    def _answer(self, key: Key, until: float) -> dict[str, Any]:
        worker = self.workers[key]
        answer = worker.receive(max(0.1, until - time.monotonic()))
        if "no answer" in answer.get("error", ""):
            self.silent[key] = (
                "the time was over" if self.over() else f"no answer within {self.options.patience:g} s"
            )
            return {"error": self.silent[key]}
        if "CUDA error" in answer.get("error", ""):
            worker.process.kill()  # nothing runs in a process whose context is broken
            worker.process.wait()
        return answer

    def _ended(self, key: Key) -> dict[str, Any]:
        return {"error": f"not tried: {self.silent[key]}" if key in self.silent else "its process has ended"}

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.process.terminate()  # all of them first: each takes a moment
        for worker in self.workers.values():
            worker.stop()


def read_all(crew: Crew, name: str, folder: Path) -> tuple[str, dict[Key, dict[str, Any]]]:
    """The structure's file, and what each answers once it has found its neighbours."""
    file = folder / f"{name}.traj"
    structures.write(structures.named(name), file)
    question = {"do": "read", "file": str(file), "cutoff": crew.options.cutoff}
    return str(file), crew.ask_all(dict.fromkeys(crew.workers, question))


def compare(crew: Crew, head: dict[str, Any], folder: Path) -> None:
    options, rows = crew.options, list[Row]()
    for name in options.structure.split(","):
        if crew.over():
            break
        crew.revive()
        file, read = read_all(crew, name, folder)
        entries = [{"package": k[0], "size": k[1], "structure": name, **answer} for k, answer in read.items()]
        for group in groups(entries, options.together):
            load(crew, group, file)
            for job in JOBS:
                for turn in range(options.rounds):
                    for row in group:
                        take(crew, row, job, first=turn == 0)
            crew.ask_all({key_of(row): {"do": "free"} for row in group})
            for row in group:
                finish(row)
                print(line_of(row), flush=True)
            rows += group
            write(options.out, {**head, "what": "gpu_speed", "rows": rows})


def key_of(row: Row) -> Key:
    return row["package"], row["size"]


def groups(entries: list[Row], together: int) -> Iterator[list[Row]]:
    """All entries where the structure is small, else one after the other; what failed already goes with the first."""
    small = [row for row in entries if "error" in row or row["atoms"] <= together]
    if small:
        yield small
    yield from ([row] for row in entries if row not in small)


def load(crew: Crew, group: list[Row], file: str) -> None:
    """Put networks and batches on the card, side by side."""
    question = {"do": "load", "file": file, "cutoff": crew.options.cutoff}
    rows = {key_of(row): row for row in group if "error" not in row}
    for key, answer in crew.ask_all({key: {**question, "size": key[1]} for key in rows}).items():
        rows[key] |= answer


def take(crew: Crew, row: Row, job: str, *, first: bool) -> None:
    """One turn of a job of a row that has not failed in it."""
    state = row.setdefault(job, {"ms": []})
    if "error" in row or "error" in state or job not in row["jobs"] or crew.over():
        return
    options = crew.options
    warm = (options.warm if row["atoms"] <= options.together else 3) if first else 1
    question = {"do": "time", "size": row["size"], "job": job, "seconds": options.seconds, "warm": warm}
    answer = crew.ask(key_of(row), **question)
    if "error" in answer:
        state["error"] = answer["error"]
    else:
        state["ms"] += answer["ms"]
        state["peak_mb"] = max(answer["peak_mb"], state.get("peak_mb", 0.0))


def finish(row: Row) -> None:
    """Medians in place of single times."""
    row.pop("jobs", None)
    for job in JOBS:
        state = row.pop(job, {})
        ms = state.pop("ms", [])
        if ms:
            median = statistics.median(ms)
            state |= {
                "median_ms": median,
                "min_ms": min(ms),
                "calls": len(ms),
                "atoms_per_second": 1e3 * row["atoms"] / median,
            }
        if state:
            row[job] = state


def line_of(row: Row) -> str:
    words = [f"{row['structure']}: {row['package']} {row['size']}:", row.get("error", "")]
    for job in JOBS:
        found = row.get(job, {})
        if "median_ms" in found:
            words.append(f"{job} {found['median_ms']:.2f} ms, {found['peak_mb']:.0f} MB;")
        words.append(found.get("error", ""))
    return " ".join(w for w in words if w)


def largest(crew: Crew, head: dict[str, Any], folder: Path) -> None:
    """Cells of twice the atoms until each network has failed once; one network's batch on the card at a time."""
    options, rows = crew.options, list[Row]()
    atoms = options.first
    while crew.workers and not crew.over() and atoms <= options.last:
        file, read = read_all(crew, f"si{atoms}", folder)
        for key in list(crew.workers):
            if crew.over():
                break
            row: Row = {
                "package": key[0],
                "size": key[1],
                "atoms": atoms,
                "structure": f"si{atoms}",
                **read[key],
            }
            load(crew, [row], file)
            take(crew, row, JOBS[0], first=True)
            crew.ask(key, do="free")
            finish(row)
            print(line_of(row), flush=True)
            rows.append(row)
            write(options.out, {**head, "what": "gpu_largest", "rows": rows})
            if "error" in row or "error" in row.get(JOBS[0], {}):
                crew.workers.pop(key).process.terminate()  # what it holds is the others' now
        Path(file).unlink()
        atoms *= 2


def card(device: str) -> dict[str, Any]:
    """What ``gpu_card.py`` measures, in a process of its own, since a context takes memory; empty where it fails."""
    words = [sys.executable, str(Path(__file__).with_name("gpu_card.py")), "--device", device]
    try:
        return json.loads(
            subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
        )
    except (subprocess.SubprocessError, json.JSONDecodeError) as error:
        print(f"the card could not be measured: {error}", file=sys.stderr)
        return {}


def write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", default="", help="mace,nequip")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder of their environments")
    parser.add_argument("--only-peers", action="store_true", help="without our network")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--structure", default=STRUCTURES)
    parser.add_argument(
        "--size", action="append", default=[], help="PACKAGE=SIZE,SIZE instead of the usual sizes"
    )
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument(
        "--together", type=int, default=2000, help="atoms up to which all are on the card at once"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn")
    parser.add_argument(
        "--warm", type=int, default=5, help="calls before the first turn; 3 beyond --together"
    )
    parser.add_argument("--threads", type=int, default=max(1, len(os.sched_getaffinity(0)) // 3))
    parser.add_argument("--memory", type=float, default=16.0, help="GB that a process may take on the CPU")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds for one answer")
    parser.add_argument("--limit", type=float, default=1e6, help="seconds for the whole run")
    parser.add_argument("--largest", action="store_true")
    parser.add_argument("--first", type=int, default=13_824, help="atoms of the first cell of --largest")
    parser.add_argument("--last", type=int, default=3_538_944, help="atoms of its last cell")
    parser.add_argument("--page", action="store_true", help="only write results/gpu_speed.md")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.out = options.out or RESULTS / ("gpu_largest.json" if options.largest else "gpu_speed.json")
    given = {name: tuple(x.split(",")) for name, _, x in (s.partition("=") for s in options.size)}
    options.sizes = {**SIZES, **given}
    return options


def main() -> None:
    options = options_of()
    if options.page:
        (RESULTS / "gpu_speed.md").write_text(page(RESULTS))
        return
    packages = ["atomfield"] * (not options.only_peers) + [x for x in options.peer.split(",") if x]
    if unknown := set(packages) - set(SIZES):
        raise SystemExit(f"--peer {','.join(sorted(unknown))} is unknown, expected some of mace, nequip")
    measured = card(options.device)
    crew = Crew(options, packages)
    head = {
        "card": measured, "machine": description(), "commit": commit(Path(__file__).parent), "versions": crew.versions,
        "cutoff": options.cutoff, "rounds": options.rounds, "seconds": options.seconds,
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            (largest if options.largest else compare)(crew, head, Path(folder))
    finally:
        crew.stop()
    if options.out.exists():
        print(table_of(json.loads(options.out.read_text())))


if __name__ == "__main__":
    main()
