"""Energy and forces, and one training step, of our network and of its peers, in one run on the same structures and threads.

    bash benchmarks/peers/make_env.sh mace; bash benchmarks/peers/make_env.sh nequip        once
    python benchmarks/speed.py --peer mace,nequip --threads 2 [--structure si216,ethanol32] [--size mace=64x0e,128x0e]
    python benchmarks/speed.py --ladder --threads 2 [--peer nequip]       silicon up to 100,000 atoms: time and memory per atom
    python benchmarks/speed.py --page                                     results/speed.md from what stands in results/

Each package runs in a process of its own environment. All are kept alive and asked in turns: a turn is one call that is not
counted, then calls for ``--seconds``; ``--rounds`` turns each, so that a noisy minute hits all alike. Times are of the network
alone, on a batch whose neighbours are there; ``graph`` is the time to find them. float32. A training step is the loss (mean
squares of the energy per atom and the forces) and its backward pass, without an optimiser. Weights are random: the arithmetic
does not depend on them. Written to ``--out`` after each structure, with versions, load averages and the share of the machine
that was free. NequIP compiled (``--size nequip=S,S+compiled``) takes minutes to compile and is not among the usual sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import structures
from machine import Watch, description
from peers.client import Worker, python_of
from speed_page import page, text_table

RESULTS = Path(__file__).parent / "results"
SIZES = {
    "atomfield": ("l1", "l2", "default"),
    "mace": ("64x0e", "64x0e+64x1o"),
    "nequip": ("S",),
}
JOBS = ("energy_forces", "training_step", "graph")


def compare(
    options: argparse.Namespace, workers: dict[str, Worker], sizes: dict[str, tuple[str, ...]]
) -> None:
    rows: list[dict[str, Any]] = []
    watch = Watch()
    head = {
        "what": "speed", "threads": options.threads, "cutoff": options.cutoff, "machine": description(),
        "versions": {name: worker.hello["versions"] for name, worker in workers.items()},
    }  # fmt: skip
    for structure in options.structure.split(","):
        file = Path(tempfile.gettempdir()) / f"speed_{os.getpid()}_{structure}.xyz"
        structures.write(structures.named(structure), file)
        entries = []
        for name, worker in workers.items():
            for size in sizes[name]:
                answer = worker.ask(do="load", size=size, file=str(file), cutoff=options.cutoff)
                row = {"package": name, "size": size, "structure": structure, **answer}
                print(
                    f"{structure}: {name} {size}: {answer.get('error') or str(answer['edges']) + ' edges'}",
                    flush=True,
                )
                entries.append((worker, row, {job: [] for job in answer.pop("jobs", ())}))
        file.unlink()
        for job in JOBS:
            for _ in range(options.rounds):
                for worker, row, samples in entries:
                    if job in samples and "error" not in row:
                        seconds = options.seconds if job != "graph" else options.seconds / 5
                        answer = worker.ask(do="time", size=row["size"], job=job, seconds=seconds, warm=1)
                        samples[job] += answer.get("ms", [])
                        if "error" in answer:
                            row["error"] = f"{job}: {answer['error']}"
        for _, row, samples in entries:
            row.pop("jobs", None)
            for job, ms in samples.items():
                if ms:
                    row[job] = {"min_ms": min(ms), "median_ms": statistics.median(ms), "calls": len(ms)}
            rows.append(row)
        used = sum(worker.processor_seconds() for worker in workers.values())
        free = watch.available(used, options.threads)
        write(
            options.out,
            {**head, "free_share": free, "load_average_after": list(os.getloadavg()), "rows": rows},
        )
    print(text_table(json.loads(options.out.read_text())))


def ladder(options: argparse.Namespace, packages: list[str], sizes: dict[str, tuple[str, ...]]) -> None:
    """Energy and forces of ever larger cells, each in a fresh process; a package stops at its first failure."""
    rows: list[dict[str, Any]] = []
    head = {"what": "ladder", "threads": options.threads, "cutoff": options.cutoff, "machine": description()}
    for package in packages:
        for size in sizes[package]:
            for atoms in [n for n in structures.LADDER if n <= options.largest]:
                row = rung(options, package, size, atoms)
                rows.append(row)
                print(row, flush=True)
                write(options.out, {**head, "load_average_after": list(os.getloadavg()), "rows": rows})
                if "error" in row:
                    break


def rung(options: argparse.Namespace, package: str, size: str, atoms: int) -> dict[str, Any]:
    """One row: the peak of memory is counted from after a run on 216 atoms, so libraries and compiled kernels are not in it."""
    worker = Worker(package, python_of(package, options.peers), options.threads, options.memory)
    row: dict[str, Any] = {"package": package, "size": size, "atoms": atoms}
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.xyz", Path(folder) / "large.xyz"
        structures.write(structures.silicon(216), small)
        structures.write(structures.silicon(atoms), large)
        worker.ask(do="load", size=size, file=str(small), cutoff=options.cutoff)
        worker.ask(do="time", size=size, job="energy_forces", seconds=0, warm=1)
        before = worker.ask(do="memory", reset=True)
        answer = worker.ask(do="load", size=size, file=str(large), cutoff=options.cutoff)
        row |= {"edges": answer["edges"]} if "error" not in answer else {"error": answer["error"]}
        for job in ("energy_forces", "graph"):
            if "error" in row:
                break
            answer = worker.ask(do="time", size=size, job=job, seconds=options.seconds, warm=1)
            if "error" in answer:
                row["error"] = answer["error"]
            else:
                row[job] = {"min_ms": min(answer["ms"]), "us_per_atom": 1e3 * min(answer["ms"]) / atoms}
        after = worker.ask(do="memory", reset=False)
    worker.stop()
    if "peak_mb" in after and "resident_mb" in before:
        row["peak_mb"] = after["peak_mb"]
        row["kb_per_atom"] = 1024 * (after["peak_mb"] - before["resident_mb"]) / atoms
    return row


def write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1) + "\n")
    draft.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", default="", help="mace,nequip")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder of their environments")
    parser.add_argument("--only-peers", action="store_true", help="without our network")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--structure", default="si216,ethanol32")
    parser.add_argument(
        "--size", action="append", default=[], help="PACKAGE=SIZE,SIZE instead of the usual sizes"
    )
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a turn")
    parser.add_argument("--memory", type=float, default=16.0, help="GB that a process may take")
    parser.add_argument("--ladder", action="store_true")
    parser.add_argument(
        "--largest", type=int, default=100_000, help="atoms of the ladder's last rung at most"
    )
    parser.add_argument("--page", action="store_true", help="only write results/speed.md")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.page:
        (RESULTS / "speed.md").write_text(page(RESULTS))
        return
    options.out = options.out or RESULTS / ("ladder.json" if options.ladder else "speed.json")
    sizes = {
        **SIZES,
        **{name: tuple(x.split(",")) for name, _, x in (s.partition("=") for s in options.size)},
    }
    packages = ["atomfield"] * (not options.only_peers) + [x for x in options.peer.split(",") if x]
    if unknown := set(packages) - set(SIZES):
        raise SystemExit(f"--peer {','.join(sorted(unknown))} is unknown, expected some of mace, nequip")
    pythons = {name: python_of(name, options.peers) for name in packages}
    if options.ladder:
        ladder(options, packages, sizes)
        return
    workers = {
        name: Worker(name, python, options.threads, options.memory) for name, python in pythons.items()
    }
    try:
        compare(options, workers, sizes)
    finally:
        for worker in workers.values():
            worker.stop()


if __name__ == "__main__":
    main()
