"""Whole steps of work, ours beside MACE and NequIP on the same structures and threads: dynamics, relaxation, screening.

    bash benchmarks/peers/make_env.sh mace; bash benchmarks/peers/make_env.sh nequip        once
    python benchmarks/inference.py --peer mace,nequip --threads 2
    python benchmarks/inference.py --structure ethanol1,ethanol32 --seconds 1       a quick look at ours alone
    python benchmarks/inference.py --device cuda --peer mace,nequip --minutes 3     on a GPU, into inference_gpu.json
    python benchmarks/inference.py --page                                           results/inference_gpu.md

Each package runs its own ASE calculator; each size has a process of its own, so that one that ends takes no other along, and
all are asked in turns. ``md`` is velocity Verlet by ASE: ns/day at a step of 0.5 fs and atoms moved per second. ``relax`` and
``screen`` are of 32 ethanol molecules: steps of structures and structures per second; ours go in one batch (``relax_many``,
``predict_graphs``), the peers' one after the other as their calculators do. ``model`` is our network alone on the pairs that
``md`` has, so md - model is what a step costs beside it. Weights are random and float32. Goals: three times the fastest on CPU,
and less than 1 ms a step beside the network on a 9-atom molecule.

Beyond ``--together`` atoms each has the machine to itself. ``--minutes`` ends the run with what it has; the file is written
whole after each group of rows. What fails stands in its row.
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
from gpu_speed import Crew, card, groups, key_of, write
from inference_page import page, table
from machine import Watch, commit, description
from peers.ase_jobs import RELAX_STEPS, md_steps

RESULTS = Path(__file__).parent / "results"
SIZES = {
    "cpu": {"atomfield": ("xs", "s"), "mace": ("64x0e", "64x0e+64x1o"), "nequip": ("S",)},
    "cuda": {
        "atomfield": ("s", "s+compiled"),
        "mace": ("64x0e", "64x0e:cueq"),
        "nequip": ("S", "S+compiled"),
    },
}
STRUCTURES = {
    "cpu": "ethanol32,si216,nacl1000,nacl8000",
    "cuda": "ethanol1,ethanol32,si216,nacl1000,nacl8000,nacl64000",
}
STEP_FS = 0.5
Row = dict[str, Any]


def compare(crew: Crew, head: dict[str, Any], folder: Path) -> None:
    options, rows = crew.options, list[Row]()
    watch = Watch()
    for name in options.structure.split(","):
        if crew.over():
            break
        crew.revive()
        file, frames = folder / f"{name}.traj", structures.named(name)
        structures.write(frames, file)
        entries = [
            {"package": package, "size": size, "structure": name, "atoms": len(frames[0])}
            for package, size in crew.workers
        ]
        for group in groups(entries, options.together):
            if crew.over():
                break
            load(crew, group, file)
            for turn in range(options.rounds):
                for row in group:
                    for job in row.get("jobs", ()):
                        take(crew, row, job, turn)
            crew.ask_all({key_of(row): {"do": "free"} for row in group})
            for row in group:
                finish(row, len(frames))
                print(
                    f"{name}: {row['package']} {row['size']}: {row.get('error') or numbers_of(row)}",
                    flush=True,
                )
            rows += group
            used = sum(worker.processor_seconds() for worker in crew.workers.values())
            write(
                options.out, {**head, "free_share": watch.available(used, options.threads), "rows": rows}
            )  # fmt: skip


def load(crew: Crew, group: list[Row], file: Path) -> None:
    """All of a group side by side, since some compile."""
    question = {"do": "load", "file": str(file), "cutoff": crew.options.cutoff}
    rows = {key_of(row): row for row in group}
    for key, answer in crew.ask_all({key: {**question, "size": key[1]} for key in rows}).items():
        rows[key] |= answer


def take(crew: Crew, row: Row, job: str, turn: int) -> None:
    """One turn of a job; relaxations, which take longest, have one turn and of the peers no call that is not counted, since
    what they do has been done in dynamics."""
    alone = job == "relax"
    if "error" in row or crew.over() or (alone and turn):
        return
    warm = 0 if alone and row["package"] != "atomfield" else 1
    answer = crew.ask(
        key_of(row), do="time", size=row["size"], job=job, seconds=crew.options.seconds, warm=warm
    )
    if "error" in answer:
        row["error"] = f"{job}: {answer['error']}"
    else:
        row.setdefault("ms", {}).setdefault(job, []).extend(answer["ms"])


def finish(row: Row, count: int) -> None:
    """Rates in place of single times."""
    row.pop("jobs", None)
    medians = {job: statistics.median(ms) for job, ms in row.pop("ms", {}).items()}
    row |= rates(medians, row["atoms"], count)


def rates(ms: dict[str, float], atoms: int, count: int) -> dict[str, float]:
    """What the medians (ms per call) mean; a call of ``md`` and ``model`` is several steps."""
    out: dict[str, float] = {}
    if "md" in ms:
        step = ms["md"] / md_steps(atoms)
        out |= {
            "md_ms": step,
            "ns_per_day": 86_400_000 / step * STEP_FS * 1e-6,
            "atoms_per_second": 1000 * atoms / step,
        }
    if "md" in ms and "model" in ms:
        out["beside_model_ms"] = (ms["md"] - ms["model"]) / md_steps(atoms)
    if "relax" in ms:
        out["relax_steps_per_second"] = 1000 * count * RELAX_STEPS / ms["relax"]
    if "screen" in ms:
        out["screened_per_second"] = 1000 * count / ms["screen"]
    return out


def numbers_of(row: Row) -> str:
    return ", ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float)) or "the time was over"


def options_of() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", default="", help="mace,nequip")
    parser.add_argument("--peers", type=Path, default=Path(".peers"), help="folder of their environments")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--structure")
    parser.add_argument(
        "--size", action="append", default=[], help="PACKAGE=SIZE,SIZE instead of the usual sizes"
    )
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument(
        "--together", type=int, default=20_000, help="atoms up to which all are asked in turns"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn")
    parser.add_argument("--memory", type=float, default=16.0, help="GB that a process may take on the CPU")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds for one answer")
    parser.add_argument("--minutes", type=float, default=1e6, help="for the whole run")
    parser.add_argument("--page", action="store_true", help="only write results/inference_gpu.md")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.limit = 60 * options.minutes
    options.structure = options.structure or STRUCTURES[options.device]
    options.out = options.out or RESULTS / (
        "inference.json" if options.device == "cpu" else "inference_gpu.json"
    )
    given = {n: tuple(x.split(",")) for n, _, x in (s.partition("=") for s in options.size)}
    options.sizes = {**SIZES[options.device], **given}
    return options


def main() -> None:
    options = options_of()
    if options.page:
        (RESULTS / "inference_gpu.md").write_text(
            page(json.loads((RESULTS / "inference_gpu.json").read_text()))
        )
        return
    packages = ["atomfield", *(x for x in options.peer.split(",") if x)]
    if unknown := set(packages) - set(options.sizes):
        raise SystemExit(f"--peer {','.join(sorted(unknown))} is unknown, expected some of mace, nequip")
    crew = Crew(options, packages, "ase")
    head = {
        "what": "inference", "device": options.device, "threads": options.threads, "cutoff": options.cutoff,
        "machine": description(), "commit": commit(Path(__file__).parent), "versions": crew.versions,
    }  # fmt: skip
    if options.device == "cuda":
        head["card"] = card(options.device)
    try:
        with tempfile.TemporaryDirectory() as folder:
            compare(crew, head, Path(folder))
    finally:
        crew.stop()
    if options.out.exists():
        print("\n".join(table(json.loads(options.out.read_text())["rows"])))


if __name__ == "__main__":
    main()
