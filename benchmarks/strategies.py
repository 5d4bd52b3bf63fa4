"""Which strategy serves how many samples: errors on the validation parts of the shipped tasks, one JSON row per cell.

Run: python benchmarks/strategies.py CHECKPOINT OUT [--seconds 25] [--only bulk_modulus:50,surface:20] [--strategy lora]

Tasks: bulk modulus of alloys and dipole moments of molecules (scalar properties), and the surface of molecules at a new level of
theory. The test parts are not used: these figures choose defaults. Cells that are in OUT/rows.json are not run again. The same
processor time of training for every cell that trains.
"""

from __future__ import annotations

import argparse
import io
import json
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from atomfield.data.graph import Graph
from atomfield.data.quantities import scalar_property
from atomfield.data.source import open_source
from atomfield.data.splits import split_groups
from atomfield.data.store import Store
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.learning_curve import part_of
from atomfield.finetune.parts import Parts, hold_out
from atomfield.finetune.run import finetune
from atomfield.quickstart_tasks import SPLIT_SEED, TASKS, write_parts

SHOWN = {
    "bulk_modulus": ("bulk_modulus_mae_GPa",),
    "dipole_moment": ("dipole_moment_mae",),
    "surface": ("forces_mae_eV_per_A", "energy_mae_meV_per_atom"),
}
SIZES = {"bulk_modulus": (20, 50, 100, 0), "dipole_moment": (50, 0), "surface": (20, 60, 0)}
MOLECULES = 400
"""Of the starter corpus, whose dipole moment is learnt: one geometry of each."""
STRATEGIES = ("frozen", "boosted", "heads", "lora", "full", "scratch")
OTHERS: dict[tuple[str, int], tuple[dict[str, object], ...]] = {
    ("bulk_modulus", 50): ({"layer_decay": 1.0}, {"layer_decay": 0.6}, {"learning_rate": 4e-3}),
    ("bulk_modulus", 0): ({"learning_rate": 4e-3},),
    ("dipole_moment", 50): ({"learning_rate": 4e-3},),
    ("dipole_moment", 0): ({"learning_rate": 4e-3},),
    ("surface", 60): ({"layer_decay": 1.0}, {"layer_decay": 0.6}),
}
"""Settings tried for all weights at one size, beside the default."""


def cells(task: str, size: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"strategy": s} for s in STRATEGIES if not (task == "surface" and s in ("frozen", "boosted"))
    ]
    return rows + [{"strategy": "full", **other} for other in OTHERS.get((task, size), ())]


def run(
    task: str, size: int, options: dict[str, object], start: str, out: Path, seconds: float
) -> dict[str, float]:
    graphs, judged, target = records(task, out)
    given = {
        "from": start,
        "train": ("shipped",),
        "target": target,
        "max_time": seconds,
        "clock": "processor",
    }
    fixed = {"out": out / "run", "least_records": 1, "valid_fraction": 0.15}
    config = FinetuneConfig(**{**given, **fixed, **options})
    train, valid = hold_out(graphs, config)
    whole = Parts(train, valid, judged)
    parts = part_of(whole, size or len(train), config.seed)
    found = finetune(config, parts, console=Console(file=io.StringIO()))
    return {k: found[k] for k in SHOWN[task]} | {"records": len(parts.train)}


def records(task: str, out: Path) -> tuple[list[Graph], list[Graph], tuple[str, ...]]:
    """What is trained on (validation records are held out of it), what the table is about, and the targets."""
    if task == "dipole_moment":
        graphs = dipole_moments()
        kept, held = split_groups([g.group for g in graphs], 0.15, SPLIT_SEED)
        return [graphs[i] for i in kept], [graphs[i] for i in held], (task,)
    shipped = next(
        t for t in TASKS if t.name == ("task_crystals" if task == "bulk_modulus" else "task_molecules")
    )
    folder = out / "data" / shipped.name
    write_parts(shipped, folder)
    return list(Store(folder / "train")), list(Store(folder / "valid")), tuple(shipped.target.split(","))


def dipole_moments() -> list[Graph]:
    """The first geometry of each of the first molecules of the starter corpus, with the length of its dipole in e angstrom."""
    first: dict[str, Graph] = {}
    for graph in open_source("starter/molecules"):
        if len(first) == MOLECULES:
            break
        length = graph.quantities["dipole"].norm()
        named = {"dipole_moment": scalar_property("dipole_moment")}
        first.setdefault(
            graph.group, replace(graph, quantities={"dipole_moment": length}, properties=named, level="")
        )
    return list(first.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--strategy", default="", help="one or more, with commas; default: all")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "rows.json"
    for task, sizes in SIZES.items():
        for size in sizes:
            if given.only and f"{task}:{size}" not in given.only.split(","):
                continue
            for options in cells(task, size):
                if given.strategy and options["strategy"] not in given.strategy.split(","):
                    continue
                rows = json.loads(file.read_text()) if file.exists() else []
                cell = {"task": task, "size": size, **options}
                if any(cell == row["cell"] for row in rows):
                    continue
                found = run(task, size, options, given.start, given.out, given.seconds)
                print(cell, found, flush=True)
                file.write_text(json.dumps([*rows, {"cell": cell, **found}], indent=1) + "\n")


if __name__ == "__main__":
    main()
