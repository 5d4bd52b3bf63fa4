"""Levenberg-Marquardt with straight and with curved steps, on a law whose constants are to be found.

    python benchmarks/laws/curved_steps.py --draws 5

Burgers' equation from -sin(pi x), viscosity 0.01, by our own solver: 600 of its values, 3 layers of 12, 120 steps, no easing, one
start. A draw is a choice of values and initial weights. Losses and the errors of the constants are after the last step.
"""

from __future__ import annotations

import argparse
import math
import time

import torch

from atomfield.physics_priors import gauss_newton, physics_informed
from atomfield.physics_priors.burgers import Burgers1D
from atomfield.physics_priors.line_laws import line_law

VISCOSITY, VALUES = 0.01, 600


def straight(residuals, start, *, curved, max_steps, tolerance, progress):
    """``minimise`` whose steps never bend."""
    return gauss_newton.minimise(
        residuals, start, max_steps=max_steps, tolerance=tolerance, progress=progress
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, t = torch.arange(512).double() / 256 - 1, torch.linspace(0, 0.99, 100, dtype=torch.float64)
    u = Burgers1D(512, 2.0, VISCOSITY).solve(-torch.sin(math.pi * x), t).T[::2]
    points = torch.cartesian_prod(x[::2], t)
    print("| steps | draw | loss | advection error, % | viscosity error, % | CPU seconds |")
    print("|---|---|---|---|---|---|")
    for name, method in (("straight", straight), ("curved", gauss_newton.minimise)):
        physics_informed.minimise = method
        for seed in range(arguments.draws):
            generator, begin = torch.Generator().manual_seed(seed), time.process_time()
            torch.randn(u.shape, dtype=torch.float64, generator=generator)
            chosen = torch.randperm(len(points), generator=generator)[:VALUES]
            fit = physics_informed.fit_network(
                line_law("burgers"), points[chosen], u.reshape(-1)[chosen], points[chosen],
                torch.tensor([0.1, 0.0025]), ease=0, starts=1, max_steps=120, tolerance=1e-3, seed=seed,
                width=12, depth=3,
            )  # fmt: skip
            off = [100 * (float(c) / k - 1) for c, k in zip(fit.constants, (1.0, VISCOSITY), strict=True)]
            seconds = time.process_time() - begin
            print(f"| {name} | {seed} | {fit.fit.loss:.1e} | {off[0]:.3f} | {off[1]:.3f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
