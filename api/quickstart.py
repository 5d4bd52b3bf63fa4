"""The whole story in minutes: pretrain on the shipped corpus, finetune on a held-out task of each world, compare, report.

Every stage is a plain ``atomfield`` command, printed before it runs, so each can be repeated by hand. Each task is finetuned from
scratch, from the pretraining of the minutes before and from the model that ships with the package, with the same time on the same
number of threads.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from atomfield.data.errors import InputError
from atomfield.models.shipped import folders

from .quickstart_runs import FINETUNE_SECONDS, Finetuning, environment, finetune_all
from .quickstart_tasks import TASKS, write_parts

if TYPE_CHECKING:
    from atomfield.finetune.report import Section, Table

PRETRAIN_SECONDS = 220
SHIPPED = "atomfield-s"
STARTS = {
    "shipped": f"{SHIPPED}, finetuned",
    "pretrained": "pretrained here, finetuned",
    "scratch": "from scratch",
}
"""Where a finetuning begins -> the column of its errors."""
HELD_OUT = (
    f"{SHIPPED} ships with the package and was pretrained on a larger corpus, from which these tasks are held out: their "
    "molecules, their alloys and their range of viscosities are not in it. Its card (`atomfield models` says where it is) tells "
    "what it has seen."
)
NVE_PICOSECONDS, NVE_STEP_FS, NVE_TEMPERATURE = 1.0, 0.5, 300.0


def quickstart(out: Path, *, seed: int = 0, device: str = "auto") -> dict[str, float]:
    """Run everything into ``out`` and return the numbers of the table (also in ``out/metrics.json``)."""
    from rich.console import Console

    console = Console(stderr=True)
    started = time.monotonic()
    if (out / "report.html").exists():
        raise InputError(
            "a finished quickstart is here already; choose another --out or remove the folder", str(out)
        )
    out.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        write_parts(task, out / "data" / task.name)
    commands = [_pretrain(out, seed, device, console)]
    commands += finetune_all(finetunings(out), seed, device, console)
    metrics: dict[str, float] = {}
    for task in TASKS:
        for kind in starts():
            found = json.loads((out / task.name / kind / "metrics.json").read_text())
            metrics |= {f"{task.name}/{kind}/{k}": v for k, v in found.items() if isinstance(v, (int, float))}
    commands += _simulate(out, seed, console)
    minutes = (time.monotonic() - started) / 60
    metrics["minutes"] = minutes
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    report(out, metrics, commands, minutes)
    _print_table(summary(metrics), console)
    console.print(
        f"Done in {minutes:.1f} minutes. Report: {out / 'report.html'}; checkpoint: {out / 'pretrain' / 'model'}"
    )
    return metrics


def starts() -> list[str]:
    """The starting points of every task, the best one first; the shipped model where this installation has it."""
    return [kind for kind in STARTS if kind != "shipped" or SHIPPED in folders()]


def finetunings(out: Path) -> list[Finetuning]:
    """All of them; those that wait for each other's cores stand side by side."""
    where = {"scratch": "scratch", "pretrained": str(out / "pretrain" / "model"), "shipped": SHIPPED}
    return [
        Finetuning(task, kind, where[kind], out / "data" / task.name, out / task.name / kind)
        for task in TASKS
        for kind in reversed(starts())
    ]


