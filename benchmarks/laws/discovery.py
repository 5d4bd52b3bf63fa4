"""Equations found from data: Burgers, Korteweg-de Vries and Kuramoto-Sivashinsky fields, and Lorenz's system.

    python benchmarks/laws/discovery.py --data DIR

DIR has ``burgers.mat``, ``kdv.mat`` and ``kuramoto_sivishinky.mat`` of pysindy's examples (MIT). Lorenz is
integrated here. The library of
the fields has 15 terms (powers to u^3, derivatives to the fourth), Lorenz's 9 (monomials to the second degree). Five
draws of the noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atomfield.finetune.identify_config import DataConfig
from atomfield.finetune.identify_data import field
from atomfield.physics_priors import lorenz
from atomfield.physics_priors.ode import solve
from atomfield.physics_priors.sparse_regression import sequential_threshold
from atomfield.physics_priors.weak_form import library, weak_rates
from atomfield.physics_priors.weak_identification import discover

FIELDS = {
    "Burgers": (DataConfig(file=Path("burgers.mat"), field="usol"), {"u u_x": -1.0, "u_xx": 0.1}),
    "Korteweg-de Vries": (DataConfig(file=Path("kdv.mat"), field="usol"), {"u u_x": -6.0, "u_xxx": -1.0}),
    "Kuramoto-Sivashinsky": (
        DataConfig(file=Path("kuramoto_sivishinky.mat"), field="uu", time="tt"),
        {"u u_x": -1.0, "u_xx": -1.0, "u_xxxx": -1.0},
    ),
}
NOISES, DRAWS, POINTS = (0.0, 0.01, 0.05), 5, 5001


def noisy(values: Tensor, noise: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return values + noise * values.std(0) * torch.randn(
        values.shape, dtype=torch.float64, generator=generator
    )


def row(name: str, noise: float, found: list[dict[str, float]], truth: dict[str, float]) -> str:
    """Share of draws with exactly the right terms, and the worst error of a coefficient in each, median and range."""
    right = [f for f in found if set(f) == set(truth)]
    worst = np.array([max(100 * abs(f[k] / v - 1) for k, v in truth.items()) for f in right])
    said = f"{np.median(worst):.2g} ({worst.min():.2g} to {worst.max():.2g})" if len(worst) else "none"
    return f"| {name} | {100 * noise:g} | {len(right)} of {len(found)} | {said} |"


def of_field(data: DataConfig, folder: Path, noise: float, seed: int) -> dict[str, float]:
    u, x, t = field(data.model_copy(update={"file": folder / data.file}), uniform=True)
    u = u + noise * u.std() * torch.randn(
        u.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    found = discover(u, float(x.diff().mean()), float(t.diff().mean()), library(3, 4), draws=20)
    kept = found.fit.active[:, 0].nonzero().flatten().tolist()
    return {str(found.terms[k]): float(found.fit.coefficients[k, 0]) for k in kept}


def of_lorenz(path: Tensor, noise: float, seed: int) -> dict[str, float]:
    states = noisy(path, noise, seed)
    x, y, z = states.unbind(1)
    names = "x y z xx xy xz yy yz zz".split()
    features = torch.stack([x, y, z, x * x, x * y, x * z, y * y, y * z, z * z], dim=1)
    matrix, rates, _ = weak_rates(states, 0.002, features, 60)
    fit = sequential_threshold(matrix, rates, 0.05)
    return {
        f"{'xyz'[d]}: {names[k]}": float(fit.coefficients[k, d]) for k, d in fit.active.nonzero().tolist()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    torch.set_num_threads(1)
    print("| data | noise, % | right terms | worst coefficient error, % |\n|---|---|---|---|")
    for name, (data, truth) in FIELDS.items():
        for noise in NOISES:
            seeds = range(DRAWS if noise else 1)
            print(row(name, noise, [of_field(data, folder, noise, s) for s in seeds], truth), flush=True)
    constants = torch.tensor([10.0, 28.0, 8 / 3], dtype=torch.float64)
    times = 0.002 * torch.arange(POINTS, dtype=torch.float64)
    path = solve(
        lambda _, s: lorenz.rate(s, constants), torch.tensor([-8.0, 8.0, 27.0]).double(), times, substeps=1
    )
    truth = {
        "x: x": -10.0,
        "x: y": 10.0,
        "y: x": 28.0,
        "y: y": -1.0,
        "y: xz": -1.0,
        "z: z": -8 / 3,
        "z: xy": 1.0,
    }
    for noise in NOISES:
        seeds = range(DRAWS if noise else 1)
        print(row("Lorenz", noise, [of_lorenz(path, noise, s) for s in seeds], truth), flush=True)


if __name__ == "__main__":
    main()
