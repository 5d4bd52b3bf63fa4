"""A drift that no record names is told; what has a mirror image is not."""

import numpy as np
import pytest
import torch

from atomfield.data.graph import Graph
from atomfield.data.neighbors import grid_edges
from atomfield.finetune.mirror import drift
from atomfield.finetune.tasks import Task

SOLUTION = Task(("solution",), "field", ())


def lines(count, rate, name="solution", points=32, times=8):
    """Random waves on a periodic line, stepped by ``rate(value, slope, bend)``."""
    rng = np.random.default_rng(0)
    x = np.arange(points) / points
    out = []
    for number in range(count):
        u = sum(rng.normal() / k * np.sin(2 * np.pi * (k * x + rng.random())) for k in (1, 2))
        states = [u]
        for _ in range(times - 1):
            u = states[-1]
            slope = (np.roll(u, -1) - np.roll(u, 1)) * points / 2
            bend = (np.roll(u, -1) + np.roll(u, 1) - 2 * u) * points**2
            states.append(u + 0.002 * rate(u, slope, bend))
        positions = torch.zeros(points, 3, dtype=torch.float64)
        positions[:, 0] = torch.from_numpy(x)
        out.append(
            Graph(
                positions, torch.zeros(points), "field", cell=torch.eye(3), pbc=torch.tensor([True, False, False]),
                edges={"grid": grid_edges((points,), (True,))}, grid_shape=(points,),
                quantities={name: torch.from_numpy(np.stack(states))},
                times=torch.arange(times, dtype=torch.float64), spacing=1 / points, level="line", group=f"{number}",
            )
        )  # fmt: skip
    return out


def test_what_moves_one_way_is_told_with_what_to_do():
    (line,) = drift(SOLUTION, lines(6, lambda u, slope, bend: -slope))
    assert line.startswith("solution moves one way along x") and "give the wind as velocity" in line


def test_a_velocity_that_is_called_a_number_is_told():
    (line,) = drift(SOLUTION, lines(6, lambda u, slope, bend: -u * slope + 0.01 * bend))
    assert "moves the way of its own sign along x" in line and "--map velocity=..." in line


@pytest.mark.parametrize(
    "rate", [lambda u, slope, bend: 0.1 * bend, lambda u, slope, bend: u - u**3 + slope**2]
)
def test_laws_with_a_mirror_image_are_silent(rate):
    assert drift(SOLUTION, lines(12, rate)) == []


def test_a_direction_in_the_records_is_enough():
    graphs = lines(6, lambda u, slope, bend: -slope)
    wind = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).expand(32, 3)
    told = [g.changed(quantities={**g.quantities, "velocity": wind}) for g in graphs]
    assert drift(SOLUTION, told) == []
    assert drift(SOLUTION, graphs[:3]) == [], "three trajectories may agree by chance"
