"""``atomfield identify``: constants and terms from files, and what is wrong with the files or the configuration."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from atomfield.cli import main
from atomfield.config import load_config, shipped_configs
from atomfield.data.source import open_source
from atomfield.finetune.identify_config import IdentifyConfig
from atomfield.physics_priors import lorenz, lotka_volterra
from atomfield.physics_priors.burgers import Burgers1D
from atomfield.physics_priors.navier_stokes import NavierStokes2D
from atomfield.physics_priors.ode import solve


@pytest.fixture
def burgers(tmp_path) -> Path:
    """A field on 96 points and 61 times, viscosity 0.05, as npz with the axes [T, n]."""
    solver = Burgers1D(96, 2.0, 0.05)
    x = torch.arange(96).double() / 48
    u = solver.solve(torch.sin(math.pi * x) + 0.3, torch.linspace(0, 0.6, 61, dtype=torch.float64))
    file = tmp_path / "field.npz"
    np.savez(file, u=u.numpy(), x=x.numpy(), t=np.linspace(0, 0.6, 61))
    return file


@pytest.fixture
def counts(tmp_path) -> Path:
    """Predator and prey over 9 years without noise to speak of, with a comment and another order of columns."""
    truth = torch.tensor([0.6, 0.03, 0.8, 0.02], dtype=torch.float64)
    times = torch.linspace(0, 9, 10, dtype=torch.float64)
    path = solve(lambda _, z: lotka_volterra.rate(z, truth), torch.tensor([35.0, 8.0]).double(), times)
    noise = 0.02 * torch.randn(10, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows = [
        f"{1900 + int(t)}, {v:.8f}, {u:.8f}"
        for t, (u, v) in zip(times, (path * noise.exp()).tolist(), strict=True)
    ]
    file = tmp_path / "counts.csv"
    file.write_text("# counted\nYear, Lynx, Hare\n" + "\n".join(rows) + "\n")
    return file


def configured(tmp_path: Path, **content: object) -> str:
    file = tmp_path / "law.yaml"
    file.write_text(yaml.safe_dump({"out": str(tmp_path / "out"), **content}))
    return str(file)


def result(tmp_path: Path) -> dict[str, float]:
    assert (tmp_path / "out" / "identify.png").read_bytes()[:4] == b"\x89PNG"
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["law"]
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


def mistake(capsys, *words: str) -> str:
    capsys.readouterr()
    assert main(["identify", *words]) == 2
    return capsys.readouterr().err


LYNX = {
    "law": "lotka_volterra", "errors": "lognormal", "substeps": 2, "error_start": 0.1,
    "constants": {n: {"start": s} for n, s in zip(lotka_volterra.CONSTANTS, (0.55, 0.028, 0.85, 0.022), strict=True)},
}  # fmt: skip


def test_rates_from_a_table(tmp_path, counts, capsys):
    data = {"file": "counts.csv", "time": "Year", "columns": {"prey": "Hare", "predator": "Lynx"}}
    assert (
        main(["identify", configured(tmp_path, data=data, **LYNX)]) == 0
    )  # the file lies beside the configuration
    found = result(tmp_path)
    for name, want in zip(lotka_volterra.CONSTANTS, (0.6, 0.03, 0.8, 0.02), strict=True):
        assert abs(found[f"constant_{name}"] - want) < 4 * found[f"constant_{name}_sd"]
        assert found[f"constant_{name}_sd"] < 0.05 * want
    assert "alpha" in capsys.readouterr().out


def test_lorenz_from_a_table_with_noise(tmp_path):
    truth = torch.tensor([10.0, 28.0, 8 / 3], dtype=torch.float64)
    times = torch.linspace(0, 0.4, 17, dtype=torch.float64)
    start = torch.tensor([-8.0, 8.0, 27.0], dtype=torch.float64)
    path = solve(lambda _, z: lorenz.rate(z, truth), start, times)
    path = path + 0.05 * torch.randn(
        path.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    rows = torch.cat([times[:, None], path], dim=1).tolist()
    file = tmp_path / "run.csv"
    file.write_text("s,a,b,c\n" + "\n".join(",".join(f"{v:.8f}" for v in row) for row in rows) + "\n")
    config = configured(
        tmp_path, law="lorenz", substeps=2, error_start=0.02,
        data={"file": str(file), "time": "s", "columns": {"z": "c", "x": "a", "y": "b"}},
        constants={"sigma": {"start": 9.0}, "rho": {"start": 27.0}, "beta": {"start": 2.4}},
    )  # fmt: skip
    assert main(["identify", config]) == 0
    found = result(tmp_path)
    for name, want in zip(lorenz.CONSTANTS, truth.tolist(), strict=True):
        assert abs(found[f"constant_{name}"] - want) < 4 * found[f"constant_{name}_sd"] < 0.1 * want


def test_constants_of_a_field_with_and_without_noise(tmp_path, burgers, capsys):
    constants = {"viscosity": {"reference": 0.05}}
    config = configured(tmp_path, law="burgers", data={"file": str(burgers)}, constants=constants)
    assert main(["identify", config]) == 0
    assert abs(result(tmp_path)["constant_viscosity_relative_error"]) < 1e-3
    assert main(["identify", config, "--set", "noise=0.02", "--seed", "3"]) == 0
    noisy = result(tmp_path)
    assert 1e-5 < abs(noisy["constant_viscosity_relative_error"]) < 0.05
    assert "reference" in capsys.readouterr().out


@pytest.mark.parametrize(("waves", "remarked"), [(1, False), (14, True)])
def test_a_grid_that_hardly_resolves_the_field_is_remarked_on(waves, remarked, tmp_path, capsys):
    x, t = np.arange(64) / 64, np.linspace(0, 1, 41)
    k = 2 * np.pi * waves
    u = np.exp(-t) * np.sin(k * x)[:, None] + 0.3 * np.exp(-0.25 * t) * np.cos(k / 2 * x)[:, None]
    np.savez(tmp_path / "field.npz", u=u, x=x, t=t)
    assert (
        main(["identify", configured(tmp_path, law="heat", data={"file": "field.npz"}, windows=[16, 10])])
        == 0
    )
    assert result(tmp_path)["constant_diffusivity"] == pytest.approx(1 / k**2, rel=0.2)
    assert ("the grid hardly resolves the field" in " ".join(capsys.readouterr().out.split())) == remarked


def test_constants_by_a_network(tmp_path, burgers):
    config = configured(
        tmp_path, law="burgers", method="network", data={"file": str(burgers)},
        network={"points": 200, "width": 6, "depth": 2, "max_steps": 100},
        constants={"advection": {"start": 0.5, "reference": 1.0}, "viscosity": {"start": 0.02, "reference": 0.05}},
    )  # fmt: skip
    assert main(["identify", config]) == 0
    found = result(tmp_path)
    assert abs(found["constant_advection_relative_error"]) < 0.02
    assert abs(found["constant_viscosity_relative_error"]) < 0.03
    assert found["field_error_relative"] < 0.01


def test_a_network_starts_from_the_weak_form(tmp_path, burgers):
    """Without a start: a few steps are enough, where 1 is twenty times the viscosity."""
    config = configured(
        tmp_path, law="burgers", method="network", data={"file": str(burgers)},
        network={"points": 200, "width": 6, "depth": 2, "max_steps": 60},
    )  # fmt: skip
    assert main(["identify", config]) == 0
    found = result(tmp_path)
    assert found["constant_advection"] == pytest.approx(1.0, rel=0.02)
    assert found["constant_viscosity"] == pytest.approx(0.05, rel=0.03)


@pytest.fixture
def plume(tmp_path) -> Path:
    """A Gaussian carried at -0.7 that spreads with 0.03, on a line without boundary to speak of."""
    x, t = np.linspace(-2, 2, 121), np.linspace(0, 1, 81)
    width = 0.3**2 + 2 * 0.03 * t
    u = np.exp(-((x[:, None] - 0.5 + 0.7 * t) ** 2) / (2 * width)) / np.sqrt(width)
    file = tmp_path / "plume.npz"
    np.savez(file, u=u, x=x, t=t)
    return file


@pytest.mark.parametrize("method", ["weak_form", "network"])
def test_advection_and_diffusion_against_the_axis(method, tmp_path, plume):
    config = configured(
        tmp_path, law="advection_diffusion", method=method, data={"file": str(plume)},
        network={"points": 150, "width": 6, "depth": 2, "max_steps": 200},
        constants={"velocity": {"start": -1.0}, "diffusivity": {"start": 0.1}},
    )  # fmt: skip
    assert main(["identify", config]) == 0
    found = result(tmp_path)
    assert found["constant_velocity"] == pytest.approx(-0.7, rel=0.01)
    assert found["constant_diffusivity"] == pytest.approx(0.03, rel=0.05)


def test_a_network_that_is_stopped_early_says_so(tmp_path, burgers, capsys):
    config = configured(
        tmp_path, law="burgers", method="network", data={"file": str(burgers)},
        network={"points": 60, "width": 4, "depth": 1, "max_steps": 12},
    )  # fmt: skip
    assert main(["identify", config]) == 0
    assert "NOT CONVERGED: the loss fell by" in capsys.readouterr().out
    assert result(tmp_path)["loss_fall_last_ten_steps"] > 0.1


def test_terms_of_a_field(tmp_path, burgers, capsys):
    terms = {"max_power": 2, "max_order": 3, "reference": {"u u_x": -1.0, "u_xx": 0.05, "u": 1.0}}
    config = configured(tmp_path, law="discover", data={"file": str(burgers)}, terms=terms)
    assert main(["identify", config, "--out", str(tmp_path / "out")]) == 0
    found = result(tmp_path)
    assert found["terms"] == 2
    assert found["constant_u_xx"] == pytest.approx(0.05, rel=1e-3)
    said = capsys.readouterr().out
    assert "Not found: u" in said and "% of du/dt is left; terms with a share below 5 % were dropped" in said


def test_a_matlab_file_of_complex_numbers(tmp_path, burgers):
    scipy_io = pytest.importorskip("scipy.io")
    arrays = np.load(burgers)
    scipy_io.savemat(
        tmp_path / "f.mat", {"usol": arrays["u"].T + 0j, "x": arrays["x"], "t": arrays["t"][:, None]}
    )
    config = configured(tmp_path, law="burgers", data={"file": str(burgers), "field": "usol"})
    assert main(["identify", config, "--data", str(tmp_path / "f.mat")]) == 0
    assert result(tmp_path)["constant_viscosity"] == pytest.approx(0.05, rel=1e-3)


FIELD, COUNTS = {"file": "field.npz"}, {"file": "counts.csv"}
MISTAKES = [
    ({"law": "burgers", "data": {"file": "none.npz"}}, "none.npz: no such file"),
    ({"law": "burgers", "data": FIELD | {"field": "uu"}}, "no array 'uu'; did you mean 'u'?"),
    ({"law": "burgers", "data": FIELD | {"field": "x"}}, "has shape [96], expected [96, 61]"),
    ({"law": "burgers", "data": COUNTS}, "expected arrays (.npz, .mat)"),
    ({"law": "burgers", "data": FIELD, "constants": {"nu": {}}}, "'nu'; expected advection, viscosity"),
    ({"law": "discover", "data": FIELD, "terms": {"reference": {"u_tt": 1.0}}}, "'u_tt', which is not in"),
    ({"law": "discover", "data": FIELD, "windows": [60, 10]}, "does not fit into 96"),
    ({"law": "lotka_volterra", "data": COUNTS}, "constants.alpha.start is missing"),
    ({"law": "lotka_volterra", "data": COUNTS, "constants": LYNX["constants"]}, "data.columns names nothing"),
    (
        {
            "law": "lotka_volterra",
            "data": COUNTS | {"columns": {"prey": "Hare", "predator": "Lynx"}},
            "constants": LYNX["constants"] | {"beta": {"start": -0.1}},
        },
        "constants.beta.start is -0.1, expected > 0",
    ),
    ({"law": "burgers", "data": FIELD, "constants": {"viscosity": {"start": math.nan}}}, "finite number"),
    ({"law": "burger", "data": FIELD}, "'morse' or 'buckingham' (found 'burger')"),
    ({"law": "burgers", "data": FIELD | {"feild": "u"}}, "unknown key 'data.feild'; did you mean 'field'?"),
]


@pytest.mark.parametrize(("content", "said"), MISTAKES, ids=[said for _, said in MISTAKES])
def test_mistakes(content, said, tmp_path, burgers, counts, capsys):
    assert said in mistake(capsys, configured(tmp_path, **content))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("1903, ", "1903, many", "counts.csv:6: found 'many"),
        ("1903, ", "1902, ", "counts.csv:6: times must increase"),
        ("1903, ", "1903, 1, ", "counts.csv:6: found 4 cells, expected 3"),
        ("1903, ", "nan, ", "counts.csv:6: found a value that is not finite"),
        ("Lynx", "Fox", "no column 'Lynx'; there are Year, Fox, Hare"),
        ("1903, ", "1903, -", "lognormal errors need positive states"),
    ],
)
def test_mistakes_in_a_table(old, new, said, tmp_path, counts, capsys):
    counts.write_text(counts.read_text().replace(old, new))
    data = {"file": str(counts), "time": "Year", "columns": {"prey": "Hare", "predator": "Lynx"}}
    assert said in mistake(capsys, configured(tmp_path, data=data, **LYNX))


@pytest.mark.parametrize(
    ("array", "change", "said"),
    [
        (
            "u",
            lambda u: u + np.where(u == u[3, 7], np.nan, 0.0),
            "first at position and time 7 and 3 (from 0)",
        ),
        ("u", lambda u: 0 * u + 2.0, "'u' is 2 everywhere, expected one that changes"),
        ("u", lambda u: u[:5], "has shape [5, 96], expected [96, 61]"),
        ("u", lambda u: np.full(u.shape, "calm"), "could not convert string"),
        ("x", lambda x: x[::-1], "at index 0, expected values that increase"),
        ("x", lambda x: np.where(x > 1, np.inf, x), "'x' has 47 of 96 values that are not finite"),
        ("t", lambda t: np.repeat(t[::2], 2)[:61], "'t' goes from 0 to 0 at index 0"),
    ],
)
def test_mistakes_in_a_field(array, change, said, tmp_path, burgers, capsys):
    arrays = dict(np.load(burgers))
    np.savez(burgers, **(arrays | {array: change(arrays[array])}))
    content = {"law": "burgers", "data": {"file": str(burgers)}}
    for method in ("weak_form", "network"):
        assert said in mistake(capsys, configured(tmp_path, method=method, **content))


def test_uneven_times_need_the_network(tmp_path, burgers, capsys):
    arrays = dict(np.load(burgers))
    np.savez(burgers, **(arrays | {"t": arrays["t"] ** 1.1}))
    assert "'t' is not uniform: steps from 0.00630957 to 0.0104434; use method: network" in mistake(
        capsys, configured(tmp_path, law="burgers", data={"file": str(burgers)})
    )


@pytest.fixture
def vortices(tmp_path) -> Path:
    """A flow on 24 x 24 points and 17 times, viscosity 0.005, in the layout of ``data/readers/grid.py``."""
    solver = NavierStokes2D(24, 1.0, 5e-3)
    x = 2 * math.pi * torch.arange(24).double() / 24
    start = 4 * (torch.sin(x)[:, None] * torch.cos(x + 1) + torch.cos(2 * x)[:, None] * torch.sin(x))
    found = solver.solve(start, torch.arange(17).double() * 0.02)
    file = tmp_path / "flow.npz"
    np.savez(
        file, x=np.arange(24) / 24, y=np.arange(24) / 24, time=0.02 * np.arange(17), periodic=[True, True],
        velocity=found.velocity.permute(0, 2, 3, 1)[None].numpy(), p=found.pressure[None].numpy(), viscosity=5e-3,
    )  # fmt: skip
    return file


def test_a_constant_of_a_record(tmp_path, vortices, capsys):
    config = configured(
        tmp_path, law="navier_stokes", data={"file": str(vortices), "columns": {"pressure": "p"}}, draws=20
    )
    assert main(["identify", config]) == 0
    found = result(tmp_path)
    assert found["constant_viscosity"] == pytest.approx(5e-3, rel=1e-3)
    assert abs(found["constant_viscosity_relative_error"]) < 1e-3  # the file says its viscosity
    assert main(["identify", config, "--set", "noise=0.01"]) == 0
    found = result(tmp_path)
    assert abs(found["constant_viscosity"] - 5e-3) < 4 * found["constant_viscosity_sd"] < 2e-3
    assert "17 times on a grid of 24 x 24" in capsys.readouterr().out
    assert "has no depth, which shallow_water needs; it has pressure, velocity" in mistake(
        capsys, config, "--set", "law=shallow_water"
    )
    assert "data.record is 1, the source has 1 records" in mistake(capsys, config, "--set", "data.record=1")
    assert "has one way; leave it out" in mistake(capsys, config, "--set", "method=network")


def test_a_record_of_scattered_points_says_what_it_is(tmp_path, capsys):
    number = next(
        k
        for k, g in enumerate(open_source("starter/fields"))
        if g.level == "navier-stokes-2d" and not g.grid_shape
    )
    config = configured(
        tmp_path, law="navier_stokes", data={"file": "starter/fields", "record": number}, draws=20
    )
    assert main(["identify", config]) == 0
    found, said = result(tmp_path), " ".join(capsys.readouterr().out.split())
    assert abs(found["constant_viscosity_relative_error"]) < 0.5
    assert "derivatives by least squares, whose error the deviations do not hold" in said


def test_constants_of_an_energy_between_atoms(tmp_path, capsys):
    """Crystals of argon with ASE's Lennard-Jones energy, then mistakes."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(3):
        atoms = bulk("Ar", "fcc", 5.4, cubic=True)
        atoms.positions += rng.normal(scale=0.2, size=atoms.positions.shape)
        atoms.calc = LennardJones(sigma=3.4, epsilon=0.0104, rc=7.0, smooth=False)
        atoms.calc = SinglePointCalculator(atoms, forces=atoms.get_forces())
        frames.append(atoms)
    write(tmp_path / "argon.extxyz", frames)
    settings = {
        "law": "lennard_jones", "data": {"file": "argon.extxyz"}, "cutoff": 7.0, "draws": 20,
        "constants": {"epsilon": {"start": 0.02}, "sigma": {"start": 3.0, "reference": 3.4}},
    }  # fmt: skip
    config = configured(tmp_path, **settings)
    assert main(["identify", config]) == 0
    found = result(tmp_path)
    assert found["constant_epsilon"] == pytest.approx(0.0104, rel=1e-6)
    assert found["constant_sigma"] == pytest.approx(3.4, rel=1e-6)
    said = " ".join(capsys.readouterr().out.split())
    assert "3 structures, by their forces" in said
    assert "network.priors: ['lennard_jones:Ar-Ar=0.0104/3.4']" in said
    assert "constants.sigma.start is -1, expected > 0" in mistake(
        capsys, config, "--set", "constants.sigma.start=-1"
    )
    assert "is a crystal, expected a field" in mistake(
        capsys, configured(tmp_path, law="heat", data={"file": "argon.extxyz", "record": 0})
    )
    config = configured(tmp_path, **settings)
    assert "noise is added to fields, lennard_jones has none" in mistake(
        capsys, config, "--set", "noise=0.01"
    )
    assert "windows are those of a law on a line" in mistake(capsys, config, "--set", "windows=[3,3]")
    settings["constants"] = {"epsilon": {"start": 0.02}}
    assert "constants.sigma.start is missing" in mistake(capsys, configured(tmp_path, **settings))


@pytest.mark.parametrize("name", ["lotka_volterra", "burgers", "discover", "viscosity", "lennard_jones"])
def test_shipped_configurations_are_valid(name):
    assert f"identify/{name}" in shipped_configs()
    assert load_config(IdentifyConfig, f"identify/{name}").law == {"viscosity": "navier_stokes"}.get(
        name, name
    )
