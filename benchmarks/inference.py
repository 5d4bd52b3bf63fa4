"""Whole steps of work, ours beside MACE and NequIP on the same structures and threads: dynamics, relaxation, screening.

    bash benchmarks/peers/make_env.sh mace; bash benchmarks/peers/make_env.sh nequip        once
    python benchmarks/inference.py --peer mace,nequip --threads 2
    python benchmarks/inference.py --structure ethanol1,ethanol32 --seconds 1       a quick look at ours alone

Each package runs its own ASE calculator in a process of its own environment; they are asked in turns (``speed.py``). ``md`` is
velocity Verlet by ASE: ns/day at a step of 0.5 fs and atoms moved per second. ``relax`` and ``screen`` are of 32
ethanol molecules:
steps of structures and structures per second; ours go in one batch (``relax_many``, ``predict_graphs``), the peers'
one after the other
as their calculators do. ``model`` is our network alone on the pairs that ``md`` has, so md - model is what a step
costs beside it. Weights
are random and float32. Goals: three times the fastest on CPU, and less than 1 ms a step beside the network on a 9-atom molecule.
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
from peers.ase_jobs import RELAX_STEPS
from peers.client import Worker, python_of

RESULTS = Path(__file__).parent / "results"
SIZES = {"atomfield": ("xs", "s"), "mace": ("64x0e", "64x0e+64x1o"), "nequip": ("S",)}
STRUCTURES = "ethanol32,si216,nacl1000,nacl8000"
STEP_FS = 0.5


def compare(options: argparse.Namespace, workers: dict[str, Worker]) -> None:
    watch, rows = Watch(), []
    for name in options.structure.split(","):
        file = Path(tempfile.gettempdir()) / f"inference_{os.getpid()}_{name}.xyz"
        structures.write(structures.named(name), file)
        entries = []
        for package, worker in workers.items():
            for size in options.sizes[package]:
                answer = worker.ask(do="load", size=size, file=str(file), cutoff=options.cutoff)
                row: dict[str, Any] = {"package": package, "size": size, "structure": name, **answer}
                entries.append((worker, row, {job: [] for job in row.pop("jobs", ())}))
                print(
                    f"{name}: {package} {size}: {row.get('error') or str(row['edges']) + ' pairs'}",
                    flush=True,
                )
        file.unlink()
        for _ in range(options.rounds):
            for worker, row, samples in entries:
                for job in samples:
                    if "error" not in row:
                        answer = worker.ask(
                            do="time", size=row["size"], job=job, seconds=options.seconds, warm=1
                        )
                        samples[job] += answer.get("ms", [])
                        if "error" in answer:
                            row["error"] = f"{job}: {answer['error']}"
        count = len(structures.named(name))
        for _, row, samples in entries:
            rows.append(
                row
                | rates(
                    {job: statistics.median(ms) for job, ms in samples.items() if ms},
                    row.get("atoms", 0),
                    count,
                )
            )
        used = sum(worker.processor_seconds() for worker in workers.values())
        content = {
            "what": "inference", "threads": options.threads, "cutoff": options.cutoff, "machine": description(),
            "versions": {n: w.hello["versions"] for n, w in workers.items()},
            "free_share": watch.available(used, options.threads), "rows": rows,
        }  # fmt: skip
        options.out.parent.mkdir(parents=True, exist_ok=True)
        draft = options.out.with_suffix(".tmp")
        draft.write_text(json.dumps(content, indent=1) + "\n")
        draft.replace(options.out)
    print(table(rows))


def rates(ms: dict[str, float], atoms: int, count: int) -> dict[str, float]:
    """What the medians (ms per call) mean; a call of ``md`` and ``model`` is ten steps."""
    out: dict[str, float] = {}
    if "md" in ms:
        step = ms["md"] / 10
        out |= {
            "md_ms": step,
            "ns_per_day": 86_400_000 / step * STEP_FS * 1e-6,
            "atoms_per_second": 1000 * atoms / step,
        }
    if "model" in ms:
        out["beside_model_ms"] = (ms["md"] - ms["model"]) / 10
    if "relax" in ms:
        out["relax_steps_per_second"] = 1000 * count * RELAX_STEPS / ms["relax"]
    if "screen" in ms:
        out["screened_per_second"] = 1000 * count / ms["screen"]
    return out


COLUMNS = (
    "md_ms",
    "beside_model_ms",
    "ns_per_day",
    "atoms_per_second",
    "relax_steps_per_second",
    "screened_per_second",
)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| structure | package | size | " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * (3 + len(COLUMNS)),
    ]
    for row in rows:
        numbers = [f"{row[c]:.4g}" if c in row else "" for c in COLUMNS]
        if "error" in row:
            numbers[0] = row["error"][:60]
        lines.append(
            f"| {row['structure']} | {row['package']} | {row['size']} | " + " | ".join(numbers) + " |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", default="", help="mace,nequip")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder of their environments")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--structure", default=STRUCTURES)
    parser.add_argument(
        "--size", action="append", default=[], help="PACKAGE=SIZE,SIZE instead of the usual sizes"
    )
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--memory", type=float, default=16.0, help="GB that a process may take")
    parser.add_argument("--out", type=Path, default=RESULTS / "inference.json")
    options = parser.parse_args()
    packages = ["atomfield", *(x for x in options.peer.split(",") if x)]
    if unknown := set(packages) - set(SIZES):
        raise SystemExit(f"--peer {','.join(sorted(unknown))} is unknown, expected some of mace, nequip")
    options.sizes = {
        **SIZES,
        **{n: tuple(x.split(",")) for n, _, x in (s.partition("=") for s in options.size)},
    }
    workers = {
        n: Worker(n, python_of(n, options.peers), options.threads, options.memory, "ase") for n in packages
    }
    try:
        compare(options, workers)
    finally:
        for worker in workers.values():
            worker.stop()


if __name__ == "__main__":
    main()
