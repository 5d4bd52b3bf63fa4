"""Relaxation and molecular dynamics with ASE, recorded: NVE, NVT (Langevin or Bussi) and NPT (Martyna-Tobias-Klein).

``atoms`` carry their calculator (``atoms.calc``) and are changed in place. Times are in fs, temperatures in K, pressures in
GPa, energies in eV. Temperatures count the degrees of freedom that really move: the total momentum is zero at the start
and stays so in NVE, Bussi and NPT (and the angular momentum of an isolated molecule in NVE and Bussi), so 3N - 3 or 3N - 6
of them; 3N in Langevin dynamics, which moves all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomfield.data.errors import InputError

from .drift import nve_drift, save_energy_figure
from .recorder import Output, Recorder
from .velocities import degrees_of_freedom, thermalize

if TYPE_CHECKING:
    from ase import Atoms

MD_COLUMNS = ("step", "time_fs", "epot", "ekin", "etot", "temperature")
NPT_COLUMNS = (*MD_COLUMNS, "volume", "pressure_gpa")
RELAX_COLUMNS = ("step", "energy", "fmax", "volume")
EXPLODED_K = 1e5
"""A temperature beyond which a run has exploded."""
CURE = "use a shorter time step or longer time constants, relax the structure first, or train on structures like these"

Optimizer = Literal["fire", "lbfgs", "bfgs"]
CellMode = Literal["fixed", "full", "volume"]
Thermostat = Literal["langevin", "bussi"]


@dataclass
class Run:
    """What a simulation came to. ``columns``: name -> ``[S]`` samples, as in the CSV. ``converged``: relaxations only.

    ``drift``: slope of the total energy in meV/atom/ps (NVE with at least three samples), else None.
    """

    atoms: Atoms
    columns: dict[str, np.ndarray]
    steps: int
    seconds: float
    converged: bool | None = None
    drift: float | None = None
    files: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        rate = self.steps / self.seconds if self.seconds > 0 else 0.0
        text = f"{self.steps} steps in {self.seconds:.1f} s ({rate:.1f} steps/s)"
        if self.converged is not None:
            found = "converged" if self.converged else "NOT converged"
            force, energy = self.columns["fmax"][-1], self.columns["energy"][-1]
            text += f"; {found}: largest force {force:.4f} eV/angstrom, energy {energy:.6f} eV"
        if self.drift is not None:
            text += f"; drift of the total energy {self.drift:+.5f} meV/atom/ps"
        return text


# ---------------------------------------------------------------- relaxation
def relax(
    atoms: Atoms,
    *,
    optimizer: Optimizer = "fire",
    fmax: float = 0.05,
    steps: int = 500,
    cell: CellMode = "fixed",
    pressure: float = 0.0,
    output: Output = Output(interval=1),  # noqa: B008 (frozen)
) -> Run:
    """Move atoms until the largest force is below ``fmax`` (eV/angstrom), at most ``steps`` times.

    cell: ``"fixed"``, ``"full"`` (shape and volume) or ``"volume"``, by the Frechet filter of ASE; then ``fmax`` also bounds
    the stress times the volume per atom, and ``pressure`` (GPa) is applied. ``Run.converged`` says whether it was reached.
    """
    from ase import units
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS, FIRE, LBFGS

    _check_atoms(atoms)
    _positive("fmax", fmax)
    _positive("steps", steps)
    _one_of("cell", cell, ("fixed", "full", "volume"))
    _one_of("optimizer", optimizer, ("fire", "lbfgs", "bfgs"))
    if pressure and cell == "fixed":
        raise InputError(
            f"pressure is {pressure} GPa but the cell is fixed; say cell='full' or cell='volume'"
        )
    target: Any = atoms
    if cell != "fixed":
        _check_solid(atoms, f"cell={cell!r}")
        target = FrechetCellFilter(
            atoms, hydrostatic_strain=cell == "volume", scalar_pressure=pressure * units.GPa
        )
    match optimizer:
        case "fire":
            walker: Any = FIRE(target, logfile=None)
        case "lbfgs":
            walker = LBFGS(target, logfile=None)  # type: ignore[arg-type]
        case "bfgs":
            walker = BFGS(target, logfile=None)
    periodic = bool(atoms.pbc.all())
    with Recorder(output, RELAX_COLUMNS, steps, f"relax ({optimizer})") as recorder:

        def observe() -> None:
            largest = float(np.linalg.norm(target.get_forces().reshape(-1, 3), axis=1).max())
            step = walker.nsteps
            if step % output.interval == 0 or largest < fmax or step == steps:
                energy = float(atoms.get_potential_energy())
                volume = float(atoms.get_volume()) if periodic else float("nan")
                if not recorder.rows or recorder.rows[-1][0] != step:
                    recorder.sample(atoms, (step, energy, largest, volume))
            recorder.progress(step, f"fmax {largest:.3f}")

        walker.attach(observe)
        converged = bool(walker.run(fmax=fmax, steps=steps))
        return _run(atoms, recorder, walker.nsteps, converged=converged)


# ---------------------------------------------------------------- dynamics
def nve(
    atoms: Atoms,
    *,
    steps: int,
    timestep: float = 0.5,
    temperature: float | None = None,
    seed: int = 0,
    output: Output = Output(),  # noqa: B008 (frozen)
) -> Run:
    """Constant energy, velocity Verlet. ``temperature``: start from Maxwell-Boltzmann velocities; default: as they are.

    ``Run.drift`` is the fitted slope of the total energy.
    """
    from ase import units
    from ase.md.verlet import VelocityVerlet

    _check_md(atoms, steps, timestep, temperature)
    if temperature is not None:
        thermalize(atoms, temperature, seed)
    freedom = degrees_of_freedom(atoms, "molecule")
    run = _dynamics(
        atoms, VelocityVerlet(atoms, timestep * units.fs), steps, timestep, output, "NVE", freedom
    )
    if len(run.columns["etot"]) >= 3:
        run.drift = nve_drift(run.columns["time_fs"], run.columns["etot"], len(atoms))
    return run


def nvt(
    atoms: Atoms,
    *,
    steps: int,
    temperature: float,
    timestep: float = 0.5,
    thermostat: Thermostat = "langevin",
    time_constant: float = 100.0,
    seed: int = 0,
    output: Output = Output(),  # noqa: B008 (frozen)
) -> Run:
    """Constant temperature. Atoms at rest are started from Maxwell-Boltzmann velocities.

    thermostat: ``"langevin"`` (friction 1 / time_constant) or ``"bussi"`` (stochastic velocity rescaling, J. Chem. Phys. 126,
    014101 (2007)). time_constant: fs.
    """
    from ase import units
    from ase.md.bussi import Bussi
    from ase.md.langevin import Langevin

    _check_md(atoms, steps, timestep, temperature)
    _positive("time_constant", time_constant)
    _one_of("thermostat", thermostat, ("langevin", "bussi"))
    if not atoms.get_momenta().any():
        thermalize(atoms, temperature, seed)
    random = np.random.default_rng(seed)
    dt, tau = timestep * units.fs, time_constant * units.fs
    match thermostat:
        case "langevin":
            freedom = degrees_of_freedom(atoms, "none")
            walker: Any = Langevin(
                atoms, dt, temperature_K=temperature, friction=1 / tau, fixcm=False, rng=random
            )
        case "bussi":
            freedom = degrees_of_freedom(atoms, "molecule")
            walker = Bussi(atoms, dt, temperature_K=temperature, taut=tau, rng=random)
            walker.ndof = freedom  # ASE counts 3N where nothing is constrained
            walker.target_kinetic_energy = 0.5 * units.kB * temperature * freedom
    return _dynamics(atoms, walker, steps, timestep, output, f"NVT ({thermostat})", freedom)


def npt(
    atoms: Atoms,
    *,
    steps: int,
    temperature: float,
    pressure: float = 0.0,
    timestep: float = 1.0,
    time_constant: float = 100.0,
    pressure_time_constant: float = 1000.0,
    shape: bool = False,
    seed: int = 0,
    output: Output = Output(),  # noqa: B008 (frozen)
) -> Run:
    """Constant temperature and pressure (GPa), by Martyna, Tobias and Klein (J. Chem. Phys. 101, 4177 (1994)).

    time_constant, pressure_time_constant: fs. shape: let the cell change its shape too; otherwise only its volume. Relax the
    structure first: a barostat rings when it starts far from equilibrium.
    """
    from ase import units
    from ase.md.nose_hoover_chain import MTKNPT, IsotropicMTKNPT

    _check_md(atoms, steps, timestep, temperature)
    _check_solid(atoms, "constant pressure")
    _positive("time_constant", time_constant)
    _positive("pressure_time_constant", pressure_time_constant)
    if len(atoms) < 2 or atoms.constraints:
        raise InputError(f"constant pressure needs at least 2 atoms and no constraints, found {len(atoms)} atoms and "
                         f"{len(atoms.constraints)} constraints")  # fmt: skip
    if not atoms.get_momenta().any():
        thermalize(atoms, temperature, seed)
    freedom = degrees_of_freedom(atoms, "crystal")
    kind = MTKNPT if shape else IsotropicMTKNPT
    walker = kind(
        atoms,
        timestep * units.fs,
        temperature_K=temperature * freedom / (3 * len(atoms)),  # ASE's chain aims at 3N degrees of freedom
        pressure_au=pressure * units.GPa,
        tdamp=time_constant * units.fs,
        pdamp=pressure_time_constant * units.fs,
    )
    return _dynamics(atoms, walker, steps, timestep, output, "NPT", freedom, pressure=True)


def _dynamics(
    atoms: Atoms,
    walker: Any,
    steps: int,
    timestep: float,
    output: Output,
    title: str,
    freedom: int,
    pressure: bool = False,
) -> Run:
    from ase import units

    columns = NPT_COLUMNS if pressure else MD_COLUMNS
    volume = atoms.get_volume() if pressure else 0.0
    with Recorder(output, columns, steps, title) as recorder:

        def observe() -> None:
            step = walker.nsteps
            swelling = atoms.get_volume() / volume if pressure else 1.0
            if not 0.2 < swelling < 5:
                found = f"the cell has {swelling:.2g} times its first volume at step {step}"
                raise InputError(f"the simulation exploded: {found}; {CURE}")
            if step % output.interval and step != steps:
                recorder.progress(step)
                return
            kinetic = float(atoms.get_kinetic_energy())
            potential = float(atoms.get_potential_energy())
            heat = 2 * kinetic / (freedom * units.kB)
            row: tuple[float, ...] = (step, step * timestep, potential, kinetic, potential + kinetic, heat)
            if pressure:
                stress = atoms.get_stress(include_ideal_gas=True)
                row = (*row, float(atoms.get_volume()), -float(stress[:3].mean()) / units.GPa)
            recorder.sample(atoms, row)
            recorder.progress(step, f"{heat:.0f} K")
            if not heat < EXPLODED_K:
                raise InputError(f"the simulation exploded: {heat:.3g} K at step {step}; {CURE}")

        walker.attach(observe)
        try:
            with np.errstate(over="raise", invalid="raise"):
                walker.run(steps)
        except FloatingPointError as error:
            raise InputError(f"the simulation exploded at step {walker.nsteps} ({error}); {CURE}") from error
        run = _run(atoms, recorder, steps)
    if output.figure is not None:
        path = Path(output.figure)
        save_energy_figure(run.columns["time_fs"], run.columns["etot"], run.columns["epot"], len(atoms), path)
        run.files.append(path)
    return run


def _run(atoms: Atoms, recorder: Recorder, steps: int, converged: bool | None = None) -> Run:
    columns = {name: recorder.column(name) for name in recorder.columns}
    files = [Path(p) for p in (recorder.output.trajectory, recorder.output.log) if p is not None]
    return Run(atoms, columns, steps, recorder.seconds, converged=converged, files=files)


# ---------------------------------------------------------------- checks
def _check_atoms(atoms: Atoms) -> None:
    if atoms.calc is None:
        raise InputError("the atoms have no calculator; set atoms.calc = model.calculator() first")
    if len(atoms) == 0:
        raise InputError("there are no atoms, expected at least one")


def _check_md(atoms: Atoms, steps: int, timestep: float, temperature: float | None) -> None:
    _check_atoms(atoms)
    _positive("steps", steps)
    _positive("timestep", timestep)
    if temperature is not None:
        _positive("temperature", temperature)


def _check_solid(atoms: Atoms, why: str) -> None:
    if not atoms.pbc.all():
        raise InputError(
            f"{why} needs a structure that is periodic in three directions, found pbc {atoms.pbc.tolist()}"
        )


def _positive(name: str, value: float) -> None:
    if not (value > 0 and np.isfinite(value)):
        raise InputError(f"{name} is {value}, expected a positive number")


def _one_of(name: str, value: str, expected: tuple[str, ...]) -> None:
    if value not in expected:
        raise InputError(f"{name} is {value!r}, expected one of {', '.join(expected)}")
