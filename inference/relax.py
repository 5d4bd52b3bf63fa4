"""Relaxation with ASE: atoms, or atoms and cell under a pressure, until no force is larger than a bound.

``atoms`` carry their calculator (``atoms.calc``) and are changed in place. Pressures are in GPa, energies in eV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atomfield.data.errors import InputError

from .cell_filter import CellFilter
from .recorder import Output, Recorder
from .restart import Checkpoint, State, stated_by
from .run import Run, check_atoms, check_solid, finite, one_of, positive, run_of
from .watch import reason_to_stop

if TYPE_CHECKING:
    from ase import Atoms

RELAX_COLUMNS = ("step", "energy", "fmax", "volume")
Optimizer = Literal["fire", "lbfgs", "bfgs"]
CellMode = Literal["fixed", "full", "volume"]


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

    cell: ``"fixed"``, ``"full"`` (shape and volume) or ``"volume"``, by :class:`.cell_filter.CellFilter`; then ``fmax`` also
    bounds the stress times the volume per atom, and ``pressure`` (GPa) is applied. ``Run.converged`` says whether it was reached.
    Only ``"fire"`` can be resumed.
    """
    from ase import units
    from ase.optimize import BFGS, FIRE, LBFGS

    check_atoms(atoms)
    positive("fmax", fmax)
    positive("steps", steps)
    one_of("cell", cell, ("fixed", "full", "volume"))
    one_of("optimizer", optimizer, ("fire", "lbfgs", "bfgs"))
    finite("pressure", pressure)
    if pressure and cell == "fixed":
        raise InputError(
            f"pressure is {pressure} GPa but the cell is fixed; say cell='full' or cell='volume'"
        )
    if output.restart is not None and optimizer != "fire":
        raise InputError(f"a relaxation by {optimizer} cannot be resumed, expected fire")
    if output.stop.temperature is not None:
        raise InputError("a relaxation has no temperature to watch", "--stop-when")
    settings = {"what": "relax", "cell": cell, "pressure": pressure, "fmax": fmax, "interval": output.interval,
                "identity": output.identity, "atoms": atoms.get_chemical_formula("reduce"), **stated_by(atoms),
                **output.begun_with()}  # fmt: skip
    checkpoint = Checkpoint(output.restart, output.restart_seconds)
    state = checkpoint.read(settings) if output.resume else None
    original, logarithm = atoms.cell.array.copy(), None
    if state is not None:
        original = state.arrays.pop("original_cell")
        logarithm = state.arrays.pop("logarithm", None)
        state.place(atoms)
    target: Any = atoms
    if cell != "fixed":
        check_solid(atoms, f"cell={cell!r}")
        target = CellFilter(atoms, hydrostatic_strain=cell == "volume", scalar_pressure=pressure * units.GPa)
        target.orig_cell = original
        if logarithm is not None:
            target.logarithm = logarithm
    match optimizer:
        case "fire":
            walker: Any = FIRE(target, logfile=None)
        case "lbfgs":
            walker = LBFGS(target, logfile=None)  # type: ignore[arg-type]
        case "bfgs":
            walker = BFGS(target, logfile=None)
    if state is not None:
        state.give(walker, "fire")
    first = 0 if state is None else state.step
    periodic = bool(atoms.pbc.all())
    stopped = ""
    if state is None:
        atoms.get_forces()  # what is refused here leaves the files of an earlier run as they are
        if output.stop:
            reason_to_stop(atoms, output.stop)
    with Recorder(output, RELAX_COLUMNS, steps, f"relax ({optimizer})", state) as recorder:

        def save() -> None:
            if output.restart is None:
                return
            now = State.of(atoms, walker, "fire", walker.nsteps, settings)
            now.arrays["original_cell"] = original
            if cell != "fixed":
                now.arrays["logarithm"] = target.logarithm
            now.sizes = recorder.sizes()
            checkpoint.write(now)

        def observe() -> str:
            largest = float(np.linalg.norm(target.get_forces().reshape(-1, 3), axis=1).max())
            step = walker.nsteps
            if step % output.interval == 0 or largest < fmax or step >= steps:
                energy = float(atoms.get_potential_energy())
                volume = float(atoms.get_volume()) if periodic else float("nan")
                if recorder.last_step != step:
                    recorder.sample(atoms, (step, energy, largest, volume))
            recorder.progress(step, f"fmax {largest:.3f}")
            if checkpoint.is_due():
                save()
            return reason_to_stop(atoms, output.stop) if output.stop else ""

        converged = False
        for done in walker.irun(fmax=fmax, steps=max(steps - first, 0)):
            converged = bool(done)
            stopped = observe()
            if stopped:
                break
        save()
        run = run_of(atoms, recorder, walker.nsteps - first, converged=converged and not stopped)
    run.stopped = stopped
    return run
