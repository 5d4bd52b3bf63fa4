"""Both constants of Burgers' equation from 2,000 values of its solution: published figures, ours by a network and by
the weak form.

    python benchmarks/laws/burgers_identification.py --data burgers_shock.mat --noise 0,0.01 --draws 5

Published (Raissi et al., J. Comput. Phys. 378, 686 (2019), one draw each): advection 0.99915 and viscosity 0.0031794 on clean
data, 1.00042 and 0.0032098 with 1 % noise; the truth is 1 and 0.01/pi = 0.0031831. A draw is a choice of points, noise and
initial weights. Each finished draw is a line of ``--log``; draws that are there are not repeated. A minute of one core each.
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
from atomfield.physics_priors.line_laws import line_law
from atomfield.physics_priors.physics_informed import fit_network
from atomfield.physics_priors.weak_identification import identify

TRUTH = (1.0, 0.01 / math.pi)
PUBLISHED = {0.0: (0.99915, 0.0031794), 0.01: (1.00042, 0.0032098)}


def draw(
    u: torch.Tensor, x: torch.Tensor, t: torch.Tensor, noise: float, seed: int, steps: int
) -> dict[str, float]:
    """One identification by the network and one by the weak form (of the whole grid)."""
    generator = torch.Generator().manual_seed(seed)
    noisy = u + noise * u.std() * torch.randn(u.shape, dtype=torch.float64, generator=generator)
    points = torch.cartesian_prod(x, t)
    chosen = torch.randperm(len(points), generator=generator)[:2000]
    start, law = time.process_time(), line_law("burgers")
    fit = fit_network(
        law, points[chosen], noisy.reshape(-1)[chosen], points[chosen], torch.tensor([0.1, 0.0025]),
        max_steps=steps, tolerance=1e-3, seed=seed,
    )  # fmt: skip
    seconds = time.process_time() - start
    weak = identify(law, noisy, float(x.diff().mean()), float(t.diff().mean()))
    filled = fit.field(points).reshape(u.shape)
    return {
        "noise": noise,
        "seed": seed,
        "max_steps": steps,
        "advection": float(fit.constants[0]),
        "viscosity": float(fit.constants[1]),
        "advection_sd": float(fit.deviations[0]),
        "viscosity_sd": float(fit.deviations[1]),
        "field_error": float((filled - u).norm() / u.norm()),
        "steps": len(fit.fit.history) - 1,
        "cpu_seconds": round(seconds, 1),
        "weak_advection": float(weak.values[0]),
        "weak_viscosity": float(weak.values[1]),
    }


def errors(rows: list[dict[str, float]], prefix: str, k: int) -> str:
    """Median and range of the error in percent."""
    name = prefix + ("advection", "viscosity")[k]
    off = np.array([100 * abs(row[name] / TRUTH[k] - 1) for row in rows])
    return f"{np.median(off):.3g} ({off.min():.2g} to {off.max():.2g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--noise", default="0,0.01")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument(
        "--log", type=Path, default=Path("benchmarks/results/laws/burgers_identification.jsonl")
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    u, x, t = field(DataConfig(file=arguments.data, field="usol"), uniform=True)
    log = arguments.log
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    # lines of earlier versions know no max_steps
    rows = [row for row in lines if row.get("max_steps") == arguments.steps]
    done = {(row["noise"], row["seed"]) for row in rows}
    for seed in range(arguments.draws):
        for noise in (float(n) for n in arguments.noise.split(",")):
            if (noise, seed) in done:
                continue
            rows.append(draw(u, x, t, noise, seed, arguments.steps))
            with log.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    print(
        "| noise | draws | advection error, % | viscosity error, % | published, % | weak form, % | CPU seconds |"
    )
    print("|---|---|---|---|---|---|---|")
    for noise in sorted({row["noise"] for row in rows}):
        mine = [row for row in rows if row["noise"] == noise]
        known = PUBLISHED.get(noise)
        published = (
            " and ".join(f"{100 * abs(p / q - 1):.3g}" for p, q in zip(known, TRUTH, strict=True))
            if known
            else ""
        )
        weak = " and ".join(errors(mine, "weak_", k) for k in (0, 1))
        seconds = np.median([row["cpu_seconds"] for row in mine])
        cells = [
            f"{noise:g}", str(len(mine)), errors(mine, "", 0), errors(mine, "", 1), published, weak, f"{seconds:.0f}"
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