# ---------------------------------------------------------------------- stages
def _pretrain(out: Path, seed: int, device: str, console) -> str:
    folder = out / "pretrain"
    arguments = [
        "pretrain",
        "quickstart.yaml",
        "--set",
        f"out={folder}",
        "--max-time",
        f"{PRETRAIN_SECONDS}s",
        "--seed",
        str(seed),
        "--device",
        device,
    ]
    processes = _num_processes(device)
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        "-m",
        "atomfield",
    ]
    shown = f"torchrun --nproc-per-node={processes} -m atomfield {shlex.join(arguments)}"
    if (folder / "model" / "config.json").exists():
        console.print(f"[bold]1/3 Pretrain[/bold]: {folder / 'model'} is there already")
        return shown
    console.print(
        f"[bold]1/3 Pretrain[/bold] one network on molecules, crystals and fields\n$ {shown}",
        highlight=False,
        soft_wrap=True,
    )
    _run([*launcher, *arguments], threads=max(1, (os.cpu_count() or 1) // processes))
    return shown


def _num_processes(device: str) -> int:
    """Two on a CPU with two cores or more, one per GPU otherwise (the streams deal two micro-batches each)."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return min(2, torch.cuda.device_count())
    return 2 if (os.cpu_count() or 1) >= 2 else 1


def _simulate(out: Path, seed: int, console) -> list[str]:
    """Relax a test molecule with the finetuned model, then run it at constant energy."""
    from ase.io import read, write

    from atomfield.data.store import Store
    from atomfield.inference.write import to_atoms

    tests = Store(out / "data" / "task_molecules" / "test")
    graph = max(tests, key=lambda g: (g.num_nodes, -float(g.quantities["energy"])))
    folder = out / "nve"
    folder.mkdir(exist_ok=True)
    write(folder / "molecule.xyz", to_atoms(graph, {}))
    model = str(out / "task_molecules" / starts()[0])
    common = ["--dtype", "float64", "--seed", str(seed)]
    console.print(
        "[bold]3/3 Molecular dynamics[/bold] at constant energy, from a relaxed geometry", highlight=False
    )
    shown = []

    def simulate(start: Path, target: Path, *options: str) -> None:
        arguments = ["simulate", model, str(start), *options, *common, "--out", str(target)]
        shown.append(f"atomfield {shlex.join(arguments)}")
        console.print(f"$ {shown[-1]}", highlight=False, soft_wrap=True)
        _run([sys.executable, "-m", "atomfield", *arguments], threads=os.cpu_count() or 1)

    simulate(folder / "molecule.xyz", folder / "relax", "--mode", "relax", "--fmax", "0.05")
    write(folder / "relaxed.xyz", read(folder / "relax" / "trajectory.extxyz", index=-1))
    steps = str(round(NVE_PICOSECONDS * 1000 / NVE_STEP_FS))
    timing = ("--steps", steps, "--timestep", str(NVE_STEP_FS), "--temperature", str(NVE_TEMPERATURE))
    simulate(folder / "relaxed.xyz", folder, "--mode", "nve", *timing)
    return shown


def _run(command: Sequence[str], threads: int) -> None:
    code = subprocess.run(command, env=environment(threads), check=False).returncode
    if code == 2:
        raise InputError("a stage of the quickstart was refused, see the line above")
    if code:
        raise RuntimeError(f"{shlex.join(command)} ended with exit code {code}")


# ---------------------------------------------------------------------- report
def summary(metrics: dict[str, float]) -> Table:
    """One table over the three worlds: each starting point, and trivial."""
    from atomfield.finetune.report import Table, number

    kinds = [kind for kind in STARTS if any(key.split("/")[1:2] == [kind] for key in metrics)]
    rows: list[list[str]] = []
    best: set[tuple[int, int]] = set()
    for task in TASKS:
        for key, label, unit in task.metrics:
            values = [metrics.get(f"{task.name}/{kind}/{key}", float("nan")) for kind in kinds]
            values.append(metrics.get(f"{task.name}/pretrained/{task.baseline}{key}", float("nan")))
            best.add((len(rows), 2 + min(range(len(values)), key=lambda j: values[j])))
            rows.append([task.title, label, *map(number, values), unit])
    columns = ["task", "error", *(STARTS[kind] for kind in kinds), "trivial baseline", "unit"]
    return Table(
        columns,
        rows,
        f"Errors on held-out records; {FINETUNE_SECONDS} s and the same threads for every training. Trivial: per-element "
        "energies and zero forces, the mean, persistence.",
        frozenset(best),
        frozenset({0, 1}),
    )


def report(out: Path, metrics: dict[str, float], commands: list[str], minutes: float) -> None:
    """``out/report.html``: the table, loss curves, parity plots, a rollout beside the truth, the NVE trace, the laws with
    their numbers, the commands."""
    from atomfield.finetune.plots import loss_curves, png
    from atomfield.finetune.report import Code, Picture, Section, provenance_section, write_report
    from atomfield.quickstart_laws import laws

    rows = [json.loads(line) for line in (out / "pretrain" / "metrics.jsonl").read_text().splitlines()]
    history = [row for row in rows if "train_loss" in row]
    sections: list[Section] = [
        Section(
            "Summary",
            [
                f"Pretraining, three finetuned tasks with their controls and a simulation took {minutes:.1f} minutes.",
                summary(metrics),
                *([HELD_OUT] if "shipped" in starts() else []),
            ],
        ),
        Section(
            "Pretraining",
            [Picture(png(loss_curves(history)), "Training loss and its terms, all worlds in one run.")],
        ),
    ]
    for task in TASKS:
        folder = out / task.name / starts()[0]
        pictures = [Picture(p, caption) for p, caption in _pictures(folder)]
        sections.append(Section(task.title, pictures))
    trace = [
        Picture(p, "Energies along constant-energy dynamics of a test molecule.")
        for p in sorted((out / "nve").glob("*.png"))
    ]
    sections += [
        Section("Dynamics", trace),
        Section("Laws", [laws(metrics, [t.name for t in TASKS], out / "nve", starts()[0])]),
        Section("Commands", [Code("\n".join(commands))]),
        provenance_section(),
    ]
    write_report(out, "AtomField quickstart", sections)
    shutil.copy(out / "pretrain" / "metrics.jsonl", out / "metrics.jsonl")


def _pictures(folder: Path) -> list[tuple[Path, str]]:
    wanted = (
        ("parity.png", "Predicted against reference on the test records."),
        ("rollout_vorticity_median.png", "Vorticity of the median test flow: truth, prediction, difference."),
        ("rollout_error_velocity.png", "Error of the velocity along the rollout."),
        ("loss_curves.png", "Finetuning."),
    )
    return [(folder / name, caption) for name, caption in wanted if (folder / name).exists()]


def _print_table(table: Table, console) -> None:
    from rich.table import Table as Screen

    screen = Screen(title="Held-out errors", show_lines=False)
    for column in table.columns:
        screen.add_column(column)
    for i, row in enumerate(table.rows):
        screen.add_row(*[f"[bold]{c}[/bold]" if (i, j) in table.best else c for j, c in enumerate(row)])
    console.print(screen)
