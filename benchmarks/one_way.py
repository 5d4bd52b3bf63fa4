"""Waves that go one way: the Korteweg-de Vries equation with and without a direction in the records.

    python benchmarks/one_way.py --out runs/one_way [--steps 300]

Solves u_t + u u_x + 0.0005 u_xxx = 0 on a periodic line of 64 points from random sines (20 trajectories train, 10 test, 13 times
0.03 apart), finetunes ``atomfield-s`` on u as a number and as a velocity, each with and without ``--map gravity=1``, and writes
``benchmarks/results/one_way.md``. A finished run is not repeated.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from machine import description
from page_text import table, wrapped

POINTS, TIMES, STEP, SUBSTEPS, DISPERSION = 64, 13, 0.03, 120, 0.0005
READINGS = ("solution=u", "solution=u,gravity=1", "velocity=u", "velocity=u,gravity=1")


def waves(count: int, seed: int) -> np.ndarray:
    """``[count, TIMES, POINTS]``: the dispersion is exact in Fourier space, the rest is stepped by Runge and Kutta's method
    (Trefethen, Spectral Methods in MATLAB, program 27); a third of the waves is cut off."""
    rng = np.random.default_rng(seed)
    x = np.arange(POINTS) / POINTS
    k = 2j * np.pi * np.arange(POINTS // 2 + 1)
    h = STEP / SUBSTEPS
    half, kept = np.exp(-DISPERSION * k**3 * h / 2), np.arange(len(k)) < POINTS // 3
    push = lambda v: -h * k * kept * np.fft.rfft(np.fft.irfft(v, POINTS) ** 2 / 2)  # noqa: E731
    start = sum(
        rng.normal(size=(count, 1)) / m * np.sin(2 * np.pi * (m * x + rng.random((count, 1))))
        for m in (1, 2, 3)
    )
    v, states = np.fft.rfft(start), [start]
    for _ in range(TIMES - 1):
        for _ in range(SUBSTEPS):
            a = push(v)
            b = push(half * (v + a / 2))
            c = push(half * v + b / 2)
            d = push(half**2 * v + half * c)
            v = half**2 * (v + a / 6) + half * (b + c) / 3 + d / 6
        states.append(np.fft.irfft(v, POINTS))
    return np.stack(states, axis=1)


def run(reading: str, out: Path, steps: int) -> tuple[dict[str, float], bool]:
    """The metrics of one finetuning, and whether it said that a mirror forbids this."""
    folder = out / reading.replace("=", "_").replace(",", "_")
    log = folder.with_suffix(".log")
    if not (folder / "metrics.json").exists():
        command = [sys.executable, "-m", "atomfield", "finetune", "--from", "atomfield-s", "--train", str(out / "train.npz"),
                   "--test", str(out / "test.npz"), "--target", reading.partition("=")[0], "--map", reading,
                   "--set", f"steps={steps}", "--out", str(folder)]  # fmt: skip
        with log.open("w") as file:
            subprocess.run(command, check=True, stdout=file, stderr=subprocess.STDOUT)
    metrics: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return metrics, "mirror image could not" in " ".join(log.read_text().split())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/one_way"))
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    axes = {
        "x": np.arange(POINTS) / POINTS,
        "time": np.arange(TIMES) * STEP,
        "periodic": np.array([True]),
    }
    for part, count, seed in (("train", 20, 1), ("test", 10, 2)):
        np.savez(options.out / f"{part}.npz", u=waves(count, seed).astype(np.float32), **axes)
    rows = []
    for reading in READINGS:
        metrics, told = run(reading, options.out, options.steps)
        name = reading.partition("=")[0]
        keys = [
            f"{who}{name}_{what}_vrmse"
            for what in ("step", "rollout")
            for who in ("", "baseline_persistence_")
        ]
        rows.append([f"`{reading}`", "yes" if told else "no", *(f"{metrics[k]:.3f}" for k in keys)])
    machine = description()
    lines = [
        "# Waves that go one way",
        "",
        f"Made by `python benchmarks/one_way.py --steps {options.steps}`, {machine['date'][:10]}, on {machine['processor']}. "
        "Korteweg-de Vries waves from random sines; VRMSE on 10 trajectories, of one step and of rollouts over 12 steps.",
        "",
        *table(
            ("`--map`", "told before training", "one step", "persistence", "rollout", "persistence"), rows
        ),
    ]
    page = Path(__file__).parent / "results" / "one_way.md"
    page.write_text(wrapped(lines) + "\n")
    print(page.read_text())


if __name__ == "__main__":
    main()
