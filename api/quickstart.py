"""The whole story in minutes: pretrain on the shipped corpus, finetune on a held-out task of each world, compare, report.

Every stage is a plain ``atomfield`` command, printed before it runs, so each can be repeated by hand.
The pretrained-then-finetuned run and
the from-scratch control of a task run side by side with the same time on the same number of threads.
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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atomfield.data.errors import InputError

if TYPE_CHECKING:
    from atomfield.data.graph import Graph
    from atomfield.finetune.report import Section, Table

PRETRAIN_SECONDS, FINETUNE_SECONDS = 220, 50
NVE_PICOSECONDS, NVE_STEP_FS, NVE_TEMPERATURE = 1.0, 0.5, 300.0
SPLIT_SEED = 1


@dataclass(frozen=True)
class Task:
    """A held-out task of one world and the metrics that its table shows: (key, label, unit)."""

    name: str
    title: str
    target: str
    metrics: tuple[tuple[str, str, str], ...]
    baseline: str


TASKS = (
    Task(
        "task_molecules",
        "Potential energy surface of unseen molecules at a new level of theory (GFN1-xTB)",
        "energy,forces",
        (
            ("energy_mae_meV_per_atom", "energy, MAE", "meV/atom"),
            ("forces_mae_eV_per_A", "forces, MAE", "eV/A"),
        ),
        "baseline_",
    ),
    Task(
        "task_crystals",
        "Bulk modulus of unseen alloys",
        "bulk_modulus",
        (
            ("bulk_modulus_mae_GPa", "bulk modulus, MAE", "GPa"),
            ("bulk_modulus_rmse_GPa", "bulk modulus, RMSE", "GPa"),
        ),
        "baseline_",
    ),
    Task(
        "task_fields",
        "Rollout of flows at unseen viscosities",
        "velocity,vorticity,pressure",
        (
            ("velocity_rollout_vrmse", "velocity, rollout VRMSE", "1"),
            ("vorticity_rollout_vrmse", "vorticity, rollout VRMSE", "1"),
        ),
        "baseline_persistence_",
    ),
)


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
    metrics: dict[str, float] = {}
    for task in TASKS:
        commands += _finetune(task, out, seed, device, console)
        for kind in ("pretrained", "scratch"):
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


# ---------------------------------------------------------------------- stages
def write_parts(task: Task, out: Path) -> None:
    """Train, validation and test stores of a task, split by groups (never by frame). Flows are tested at viscosities
    that neither pretraining nor the task's own training part has."""
    from atomfield.data.generate.fields import VISCOSITY, VISCOSITY_GAP
    from atomfield.data.source import open_source
    from atomfield.data.splits import split_groups
    from atomfield.data.store import is_store, write_store

    graphs = list(open_source(f"starter/{task.name}"))
    if task.name == "task_fields":

        def unseen(g: Graph) -> bool:
            nu = g.conditions["viscosity"]
            return VISCOSITY_GAP[0] <= nu <= VISCOSITY_GAP[1] or nu > VISCOSITY[1]

        test = [g for g in graphs if unseen(g)]
        rest = [g for g in graphs if not unseen(g)]
    else:
        kept, held = split_groups([g.group for g in graphs], 0.3, SPLIT_SEED)
        rest, test = [graphs[i] for i in kept], [graphs[i] for i in held]
    kept, held = split_groups([g.group for g in rest], 0.15, SPLIT_SEED + 1)
    for name, part in (
        ("train", [rest[i] for i in kept]),
        ("valid", [rest[i] for i in held]),
        ("test", test),
    ):
        if not is_store(out / name):
            write_store(part, out / name)


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
        console.print(f"[bold]1/5 Pretrain[/bold]: {folder / 'model'} is there already")
        return shown
    console.print(
        f"[bold]1/5 Pretrain[/bold] one network on molecules, crystals and fields\n$ {shown}",
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


def _finetune(task: Task, out: Path, seed: int, device: str, console) -> list[str]:
    """The finetuned run in the foreground with its progress bar, the from-scratch control beside it."""
    data, number = out / "data" / task.name, TASKS.index(task) + 2
    console.print(f"[bold]{number}/5 {task.title}[/bold]", highlight=False)
    shown, running = [], []
    threads = max(1, (os.cpu_count() or 1) // 2)
    for kind, start in (("scratch", "scratch"), ("pretrained", str(out / "pretrain" / "model"))):
        arguments = [
            "finetune",
            "--from",
            start,
            "--train",
            str(data / "train"),
            "--valid",
            str(data / "valid"),
            "--test",
            str(data / "test"),
            "--target",
            task.target,
            "--out",
            str(out / task.name / kind),
            "--max-time",
            f"{FINETUNE_SECONDS}s",
            "--seed",
            str(seed),
            "--device",
            device,
        ]
        shown.append(f"atomfield {shlex.join(arguments)}")
        console.print(f"$ {shown[-1]}", highlight=False, soft_wrap=True)
        command = [sys.executable, "-m", "atomfield", *arguments]
        if kind == "scratch":
            (out / task.name).mkdir(exist_ok=True)
            log = (out / task.name / "scratch.log").open("w")
            running.append(
                subprocess.Popen(command, env=_environment(threads), stdout=log, stderr=subprocess.STDOUT)
            )
        else:
            _run(command, threads)
    for process in running:
        if process.wait():
            raise RuntimeError(f"the from-scratch control failed; see {out / task.name / 'scratch.log'}")
    return shown


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
    model = str(out / "task_molecules" / "pretrained")
    common = ["--dtype", "float64", "--seed", str(seed)]
    console.print(
        "[bold]5/5 Molecular dynamics[/bold] at constant energy, from a relaxed geometry", highlight=False
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


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore"}


def _run(command: Sequence[str], threads: int) -> None:
    code = subprocess.run(command, env=_environment(threads), check=False).returncode
    if code == 2:
        raise InputError("a stage of the quickstart was refused, see the line above")
    if code:
        raise RuntimeError(f"{shlex.join(command)} ended with exit code {code}")


# ---------------------------------------------------------------------- report
def summary(metrics: dict[str, float]) -> Table:
    """One table over the three worlds: pretrained, from scratch, trivial."""
    from atomfield.finetune.report import Table, number

    rows: list[list[str]] = []
    best: set[tuple[int, int]] = set()
    for task in TASKS:
        for key, label, unit in task.metrics:
            values = [
                metrics.get(f"{task.name}/pretrained/{key}", float("nan")),
                metrics.get(f"{task.name}/scratch/{key}", float("nan")),
                metrics.get(f"{task.name}/pretrained/{task.baseline}{key}", float("nan")),
            ]
            best.add((len(rows), 2 + min(range(3), key=lambda j: values[j])))
            rows.append([task.title, label, *map(number, values), unit])
    columns = ["task", "error", "pretrained, finetuned", "from scratch", "trivial baseline", "unit"]
    return Table(
        columns,
        rows,
        "Errors on held-out records; same time and threads for both trainings. Trivial: per-element energies and zero "
        "forces, the mean, persistence.",
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
            ],
        ),
        Section(
            "Pretraining",
            [Picture(png(loss_curves(history)), "Training loss and its terms, all worlds in one run.")],
        ),
    ]
    for task in TASKS:
        folder = out / task.name / "pretrained"
        pictures = [Picture(p, caption) for p, caption in _pictures(folder)]
        sections.append(Section(task.title, pictures))
    trace = [
        Picture(p, "Energies along constant-energy dynamics of a test molecule.")
        for p in sorted((out / "nve").glob("*.png"))
    ]
    sections += [
        Section("Dynamics", trace),
        Section("Laws", [laws(metrics, [t.name for t in TASKS], out / "nve")]),
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
