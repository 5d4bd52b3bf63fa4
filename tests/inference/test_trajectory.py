"""Diffusion of random walks whose coefficient is known, and neighbours of crystals and of an ideal gas."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.constraints import FixAtoms

from atomfield.data.errors import InputError
from atomfield.inference.diffusion import diffusion, mean_square_displacement, unwrapped
from atomfield.inference.diffusion import figure as msd_figure
from atomfield.inference.radial import figure as rdf_figure
from atomfield.inference.radial import first_shell, radial_distribution


def walk(
    steps: int, atoms: int, spread: float, cell: float, symbol: str = "Ar", seed: int = 0
) -> list[Atoms]:
    """Brownian atoms that are wrapped back into the cell, on a centre of mass that drifts."""
    random = np.random.default_rng(seed)
    paths = np.cumsum(spread * random.standard_normal((steps, atoms, 3)), axis=0)
    paths += np.linspace(0, 30, steps)[:, None, None]
    frames = [Atoms(f"{symbol}{atoms}", p, cell=[cell, cell, 1.5 * cell], pbc=True) for p in paths]
    for frame in frames:
        frame.wrap()
    return frames


def test_brownian_atoms() -> None:
    """D = spread^2 / (2 dt); with N atoms the centre of mass takes 1/N of it along."""
    spread, frame_time, count = 0.3, 20.0, 40
    found = diffusion(walk(600, count, spread, 6.0), frame_time)
    exact = spread**2 / 2 / (frame_time / 1000) * 1e-4 * (1 - 1 / count)
    assert abs(found.coefficient["Ar"] - exact) < 4 * found.error["Ar"]
    assert found.error["Ar"] < 0.2 * exact
    assert found.coefficient["Ar"] == pytest.approx(exact, rel=0.2)
    assert found.exponent["Ar"] == pytest.approx(1.0, abs=0.2)
    assert found.metrics()["diffusion_Ar_cm2_per_s"] == found.coefficient["Ar"]
    assert msd_figure(found).axes


def test_the_error_is_that_of_repeated_runs() -> None:
    """Of independent walks, so the standard error may be compared with the scatter."""
    runs = [diffusion(walk(300, 10, 0.2, 8.0, seed=s), 10.0) for s in range(12)]
    scatter = np.std([r.coefficient["Ar"] for r in runs], ddof=1)
    mean_error = np.mean([r.error["Ar"] for r in runs])
    assert 0.3 < mean_error / scatter < 2.0


def test_the_transform_is_the_double_sum() -> None:
    paths = np.random.default_rng(1).standard_normal((30, 4, 3)).cumsum(axis=0)
    direct = [np.mean(((paths[lag:] - paths[: 30 - lag]) ** 2).sum(axis=2)) for lag in range(30)]
    np.testing.assert_allclose(mean_square_displacement(paths), direct, atol=1e-10)


def test_paths_do_not_jump_in_a_skewed_cell() -> None:
    random = np.random.default_rng(2)
    cell = np.array([[5.0, 0, 0], [2.0, 5, 0], [1, 1, 6]])
    true = np.cumsum(0.3 * random.standard_normal((50, 3, 3)), axis=0)
    frames = [Atoms("He3", p, cell=cell, pbc=True) for p in true]
    for frame in frames:
        frame.wrap()
    found = unwrapped(frames)
    expected = true - true.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(np.diff(found, axis=0), np.diff(expected, axis=0), atol=1e-9)


def test_what_does_not_diffuse_is_said() -> None:
    random = np.random.default_rng(0)
    caged = [
        Atoms("Ar4", 3.0 * np.eye(4, 3) + 0.1 * random.standard_normal((4, 3)), cell=[9, 9, 9], pbc=True)
        for _ in range(100)
    ]
    assert "stuck" in diffusion(caged, 10.0).remarks[0]
    velocity = random.standard_normal((4, 3))
    flying = [Atoms("Ar4", 3.0 * np.eye(4, 3) + 0.1 * t * velocity) for t in range(100)]
    assert "move freely" in diffusion(flying, 10.0).remarks[0]


def test_shells_of_rock_salt() -> None:
    """6 unlike neighbours at a/2, 12 like ones at a/sqrt(2), 8 unlike at a sqrt(3)/2; beyond half the cell too."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    found = radial_distribution([atoms], reach=7.0, width=0.02)
    count = lambda name, r: found.neighbors[name][np.searchsorted(found.radius + 0.01, r) - 1]  # noqa: E731
    assert count("Na-Cl", 3.0) == 6
    assert count("Na-Cl", 5.2) == 14
    assert count("Na-Na", 4.2) == 12
    assert count("Cl-Cl", 5.8) == 18
    assert set(found.g) == {"Na-Na", "Na-Cl", "Cl-Cl"}
    assert found.metrics()["coordination_Na-Cl"] == 6
    assert found.metrics()["first_peak_Na-Cl_A"] == pytest.approx(2.82, abs=0.02)
    assert rdf_figure(found).axes


