"""Rates of lynx and hare from other starts than those of ``configs/identify/lotka_volterra.yaml``.

    python benchmarks/laws/lotka_volterra.py --data hudson-bay-lynx-hare.csv --draws 5

A draw multiplies the start of each rate by a factor between 1/2 and 2 (uniform in its logarithm). There is one series of
counts, so there are no draws of noise. Published: means of the posterior of Carpenter's case study (2018), from memory.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from rich.console import Console

from atomfield.data.errors import InputError
from atomfield.finetune.identify import run
from atomfield.finetune.identify_config import IdentifyConfig

CONFIG = Path(__file__).parents[2] / "configs" / "identify" / "lotka_volterra.yaml"
FACTOR = 2.0


def draw(data: Path, seed: int) -> dict[str, object]:
    """One identification: starts and rates, or why there are none."""
    settings = yaml.safe_load(CONFIG.read_text())
    random, begin = np.random.default_rng(seed), time.process_time()
    for constant in settings["constants"].values():
        constant["start"] *= float(FACTOR ** random.uniform(-1, 1))
    settings["data"]["file"] = str(data.absolute())
    starts = {name: round(c["start"], 4) for name, c in settings["constants"].items()}
    row: dict[str, object] = {"seed": seed, "starts": starts}
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = run(IdentifyConfig(**settings, out=folder), console=Console(file=io.StringIO()))
            row["rates"] = {r.name: float(f"{r.value:.5g}") for r in found.rows if r.reference is not None}
        except InputError as error:
            row["failed"] = str(error).replace(str(data.absolute()), data.name)
    return row | {"cpu_seconds": round(time.process_time() - begin, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--log", type=Path, default=Path("benchmarks/results/laws/lotka_volterra.jsonl"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in given.log.read_text().splitlines()] if given.log.is_file() else []
    for seed in range(given.draws):
        if seed not in {row["seed"] for row in rows}:
            rows.append(draw(given.data, seed))
            with given.log.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    good = [row["rates"] for row in rows if "rates" in row]
    published = {n: c["reference"] for n, c in yaml.safe_load(CONFIG.read_text())["constants"].items()}
    print(f"| rate | median (range) of {len(good)} of {len(rows)} starts | published |\n|---|---|---|")
    for name, value in published.items():
        found = np.array([rates[name] for rates in good])
        print(f"| {name} | {np.median(found):.4g} ({found.min():.4g} to {found.max():.4g}) | {value} |")


if __name__ == "__main__":
    main()
