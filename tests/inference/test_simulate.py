from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from scipy.linalg import expm

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.cell_filter import CellFilter
from atomfield.inference.drift import energy_figure, nve_drift
from atomfield.inference.simulate import Optimizer, Output, Thermostat, npt, nve, nvt, relax
from atomfield.inference.velocities import degrees_of_freedom, thermalize
from atomfield.models.network import AtomFieldNet


@pytest.fixture
def moving(net: AtomFieldNet, molecule: Atoms) -> Atoms:
    molecule.calc = AtomFieldCalculator(net)
    return molecule


PLACES = np.random.default_rng(0).uniform(0, 8, (16, 3))


class Springs(Calculator):
    """Each atom on a spring to its place in a frame that moves along with the mean position: conserves the total momentum."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, places: np.ndarray) -> None:
        super().__init__()
        self.places = places.copy()

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:  # type: ignore[override]
        super().calculate(atoms, properties, system_changes)
        offset = atoms.positions - self.places
        offset -= offset.mean(axis=0)
        self.results = {"energy": 1.5 * (offset**2).sum(), "forces": -3.0 * offset}


@pytest.mark.parametrize("optimizer", ["fire", "lbfgs", "bfgs"])
def test_relaxation_ends_at_small_forces(moving: Atoms, optimizer: Optimizer, tmp_path: Path) -> None:
    """Springs give the untrained network a minimum: on its own it may have none."""
    moving.calc = SumCalculator([moving.calc, Springs(moving.positions)])
    before = moving.get_potential_energy()
    output = Output(trajectory=tmp_path / "a" / "relax.traj", log=tmp_path / "a" / "relax.csv", interval=1)
    run = relax(moving, optimizer=optimizer, fmax=0.1, steps=400, output=output)
    assert moving.get_potential_energy() < before
    assert run.converged
    assert np.linalg.norm(moving.get_forces(), axis=1).max() < 0.1
    assert run.columns["fmax"][-1] == pytest.approx(np.linalg.norm(moving.get_forces(), axis=1).max())
    frames = ase.io.read(tmp_path / "a" / "relax.traj", ":")
    rows = list(csv.DictReader((tmp_path / "a" / "relax.csv").read_text().splitlines()))
    assert len(frames) == len(rows) == run.steps + 1
    assert float(rows[-1]["energy"]) == pytest.approx(frames[-1].get_potential_energy())
    assert "NOT converged" not in str(run)
    moving.rattle(0.2, seed=1)
    assert "NOT converged" in str(relax(moving, optimizer=optimizer, fmax=1e-6, steps=1))


def test_relaxation_of_the_cell() -> None:
    """EMT copper, compressed: the relaxed lattice constant is that of EMT (3.59 angstrom)."""
    for cell in ("full", "volume"):
        atoms = bulk("Cu", cubic=True, a=3.4)
        atoms.calc = EMT()
        run = relax(atoms, cell=cell, fmax=0.005)
        assert run.converged
        assert atoms.get_volume() ** (1 / 3) == pytest.approx(3.59, abs=0.01)
        squeezed = atoms.get_volume()
        relax(atoms, cell=cell, fmax=0.005, pressure=10.0)
        assert atoms.get_stress()[:3].mean() == pytest.approx(-10 * units.GPa, rel=0.05)
        assert atoms.get_volume() < squeezed


def test_constant_energy(moving: Atoms, tmp_path: Path) -> None:
    """The error of velocity Verlet is of second order in the time step, and there is no drift."""
    start, spread = moving.positions.copy(), {}
    for timestep in (0.4, 0.2):
        moving.positions[:] = start
        figure = tmp_path / f"{timestep}.png"
        output = Output(
            log=tmp_path / "log.csv", trajectory=tmp_path / "md.extxyz", figure=figure, interval=1
        )
        run = nve(moving, steps=int(20 / timestep), timestep=timestep, temperature=200, seed=1, output=output)
        spread[timestep] = np.ptp(run.columns["etot"])
        assert spread[timestep] < 0.02 * np.ptp(run.columns["ekin"])
        assert figure.stat().st_size > 5000
        assert run.files == [tmp_path / "md.extxyz", tmp_path / "log.csv", figure]
    assert 3.0 < spread[0.4] / spread[0.2] < 5.0
    assert run.drift is not None
    assert f"{run.drift:+.5f} meV/atom/ps" in str(run)
    header = (tmp_path / "log.csv").read_text().splitlines()[0]
    assert header == "step,time_fs,epot,ekin,etot,temperature"
    frames = ase.io.read(tmp_path / "md.extxyz", ":")
    assert len(frames) == 101
    assert frames[-1].get_kinetic_energy() == pytest.approx(run.columns["ekin"][-1], rel=1e-5)
    assert frames[-1].get_potential_energy() == pytest.approx(run.columns["epot"][-1], rel=1e-5)
    assert run.columns["time_fs"][-1] == pytest.approx(20.0)


@pytest.mark.parametrize("thermostat", ["langevin", "bussi"])
def test_constant_temperature(thermostat: Thermostat) -> None:
    """Atoms started at rest settle at the temperature asked for. With 48 degrees of freedom a sample scatters by
    sqrt(2/48) = 20 %, and 4000 fs hold 40 independent ones: the mean is good to 3 %, and 12 % is four times that."""
    atoms = Atoms("Ne16", PLACES, cell=[8, 8, 8], pbc=True)
    atoms.calc = Springs(PLACES)
    run = nvt(atoms, steps=2200, temperature=300, timestep=2.0, thermostat=thermostat, time_constant=50.0, seed=3,
              output=Output(interval=5))  # fmt: skip
    found = run.columns["temperature"][40:]
    assert found.mean() == pytest.approx(300, rel=0.12)
    assert found.std() == pytest.approx(300 * np.sqrt(2 / 48), rel=0.4)


@pytest.mark.parametrize("shape", [False, True])
def test_constant_pressure(shape: bool, tmp_path: Path) -> None:
    """Copper under 5 GPa shrinks by about 5 / 134 (its bulk modulus in GPa) and ends near that pressure."""
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.calc = EMT()
    output = Output(interval=1, log=tmp_path / "npt.csv")
    run = npt(atoms, steps=100, temperature=300, pressure=5.0, timestep=4.0, time_constant=40.0, shape=shape,
              pressure_time_constant=150.0, output=output)  # fmt: skip
    volume = run.columns["volume"] / run.columns["volume"][0]
    assert volume[50:].mean() == pytest.approx(0.968, abs=0.02)
    assert run.columns["pressure_gpa"][50:].mean() == pytest.approx(5.0, abs=1.5)
    header = (tmp_path / "npt.csv").read_text().splitlines()[0]
    assert header == "step,time_fs,epot,ekin,etot,temperature,volume,pressure_gpa"


def test_a_cell_that_runs_away_is_an_explosion() -> None:
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.calc = EMT()
    with pytest.raises(InputError, match="exploded"):
        npt(atoms, steps=200, temperature=300, pressure=-100.0, timestep=4.0, pressure_time_constant=150.0)


def test_our_solid_under_pressure(net: AtomFieldNet, solid: Atoms) -> None:
    solid.calc = AtomFieldCalculator(net)
    run = npt(solid, steps=5, temperature=100, output=Output(interval=1))
    assert np.isfinite(run.columns["pressure_gpa"]).all()
    assert len(set(run.columns["volume"])) > 1


def test_velocities_have_the_temperature_and_nothing_else(molecule: Atoms, solid: Atoms) -> None:
    for atoms, freedom in ((molecule, 9), (solid, 12)):
        thermalize(atoms, 300.0, seed=2)
        assert degrees_of_freedom(atoms, "molecule") == freedom
        assert atoms.get_kinetic_energy() == pytest.approx(0.5 * freedom * units.kB * 300)
        assert np.abs(atoms.get_momenta().sum(axis=0)).max() < 1e-10
    assert np.abs(molecule.get_angular_momentum()).max() < 1e-10
    assert degrees_of_freedom(Atoms("CO2", [[0, 0, 0], [0, 0, 1.2], [0, 0, -1.2]]), "molecule") == 4
    assert degrees_of_freedom(molecule, "none") == 15
    molecule.set_constraint(FixAtoms([0]))
    assert degrees_of_freedom(molecule, "none") == 12


def test_a_long_run_is_drawn_with_few_points() -> None:
    """The line and its slope are those of all samples."""
    time = np.arange(100_001.0)
    energy = 2e-6 * time
    lines = [line for axes in energy_figure(time, energy, energy, 2).axes for line in axes.lines]
    assert all(len(line.get_xdata()) <= 20_000 for line in lines)
    assert lines[-1].get_label() == "drift +1.0000 meV/atom/ps"
    assert lines[0].get_xdata()[-1] > 99.9
    below = energy_figure(time, energy, energy, 2, 300 + 0 * time).axes[
        1
    ]  # with a thermostat a slope means nothing
    assert [line.get_label() for line in below.lines[1:]] == ["mean 300.0 K"]


def test_drift_is_the_slope() -> None:
    time = np.linspace(0, 2000, 201)
    wiggle = 1e-3 * np.sin(time)
    assert nve_drift(time, -5.0 + 4e-6 * time + wiggle, num_atoms=2) == pytest.approx(2.0, abs=0.1)
    assert nve_drift(time, np.full(201, 3.0), num_atoms=2) == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(InputError, match="has 2 samples"):
        nve_drift(time[:2], time[:2], 1)


def test_an_explosion_stops_with_its_files_whole(moving: Atoms, tmp_path: Path) -> None:
    output = Output(log=tmp_path / "log.csv", interval=1)
    with pytest.raises(InputError, match=r"exploded.*shorter time step"):
        nve(moving, steps=50, temperature=1e6, output=output)
    assert len((tmp_path / "log.csv").read_text().splitlines()) >= 2


@pytest.mark.parametrize("what", ["relax", "nve"])
def test_what_is_refused_leaves_an_earlier_run_as_it_was(moving: Atoms, tmp_path: Path, what: str) -> None:
    output = Output(tmp_path / "path.extxyz", tmp_path / "log.csv", interval=1)

    def go() -> None:
        if what == "relax":
            relax(moving, steps=3, output=output)
        else:
            nve(moving, steps=3, temperature=10, output=output)

    go()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(before) == 2
    moving.positions[1] = moving.positions[0]
    with pytest.raises(InputError, match="0 angstrom apart"):
        go()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_progress_bar(moving: Atoms, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    console = Console(force_terminal=True, width=100, record=True)
    nve(moving, steps=3, temperature=10, output=Output(interval=1, progress=True, console=console))
    shown = console.export_text()
    assert "NVE" in shown
    assert "steps/s" in shown


def test_mistakes(moving: Atoms, solid: Atoms) -> None:
    for call, message in (
        (lambda: nve(moving, steps=0), "steps is 0, expected a positive number"),
        (lambda: nve(moving, steps=5, timestep=-1), "timestep is -1"),
        (lambda: nvt(moving, steps=5, temperature=0), "temperature is 0"),
        (lambda: nvt(moving, steps=5, temperature=300, thermostat="nose"), "expected one of langevin, bussi"),
        (lambda: npt(moving, steps=5, temperature=300), "periodic in three directions"),
        (lambda: relax(moving, cell="full"), "periodic in three directions"),
        (lambda: relax(moving, pressure=1.0), "but the cell is fixed"),
        (lambda: relax(moving, optimizer="sgd"), "expected one of fire, lbfgs, bfgs"),
        (lambda: nve(solid, steps=5), "no calculator"),
        (lambda: Output(trajectory="md.pdb"), r"expected a name ending in .traj, .extxyz, .xyz"),
        (lambda: Output(interval=0), "interval is 0"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_single_atom_has_no_temperature(net: AtomFieldNet) -> None:
    """ASE refuses it of Bussi in words of its own; at constant energy nothing moved."""
    for atoms in (Atoms("H"), bulk("Cu", a=3.6)):
        atoms.calc = AtomFieldCalculator(net, allow_unseen=True)
        with pytest.raises(InputError, match=r"a single atom.*take a larger cell, or langevin"):
            nvt(atoms, steps=2, temperature=300, thermostat="bussi")
        with pytest.raises(InputError, match=r"a single atom.*take a larger cell"):
            nve(atoms, steps=2, temperature=300)
        nvt(atoms, steps=2, temperature=300)


@pytest.mark.parametrize(
    "options", [{"scalar_pressure": 0.01}, {"hydrostatic_strain": True}, {"constant_volume": True}]
)
def test_a_cell_relaxes_as_by_ase(options: dict[str, Any]) -> None:
    paths = []
    for kind in (FrechetCellFilter, CellFilter):
        atoms = bulk("Cu", a=3.4) * (2, 1, 1)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.1 * np.eye(3, k=1)), scale_atoms=True)
        atoms.rattle(0.1, seed=1)
        atoms.calc = EMT()
        filtered = kind(atoms, **options)
        forces = []
        for _ in FIRE(filtered, logfile=None).irun(fmax=1e-9, steps=15):
            forces.append(filtered.get_forces())
        paths.append((np.array(forces), atoms.positions.copy(), atoms.cell.array.copy(), filtered.stress))
    for before, now in zip(*paths, strict=True):
        np.testing.assert_allclose(now, before, atol=1e-9)
    assert np.abs(np.diff(paths[0][0], axis=0)).max() > 0.1


def test_a_cell_that_others_set_has_its_logarithm() -> None:
    atoms = bulk("Cu", cubic=True, a=3.4)
    atoms.calc = EMT()
    filtered = CellFilter(atoms)
    strain = np.array([[0.1, 0.3, 0], [0.2, 0.8, 0.1], [0, 0.1, -0.5]])
    atoms.set_cell(atoms.cell.array @ expm(strain).T, scale_atoms=True)
    np.testing.assert_allclose(filtered.logarithm, strain, atol=1e-12)
    place, cell = filtered.get_positions(), atoms.cell.array.copy()
    atoms.set_cell(2 * cell, scale_atoms=True)
    filtered.set_positions(place)
    np.testing.assert_allclose(atoms.cell.array, cell, atol=1e-12)


def test_forces_on_a_cell_are_kept_until_it_moves() -> None:
    atoms = bulk("Cu", cubic=True, a=3.4)
    atoms.calc = EMT()
    filtered = CellFilter(atoms)
    forces = filtered.get_forces()
    filtered.get_forces()[:] = 0.0
    np.testing.assert_array_equal(filtered.get_forces(), forces)
    atoms.set_cell(1.05 * atoms.cell.array, scale_atoms=True)
    assert np.abs(filtered.get_forces() - forces).max() > 0.1
