"""Which strategy serves how many samples: errors on the validation parts of the shipped tasks, one JSON row per cell.

Run: python benchmarks/strategies.py CHECKPOINT OUT [--seconds 25] [--only bulk_modulus:50,surface:20] [--strategy lora]

Tasks: bulk modulus of alloys (a scalar property) and the surface of molecules at a new level of theory. The test parts are not
used: these figures choose defaults. Cells that are in OUT/rows.json are not run again. The same time of training for every cell.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from rich.console import Console

from atomfield.data.store import Store
from atomfield.finetune.config import FinetuneConfig
from atomfield.finetune.learning_curve import part_of
from atomfield.finetune.parts import Parts, hold_out
from atomfield.finetune.run import finetune
from atomfield.quickstart import TASKS, write_parts

SHOWN = {
    "bulk_modulus": ("bulk_modulus_mae_GPa",),
    "surface": ("forces_mae_eV_per_A", "energy_mae_meV_per_atom"),
}
SIZES = {"bulk_modulus": (20, 50, 100, 0), "surface": (20, 60, 0)}
STRATEGIES = ("frozen", "heads", "lora", "full", "scratch")
DECAYS = {50: (1.0, 0.6), 60: (1.0, 0.6)}
"""Rates of layers tried for all weights at one size, beside the default."""


def cells(task: str, size: int) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"strategy": s} for s in STRATEGIES if not (task == "surface" and s == "frozen")
    ]
    return rows + [{"strategy": "full", "layer_decay": d} for d in DECAYS.get(size, ())]


def run(
    task: str, size: int, options: dict[str, object], start: str, out: Path, seconds: float
) -> dict[str, float]:
    shipped = next(
        t for t in TASKS if t.name == ("task_crystals" if task == "bulk_modulus" else "task_molecules")
    )
    write_parts(shipped, out / "data" / shipped.name)
    graphs = list(Store(out / "data" / shipped.name / "train"))
    given = {
        "from": start,
        "train": ("shipped",),
        "target": tuple(shipped.target.split(",")),
        "max_time": seconds,
    }
    fixed = {"out": out / "run", "least_records": 1, "valid_fraction": 0.15}
    config = FinetuneConfig(**{**given, **fixed, **options})
    train, valid = hold_out(graphs, config)
    whole = Parts(train, valid, list(Store(out / "data" / shipped.name / "valid")))
    parts = part_of(whole, size or len(train), config.seed)
    found = finetune(config, parts, console=Console(file=io.StringIO()))
    return {k: found[k] for k in SHOWN[task]} | {"records": len(parts.train)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=25.0)
    parser.add_argument("--only", default="")
    parser.add_argument("--strategy", default="")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "rows.json"
    for task, sizes in SIZES.items():
        for size in sizes:
            if given.only and f"{task}:{size}" not in given.only.split(","):
                continue
            for options in cells(task, size):
                if given.strategy and options["strategy"] != given.strategy:
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