def test_an_ideal_gas_is_one() -> None:
    random = np.random.default_rng(0)
    frames = [Atoms("Ar60He30", random.uniform(0, 12, (90, 3)), cell=[12] * 3, pbc=True) for _ in range(120)]
    found = radial_distribution(frames, reach=6.0, width=0.25)
    for name, g in found.g.items():  # an atom is not its own neighbour: like pairs are short of 1/N
        short = {"Ar-Ar": 1 / 60, "He-He": 1 / 30, "He-Ar": 0.0}[name]
        np.testing.assert_allclose(g[10:], 1.0 - short, atol=0.06)
    assert found.neighbors["He-Ar"][-1] == pytest.approx(60 / 12**3 * 4 / 3 * np.pi * 6**3, rel=0.02)
    assert first_shell(found.g["He-Ar"])[1] >= 0


def test_mistakes() -> None:
    frames = walk(40, 3, 0.1, 6.0)
    for call, message in (
        (lambda: diffusion(frames, 10.0), "has 40 frames, expected at least 100"),
        (lambda: diffusion(frames, 0.0), "between frames is 0"),
        (lambda: diffusion(frames * 3, 10.0, blocks=1), "blocks is 1"),
        (lambda: diffusion([*frames * 3, Atoms("He3")], 10.0), "different atoms"),
        (lambda: radial_distribution([]), "no frames"),
        (lambda: radial_distribution([Atoms("He")]), "periodic in three"),
        (lambda: radial_distribution(frames, width=9.0), "expected 0 < width < reach"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_slab_diffuses_in_its_plane() -> None:
    """D is a quarter of the slope there; what atoms do across the vacuum does not count. Of a wire, half."""
    spread, count = 0.3, 40
    walking = walk(600, count, spread, 6.0)
    turn = np.array([[0.6, 0.0, 0.8], [0.0, 1.0, 0.0], [-0.8, 0.0, 0.6]])
    exact = spread**2 / 2 / 0.02 * 1e-4 * (1 - 1 / count)
    for dimensions in (2, 1):
        frames = []
        for frame in walking:
            one = frame.copy()
            one.positions[:, dimensions:] = np.random.default_rng(0).uniform(0, 3, (count, 3 - dimensions))
            one.set_cell(one.cell.array @ turn, scale_atoms=True)
            one.pbc = [k < dimensions for k in range(3)]
            frames.append(one)
        found = diffusion(frames, 20.0)
        assert found.dimensions == dimensions
        assert found.coefficient["Ar"] == pytest.approx(exact, rel=0.25)


def test_atoms_that_are_held_are_left_out_and_nothing_drifts() -> None:
    free, held = walk(400, 10, 0.2, 8.0), Atoms("Ar10", np.random.default_rng(1).uniform(0, 8, (10, 3)))
    frames = [f + held for f in free]
    alone = diffusion(frames, 10.0).coefficient["Ar"]
    for frame in frames:
        frame.set_constraint(FixAtoms(range(10, 20)))
    found = diffusion(frames, 10.0)
    assert found.coefficient["Ar"] > 1.5 * alone
    square = ((unwrapped(frames, drift=True)[-1] - unwrapped(frames, drift=True)[0])[10:] ** 2).max()
    assert square == pytest.approx(0.0, abs=1e-12)
    for frame in frames:
        frame.set_constraint(FixAtoms(range(20)))
    with pytest.raises(InputError, match="all atoms fixed"):
        diffusion(frames, 10.0)


def test_a_pair_without_neighbours_has_no_peak() -> None:
    atoms = Atoms("NaCl", [[0, 0, 0], [2.8, 0, 0]], cell=[12, 12, 12], pbc=True)
    found = radial_distribution([atoms], reach=6.0)
    assert set(found.metrics()) == {"first_peak_Na-Cl_A", "coordination_Na-Cl"}
    assert rdf_figure(found).axes


def test_the_first_shell_ends_in_the_valley() -> None:
    """Of a warm crystal and of a liquid: it ended where g had fallen to half of its peak, if that was more than 1."""
    r = np.arange(0.025, 8.0, 0.05)

    def bump(height: float, at: float, width: float) -> np.ndarray:
        return height * np.exp(-0.5 * ((r - at) / width) ** 2)

    crystal = bump(12.0, 2.8, 0.1) + bump(4.0, 4.8, 0.15)
    liquid = bump(2.0, 3.4, 0.3) + bump(0.2, 6.4, 0.6) + np.where(r > 3.4, 1.0, 0.0) - bump(0.5, 4.8, 0.4)
    noise = 0.03 * np.random.default_rng(0).standard_normal(len(r))
    for g, at, valley in ((crystal, 2.8, (3.1, 4.3)), (liquid, 3.4, (4.4, 5.2))):
        peak, end = first_shell(np.where(g > 1e-3, np.maximum(g + noise, 0.0), 0.0))
        assert r[peak] == pytest.approx(at, abs=0.2)
        assert valley[0] < r[end] < valley[1]
