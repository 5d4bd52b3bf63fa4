"""A law without a mirror image is told where no record names a direction; what has a mirror image is not."""

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.finetune.mirror import drift
from atomfield.finetune.tasks import Task

SOLUTION = Task(("solution",), "field", ())
VELOCITY = Task(("velocity",), "field", ())
ALONG_X = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)


def record(values, number, name="solution", more=None):
    """One trajectory ``[T, N]`` on a periodic line; as a velocity it lies along the line."""
    times, points = values.shape
    positions = torch.zeros(points, 3, dtype=torch.float64)
    positions[:, 0] = torch.arange(points) / points
    value = torch.from_numpy(np.ascontiguousarray(values))
    return Graph(
        positions, torch.zeros(points), "field", cell=torch.eye(3), pbc=torch.tensor([True, False, False]),
        edges={"grid": grid_edges((points,), (True,))}, grid_shape=(points,),
        quantities={name: value[..., None] * ALONG_X if name == "velocity" else value, **(more or {})},
        times=torch.arange(times, dtype=torch.float64), spacing=1 / points, level="line", group=f"{number}",
    )  # fmt: skip


def starts(count, points, waves=(1, 2)):
    rng = np.random.default_rng(0)
    x = np.arange(points) / points
    return [
        sum(rng.normal() / k * np.sin(2 * np.pi * (k * x + rng.random())) for k in waves)
        for _ in range(count)
    ]


def lines(count, rate, name="solution", points=32, times=8):
    """Random waves on a periodic line, stepped by ``rate(value, slope, bend)``."""
    out = []
    for number, u in enumerate(starts(count, points)):
        states = [u]
        for _ in range(times - 1):
            u = states[-1]
            slope = (np.roll(u, -1) - np.roll(u, 1)) * points / 2
            bend = (np.roll(u, -1) + np.roll(u, 1) - 2 * u) * points**2
            states.append(u + 0.002 * rate(u, slope, bend))
        out.append(record(np.stack(states), number, name))
    return out


def solitary_waves(count, name="solution", points=48, times=9, step=0.03, substeps=150):
    """Korteweg-de Vries, u_t + u u_x + 0.0005 u_xxx = 0, from random sines: the third derivative turns in Fourier space,
    the rest is stepped by Runge and Kutta's method (Trefethen, Spectral Methods in MATLAB, program 27)."""
    k = 2j * np.pi * np.arange(points // 2 + 1)
    h = step / substeps
    half = np.exp(-0.0005 * k**3 * h / 2)
    keep = np.arange(len(k)) < points // 3
    v = np.fft.rfft(np.stack(starts(count, points, (1, 2, 3))))
    states = [np.fft.irfft(v, points)]

    def push(v):
        return -h * k * keep * np.fft.rfft(np.fft.irfft(v, points) ** 2 / 2)

    for _ in range(times - 1):
        for _ in range(substeps):
            a = push(v)
            b = push(half * (v + a / 2))
            c = push(half * v + b / 2)
            d = push(half**2 * v + half * c)
            v = half**2 * (v + a / 6) + half * (b + c) / 3 + d / 6
        states.append(np.fft.irfft(v, points))
    return [record(u, number, name) for number, u in enumerate(np.stack(states, axis=1))]


def test_what_moves_one_way_is_told_with_what_to_do():
    (line,) = drift(SOLUTION, lines(6, lambda u, slope, bend: -slope))
    assert (
        line.startswith("solution changes along x as its mirror image could not")
        and "--map gravity=1," in line
    )
    assert "velocity" not in line


def test_a_velocity_that_is_called_a_number_is_told():
    (line,) = drift(SOLUTION, lines(6, lambda u, slope, bend: -u * slope + 0.01 * bend))
    assert "if solution is a velocity, --map velocity=..." in line
    assert drift(VELOCITY, lines(6, lambda u, slope, bend: -u * slope + 0.01 * bend, "velocity")) == []


def test_korteweg_de_vries_is_told_however_it_is_read():
    (line,) = drift(SOLUTION, solitary_waves(12))
    assert "--map gravity=1," in line and "velocity" not in line
    (line,) = drift(VELOCITY, solitary_waves(12, "velocity"))
    assert "--map gravity=1," in line


@pytest.mark.parametrize(
    "rate", [lambda u, slope, bend: 0.1 * bend, lambda u, slope, bend: u - u**3 + slope**2]
)
def test_laws_with_a_mirror_image_are_silent(rate):
    assert drift(SOLUTION, lines(12, rate)) == []


def test_waves_to_one_side_are_silent_where_their_rate_is_known():
    """u_tt = u_xx has a mirror image, although all of these waves go right: u and u_t together say where to."""
    x, t = np.arange(32) / 32, 0.02 * np.arange(8)[:, None]
    rng = np.random.default_rng(0)
    alone, known = [], []
    for number in range(8):
        waves = [(rng.normal() / k, 2 * np.pi * k, rng.random()) for k in (1, 2)]
        u = sum(a * np.sin(w * (x - t) + 2 * np.pi * p) for a, w, p in waves)
        rate = sum(-a * w * np.cos(w * (x - t) + 2 * np.pi * p) for a, w, p in waves)
        alone.append(record(u, number))
        known.append(record(u, number, more={"second_concentration": torch.from_numpy(rate)}))
    assert len(drift(SOLUTION, alone)) == 1
    assert drift(SOLUTION, known) == []


def test_a_direction_in_the_records_is_enough():
    graphs = lines(6, lambda u, slope, bend: -slope)
    wind = ALONG_X.expand(32, 3)
    for name, value in (("velocity", wind), ("gravity", ALONG_X), ("inflow", -ALONG_X)):
        assert drift(SOLUTION, [g.changed(quantities={**g.quantities, name: value}) for g in graphs]) == []
    across = [g.changed(quantities={**g.quantities, "gravity": ALONG_X.roll(1)}) for g in graphs]
    assert len(drift(SOLUTION, across)) == 1, "gravity across the line says nothing about left and right"
    assert drift(SOLUTION, graphs[:3]) == [], "three trajectories may agree by chance"
