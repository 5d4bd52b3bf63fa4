"""Molecular dynamics with ASE: NVE, NVT (Langevin or Bussi) and NPT (Martyna-Tobias-Klein).

``atoms`` carry their calculator (``atoms.calc``) and are changed in place. Times are in fs, temperatures in K, pressures in
GPa, energies in eV. Temperatures count the degrees of freedom that really move: the total momentum is zero at the start
and stays so in NVE, Bussi and NPT (and the angular momentum of an isolated molecule in NVE and Bussi), so 3N - 3 or 3N - 6
of them; 3N in Langevin dynamics, which moves all.

With ``Output.restart`` the state is kept on disk, and a killed run that is resumed writes the same bytes as one that was not.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomfield.data.errors import InputError

from .drift import energy_figure, nve_drift
from .recorder import Output, Recorder
from .restart import Checkpoint, Kind, State, stated_by
from .run import Run, check_atoms, check_solid, finite, one_of, positive, run_of
from .velocities import degrees_of_freedom, thermalize
from .watch import reason_to_stop

if TYPE_CHECKING:
    from ase import Atoms

MD_COLUMNS = ("step", "time_fs", "epot", "ekin", "etot", "temperature")
NPT_COLUMNS = (*MD_COLUMNS, "volume", "pressure_gpa")
EXPLODED_K = 1e5
"""A temperature beyond which a run has exploded."""
CURE = "use a shorter time step or longer time constants, relax the structure first, or train on structures like these"
ALONE = "a single atom has no velocity against others, so that it has no temperature"

Thermostat = Literal["langevin", "bussi"]


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
    settings = {"what": "nve", "temperature": temperature, "seed": seed}
    start = _Start(atoms, output, timestep, settings)
    if temperature is not None and start.state is None:
        thermalize(atoms, temperature, seed)
        if not atoms.get_momenta().any():
            raise InputError(f"{ALONE}; take a larger cell")
    freedom = degrees_of_freedom(atoms, "molecule")
    walker = VelocityVerlet(atoms, timestep * units.fs)
    run = _dynamics(atoms, walker, "verlet", start, steps, timestep, output, "NVE", freedom)
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
    positive("time_constant", time_constant)
    one_of("thermostat", thermostat, ("langevin", "bussi"))
    settings = {
        "what": f"nvt ({thermostat})",
        "temperature": temperature,
        "time_constant": time_constant,
        "seed": seed,
    }
    start = _Start(atoms, output, timestep, settings)
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
            if not atoms.get_momenta().any():
                raise InputError(f"{ALONE}; take a larger cell, or langevin")
            freedom = degrees_of_freedom(atoms, "molecule")
            walker = Bussi(atoms, dt, temperature_K=temperature, taut=tau, rng=random)
            walker.ndof = freedom  # ASE counts 3N where nothing is constrained
            walker.target_kinetic_energy = 0.5 * units.kB * temperature * freedom
    return _dynamics(
        atoms, walker, thermostat, start, steps, timestep, output, f"NVT ({thermostat})", freedom
    )


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
    check_solid(atoms, "constant pressure")
    finite("pressure", pressure)
    positive("time_constant", time_constant)
    positive("pressure_time_constant", pressure_time_constant)
    if len(atoms) < 2 or atoms.constraints:
        raise InputError(f"constant pressure needs at least 2 atoms and no constraints, found {len(atoms)} atoms and "
                         f"{len(atoms.constraints)} constraints")  # fmt: skip
    settings = {"what": "npt", "temperature": temperature, "pressure": pressure, "time_constant": time_constant,
                "pressure_time_constant": pressure_time_constant, "shape": shape, "seed": seed}  # fmt: skip
    start = _Start(atoms, output, timestep, settings)
    if not atoms.get_momenta().any():
        thermalize(atoms, temperature, seed)
    freedom = degrees_of_freedom(atoms, "crystal")
    integrator = MTKNPT if shape else IsotropicMTKNPT
    walker = integrator(
        atoms,
        timestep * units.fs,
        temperature_K=temperature * freedom / (3 * len(atoms)),  # ASE's chain aims at 3N degrees of freedom
        pressure_au=pressure * units.GPa,
        tdamp=time_constant * units.fs,
        pdamp=pressure_time_constant * units.fs,
    )
    kind: Kind = "npt-shape" if shape else "npt"
    return _dynamics(atoms, walker, kind, start, steps, timestep, output, "NPT", freedom)


class _Start:
    """Where a run begins: the structure as it is, or the state on disk, in which case the atoms are moved to it."""

    def __init__(self, atoms: Atoms, output: Output, timestep: float, settings: dict[str, Any]):
        self.volume = atoms.get_volume() if atoms.pbc.all() else float("nan")
        self.settings = {**settings, "timestep": timestep, "interval": output.interval, "identity": output.identity,
                         "atoms": atoms.get_chemical_formula("reduce"), **stated_by(atoms), **output.begun_with()}  # fmt: skip
        self.checkpoint = Checkpoint(output.restart, output.restart_seconds)
        self.state = self.checkpoint.read(self.settings) if output.resume else None
        if self.state is not None:
            self.state.place(atoms)


def _dynamics(
    atoms: Atoms,
    walker: Any,
    kind: Kind,
    start: _Start,
    steps: int,
    timestep: float,
    output: Output,
    title: str,
    freedom: int,
) -> Run:
    from ase import units

    pressure = kind in ("npt", "npt-shape")
    columns = NPT_COLUMNS if pressure else MD_COLUMNS
    state, first, stopped = start.state, 0, ""
    if state is not None:
        state.give(walker, kind)
        first = state.step
    if state is None:
        atoms.get_forces()  # what is refused here leaves the files of an earlier run as they are
        if output.stop:
            reason_to_stop(atoms, output.stop)
    with Recorder(output, columns, steps, title, state) as recorder:

        def save() -> None:
            if output.restart is not None:
                now = State.of(atoms, walker, kind, walker.nsteps, start.settings)
                now.sizes = recorder.sizes()
                start.checkpoint.write(now)

        def observe() -> str:
            """One row where it is time, and why to stop."""
            step = walker.nsteps
            swelling = atoms.get_volume() / start.volume if pressure else 1.0
            if not 0.2 < swelling < 5:
                found = f"the cell has {swelling:.2g} times its first volume at step {step}"
                raise InputError(f"the simulation exploded: {found}; {CURE}")
            heat = 2 * float(atoms.get_kinetic_energy()) / (freedom * units.kB)
            reason = reason_to_stop(atoms, output.stop, heat) if output.stop else ""
            if step % output.interval and step != steps and not reason:
                recorder.progress(step)
            else:
                recorder.sample(atoms, _row(atoms, step, step * timestep, heat, pressure))
                recorder.progress(step, f"{heat:.0f} K")
                if not heat < EXPLODED_K:
                    raise InputError(f"the simulation exploded: {heat:.3g} K at step {step}; {CURE}")
            if start.checkpoint.is_due():
                save()
            return reason

        try:
            with np.errstate(over="raise", invalid="raise"):
                for _ in walker.irun(max(steps - first, 0)):
                    if walker.nsteps == first and state is not None:
                        continue  # that step was observed before
                    stopped = observe()
                    if stopped:
                        break
        except FloatingPointError as error:
            raise InputError(f"the simulation exploded at step {walker.nsteps} ({error}); {CURE}") from error
        save()
        run = run_of(atoms, recorder, walker.nsteps - first)
    run.stopped = stopped
    if output.figure is not None:
        path = Path(output.figure)
        heat = None if kind == "verlet" else run.columns["temperature"]
        time, total, potential = (run.columns[name] for name in ("time_fs", "etot", "epot"))
        path.parent.mkdir(parents=True, exist_ok=True)
        energy_figure(time, total, potential, len(atoms), heat).savefig(path, dpi=150)
        run.files.append(path)
    return run


def _row(atoms: Atoms, step: int, time_fs: float, heat: float, pressure: bool) -> tuple[float, ...]:
    from ase import units

    kinetic, potential = float(atoms.get_kinetic_energy()), float(atoms.get_potential_energy())
    row: tuple[float, ...] = (step, time_fs, potential, kinetic, potential + kinetic, heat)
    if not pressure:
        return row
    stress = atoms.get_stress(include_ideal_gas=True)
    return (*row, float(atoms.get_volume()), -float(stress[:3].mean()) / units.GPa)


def _check_md(atoms: Atoms, steps: int, timestep: float, temperature: float | None) -> None:
    check_atoms(atoms)
    positive("steps", steps)
    positive("timestep", timestep)
    if temperature is not None:
        positive("temperature", temperature)
