"""When does a finetuning say that a field has no mirror image, and when is it silent? Laws on a line with and without one.

    python benchmarks/mirror_check.py

Solves each law from random sines on 64 periodic points, at 13 times (ETDRK4 of Kassam and Trefethen, SIAM J. Sci. Comput. 26,
1214 (2005)), for three draws of 4, 6, 12 and 40 trajectories, asks ``finetune/mirror.py`` about each, and writes
``benchmarks/results/mirror_check.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from machine import description
from page_text import table, wrapped

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.finetune.mirror import drift
from atomfield.finetune.tasks import Task

POINTS, TIMES = 64, 13
COUNTS, DRAWS = (4, 6, 12, 40), 3
X = np.arange(POINTS) / POINTS
Rate = Callable[[np.ndarray, np.ndarray], np.ndarray]


def starts(count: int, rng: np.random.Generator) -> np.ndarray:
    """``[count, POINTS]``"""
    waves = [
        rng.normal(size=(count, 1)) / m * np.sin(2 * np.pi * (m * X + rng.random((count, 1))))
        for m in (1, 2, 3)
    ]
    return np.asarray(sum(waves))


def solved(
    start: np.ndarray, linear: Callable[[np.ndarray], np.ndarray], rate: Rate, step: float, substeps: int
) -> np.ndarray:
    """``[count, TIMES, POINTS]`` of u_t = L u + rate(u, u_x); ``linear``: L for wave numbers k."""
    k = 2 * np.pi * np.arange(POINTS // 2 + 1)
    h = step / substeps
    lin = linear(k) + 0j
    circle = h * lin[:, None] + np.exp(2j * np.pi * (np.arange(32) + 0.5) / 32)
    whole, half = np.exp(h * lin), np.exp(h * lin / 2)
    mean = lambda x: h * x.mean(1)  # noqa: E731
    q = mean((np.exp(circle / 2) - 1) / circle)
    f1 = mean((-4 - circle + np.exp(circle) * (4 - 3 * circle + circle**2)) / circle**3)
    f2 = mean((2 + circle + np.exp(circle) * (circle - 2)) / circle**3)
    f3 = mean((-4 - 3 * circle - circle**2 + np.exp(circle) * (4 - circle)) / circle**3)
    kept = np.arange(len(k)) < POINTS // 3

    def push(v: np.ndarray) -> np.ndarray:
        u, slope = np.fft.irfft(v * kept, POINTS), np.fft.irfft(1j * k * v * kept, POINTS)
        return np.asarray(np.fft.rfft(rate(u, slope)) * kept)

    v, states = np.fft.rfft(start), [start]
    for _ in range(TIMES - 1):
        for _ in range(substeps):
            now = push(v)
            a = half * v + q * now
            at_a = push(a)
            b = half * v + q * at_a
            at_b = push(b)
            c = half * a + q * (2 * at_b - now)
            v = whole * v + now * f1 + 2 * (at_a + at_b) * f2 + push(c) * f3
        states.append(np.fft.irfft(v, POINTS))
    return np.stack(states, axis=1)


def plane_waves(count: int, rng: np.random.Generator, ways: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Waves of speed 1 and their rate of change."""
    t = 0.05 * np.arange(TIMES)[None, :, None]
    u, rate = np.zeros((count, TIMES, POINTS)), np.zeros((count, TIMES, POINTS))
    for m in (1, 2, 3):
        for way in ways:
            size = rng.normal(size=(count, 1, 1)) / m
            phase = 2 * np.pi * (m * (X - way * t) + rng.random((count, 1, 1)))
            u, rate = u + size * np.sin(phase), rate - way * 2 * np.pi * m * size * np.cos(phase)
    return u, rate


def told(name: str, values: np.ndarray, more: np.ndarray | None = None) -> str:
    """What is said of these trajectories: nothing, ``direction`` or ``velocity``."""
    positions = torch.zeros(POINTS, 3, dtype=torch.float64)
    positions[:, 0] = torch.from_numpy(X)
    graphs = []
    for number, own in enumerate(values):
        value = torch.from_numpy(np.ascontiguousarray(own))
        if name == "velocity":
            value = torch.nn.functional.pad(value[..., None], (0, 2))
        quantities = {name: value}
        if more is not None:
            quantities["concentration"] = torch.from_numpy(np.ascontiguousarray(more[number]))
        graphs.append(
            Graph(
                positions, torch.zeros(POINTS), "field", cell=torch.eye(3), pbc=torch.tensor([True, False, False]),
                edges={"grid": grid_edges((POINTS,), (True,))}, grid_shape=(POINTS,), quantities=quantities,
                times=torch.arange(TIMES, dtype=torch.float64), spacing=1 / POINTS, group=f"{number}",
            )
        )  # fmt: skip
    lines = drift(Task((name,), "field", ()), graphs)
    return ("velocity" if "is a velocity" in lines[0] else "direction") if lines else ""


def laws(count: int, rng: np.random.Generator) -> dict[str, str]:
    """Law -> what is said of ``count`` trajectories of it."""
    start = starts(count, rng)
    none: Rate = lambda u, slope: 0 * u  # noqa: E731
    advect: Rate = lambda u, slope: -u * slope  # noqa: E731
    burgers = solved(start, lambda k: -0.003 * k**2, advect, 0.03, 40)
    out = {
        "heat": told("solution", solved(start, lambda k: -0.01 * k**2, none, 0.05, 20)),
        "Allen-Cahn": told(
            "solution", solved(start, lambda k: -0.001 * k**2, lambda u, slope: 5 * (u - u**3), 0.1, 40)
        ),
        "Kuramoto-Sivashinsky, potential": told(
            "solution",
            solved(start, lambda k: 6e-4 * k**2 - 2e-7 * k**4, lambda u, slope: -0.05 * slope**2, 0.5, 100),
        ),
        "Burgers as velocity": told("velocity", burgers),
        "waves both ways": told("solution", plane_waves(count, rng, (1, -1))[0]),
        "waves to the right, rate known": told("solution", *plane_waves(count, rng, (1,))),
        "waves to the right": told("solution", plane_waves(count, rng, (1,))[0]),
        "Burgers as a number": told("solution", burgers),
    }
    for step in (0.01, 0.03, 0.1, 0.3):
        waves = solved(start, lambda k: 5e-4j * k**3, advect, step, round(4000 * step))
        for name in ("solution", "velocity"):
            what = "a number" if name == "solution" else "velocity"
            out[f"Korteweg-de Vries as {what}, steps of {step}"] = told(name, waves)
    return out


def main() -> None:
    found: dict[str, list[list[str]]] = {}
    for count in COUNTS:
        runs = [laws(count, np.random.default_rng(draw)) for draw in range(DRAWS)]
        for law in runs[0]:
            found.setdefault(law, []).append([r[law] for r in runs])
    cell = lambda said: " ".join(word or "-" for word in said)  # noqa: E731
    machine = description()
    lines = [
        "# Laws without a mirror image",
        "",
        f"Made by `python benchmarks/mirror_check.py`, {machine['date'][:10]}. What a finetuning says of {DRAWS} draws before "
        "it trains: nothing (-), that a direction is lacking, or that the number is a velocity (or lacks a direction). The "
        "first six have a mirror image as they are read, the others have none.",
        "",
        *table(("law", *(f"{c} trajectories" for c in COUNTS)), [[law, *map(cell, said)] for law, said in found.items()]),
    ]  # fmt: skip
    page = Path(__file__).parent / "results" / "mirror_check.md"
    page.write_text(wrapped(lines) + "\n")
    print(page.read_text())


if __name__ == "__main__":
    main()
