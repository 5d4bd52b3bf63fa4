"""Do intervals of rollouts hold what they promise on trajectories that nothing was calibrated on?

    python benchmarks/rollout_intervals.py --out runs/rollout_intervals [--steps 300]

Finetunes ``atomfield-s`` on 40 trajectories of the Korteweg-de Vries equation (``one_way.py``), calibrates on 40 others, judges
200 more, and writes ``benchmarks/results/rollout_intervals.md``. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from machine import description
from one_way import POINTS, STEP, TIMES, waves
from page_text import table, wrapped

from atomfield.data.readers import ReadOptions
from atomfield.data.source import open_source
from atomfield.inference.intervals import rollout_half_widths
from atomfield.inference.rollout import rollout
from atomfield.models import checkpoint

MAP = "solution=u,gravity=1"
PARTS = (("train", 40, 11), ("valid", 40, 12), ("test", 200, 13))
KEYS = ("coverage", "binomial_p", "beta_binomial_p", "width")


def train(out: Path, steps: int) -> dict[str, float]:
    """The metrics of the finetuning."""
    axes = {
        "x": np.arange(POINTS) / POINTS,
        "time": np.arange(TIMES) * STEP,
        "periodic": np.array([True]),
    }
    for part, count, seed in PARTS:
        np.savez(out / f"{part}.npz", u=waves(count, seed).astype(np.float32), **axes)
    if not (out / "run" / "metrics.json").exists():
        files = [word for part, _, _ in PARTS for word in (f"--{part}", str(out / f"{part}.npz"))]
        command = [sys.executable, "-m", "atomfield", "finetune", "--from", "atomfield-s", *files, "--target", "solution",
                   "--map", MAP, "--set", f"steps={steps}", "--out", str(out / "run")]  # fmt: skip
        subprocess.run(command, check=True)
    metrics: dict[str, float] = json.loads((out / "run" / "metrics.json").read_text())
    return metrics


def by_step(out: Path) -> np.ndarray:
    """``[trajectories, steps]`` share of points inside after each step."""
    net = checkpoint.load(out / "run" / "model")
    options = ReadOptions(map=dict(pair.split("=") for pair in MAP.split(",")))
    shares = []
    for graph in open_source(str(out / "test.npz"), options):
        states = rollout(net, graph)
        width = rollout_half_widths(net.uncertainty, graph, states)["solution"]
        error = np.abs(states["solution"].numpy() - graph.quantities["solution"].numpy())
        shares.append((error <= width[:, None]).mean(1)[1:])
    return np.stack(shares)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/rollout_intervals"))
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    metrics, shares = train(options.out, options.steps), by_step(options.out)
    rows = [
        [what, *(f"{metrics[f'solution_{kind}{k}']:.3g}" for k in KEYS)]
        for what, kind in (("one step", "interval90_"), ("rollouts", "rollout_interval90_"))
    ]
    machine = description()
    lines = [
        "# Intervals of rollouts",
        "",
        f"Made by `python benchmarks/rollout_intervals.py --steps {options.steps}`, {machine['date'][:10]}, on "
        f"{machine['processor']}. 40 trajectories train, 40 calibrate, 200 are judged; a trajectory is one unit.",
        "",
        *table(("90 % intervals", "coverage", "binomial p", "beta-binomial p", "width"), rows),
        "",
        "Coverage after each number of steps, mean over trajectories:",
        "",
        *table(
            [str(s) for s in range(1, TIMES)],
            [[f"{x:.3f}" for x in shares.mean(0)]],
        ),
        "",
        f"Every point of every step inside: {(shares == 1).all(1).mean():.0%} of the trajectories.",
    ]
    page = Path(__file__).parent / "results" / "rollout_intervals.md"
    page.write_text(wrapped(lines) + "\n")
    print(page.read_text())


if __name__ == "__main__":
    main()
