"""Both constants of the Korteweg-de Vries equation from two snapshots of its solution.

    python benchmarks/laws/kdv_identification.py --data KdV.mat --draws 5
    python benchmarks/laws/kdv_identification.py --data KdV.mat --bound     no fit: how well the values determine the constants

199 values at t = 0.2 and 201 at t = 0.8, scattered on the periodic line, as published (Raissi et al., J. Comput. Phys. 378, 686
(2019): advection 1.000 and dispersion 0.0025002 on clean data, 0.999 and 0.0024996 with 1 % noise; truth 1 and 0.0025; one draw
each). Their network holds one Runge-Kutta step of 50 stages from the first to the second; here the state at the first time is a
sum of waves and a spectral solver brings it to the second, so the equation and the period of the line hold exactly. The ratio of
the constants follows from an invariant of the motion; of 600 starts near it, advection 0.25 to 4, the best goes on. A draw is a
choice of points and of noise.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from atomfield.finetune.identify_config import DataConfig
from atomfield.finetune.identify_data import field
from atomfield.physics_priors.kdv import advance, dispersion_per_advection
from atomfield.physics_priors.snapshot_fit import Snapshot, fit_snapshots, interpolated, num_waves_of
from atomfield.physics_priors.spectral import PeriodicGrid

TRUTH = (1.0, 0.0025)
PUBLISHED = {0.0: (1.000, 0.0025002), 0.01: (0.999, 0.0024996)}
TIMES, COUNTS = (40, 160), (199, 201)
GRID, COARSE, FINE, WAVES = 128, 100, 500, 40
"""Points, steps of the solver in time at first and in the end, and waves of a state at most."""


def draw(u: torch.Tensor, x: torch.Tensor, t: torch.Tensor, noise: float, seed: int) -> dict[str, float]:
    """One identification from ``u [n, T]``."""
    generator, begin = torch.Generator().manual_seed(seed), time.process_time()
    snapshots = []
    for index, count in zip(TIMES, COUNTS, strict=True):
        chosen = torch.randperm(len(x), generator=generator)[:count]
        error = noise * u[:, index].std() * torch.randn(count, dtype=torch.float64, generator=generator)
        snapshots.append(Snapshot(float(t[index]), x[chosen], u[chosen, index] + error))
    length = float(x[-1] - x[0]) + float(x[1] - x[0])
    grid, waves = PeriodicGrid((GRID,), (length,)), [num_waves_of(s, length, WAVES) for s in snapshots]
    states = [interpolated(s, grid, w, float(x[0])) for s, w in zip(snapshots, waves, strict=True)]
    ratio = dispersion_per_advection(grid, *states)
    advection, around = (
        torch.logspace(math.log10(0.25), math.log10(4), 200).double(),
        torch.tensor([0.99, 1.0, 1.01]),
    )
    starts = torch.stack([advection.repeat(3), (around[:, None] * ratio * advection).flatten()], dim=1)
    for steps, tolerance, most in ((COARSE, 1e-4, 30), (FINE, 1e-7, 6)):
        found = fit_snapshots(
            lambda state, constants, span, steps=steps: advance(grid, state, constants, span, steps),
            grid,
            snapshots,
            starts,
            waves[0],
            origin=float(x[0]),
            max_steps=most,
            tolerance=tolerance,
        )
        starts = found.constants[None]
    return {
        "noise": noise,
        "seed": seed,
        "advection": float(found.constants[0]),
        "dispersion": float(found.constants[1]),
        "waves": waves[0],
        "ratio_of_invariants": ratio,
        "advection_sd": float(found.deviations[0]),
        "dispersion_sd": float(found.deviations[1]),
        "rest": found.rest,
        "steps": found.steps,
        "cpu_seconds": round(time.process_time() - begin, 1),
    }


def bound(u: torch.Tensor, x: torch.Tensor, t: torch.Tensor, noise: float, waves: int) -> list[float]:
    """Least deviation in percent of any unbiased estimate of either constant when the first state has ``waves`` waves that are
    not known either (Cramer and Rao): the inverse Fisher information at the truth, for the points of draw 0."""
    generator, length = torch.Generator().manual_seed(0), float(x[-1] - x[0]) + float(x[1] - x[0])
    grid, total, snapshots = PeriodicGrid((GRID,), (length,)), sum(COUNTS), []
    for index, count in zip(TIMES, COUNTS, strict=True):
        chosen = torch.randperm(len(x), generator=generator)[:count]
        snapshots.append(Snapshot(float(t[index]), x[chosen], u[chosen, index]))
    found = fit_snapshots(
        lambda state, constants, span: advance(grid, state, constants, span, FINE),
        grid, snapshots, torch.tensor([TRUTH]).double(), waves, origin=float(x[0]), max_steps=1,
    )  # fmt: skip
    # the fit scales its deviations by what it leaves, here by the noise
    left = found.rest * math.sqrt(total / (total - 2 * waves - 1 - len(TRUTH)))
    size = noise * float(torch.stack([u[:, index].std() for index in TIMES]).mean())
    return [100 * float(d) * size / left / truth for d, truth in zip(found.deviations, TRUTH, strict=True)]


def errors(rows: list[dict[str, float]], name: str, truth: float) -> str:
    """Median and range of the error in percent."""
    off = np.array([100 * abs(row[name] / truth - 1) for row in rows])
    return f"{np.median(off):.2g} ({off.min():.2g} to {off.max():.2g})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--noise", default="0,0.01")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--log", type=Path, default=Path("benchmarks/results/laws/kdv_identification.jsonl"))
    parser.add_argument("--bound", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    u, x, t = field(DataConfig(file=arguments.data, field="uu", time="tt"), uniform=True)
    if arguments.bound:
        print("| waves of the first state | advection, % | dispersion, % |\n|---|---|---|")
        for waves in (9, 14, WAVES):
            print(
                f"| {waves} | " + " | ".join(f"{v:.3f}" for v in bound(u, x, t, 0.01, waves)) + " |",
                flush=True,
            )
        return
    log = arguments.log
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    done = {(row["noise"], row["seed"]) for row in rows}
    for seed in range(arguments.draws):
        for noise in (float(n) for n in arguments.noise.split(",")):
            if (noise, seed) not in done:
                rows.append(draw(u, x, t, noise, seed))
                with log.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    print("| noise | draws | advection error, % | dispersion error, % | published, % | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for noise in sorted({row["noise"] for row in rows}):
        mine = [row for row in rows if row["noise"] == noise]
        known = PUBLISHED.get(noise)
        published = (
            " and ".join(f"{100 * abs(p / q - 1):.2g}" for p, q in zip(known, TRUTH, strict=True))
            if known
            else ""
        )
        seconds = np.median([row["cpu_seconds"] for row in mine])
        cells = [
            errors(mine, name, truth) for name, truth in zip(("advection", "dispersion"), TRUTH, strict=True)
        ]
        print(f"| {noise:g} | {len(mine)} | {cells[0]} | {cells[1]} | {published} | {seconds:.0f} |")


if __name__ == "__main__":
    main()
