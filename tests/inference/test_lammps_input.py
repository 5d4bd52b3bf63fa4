"""What is said about the input of the driver for LAMMPS, without LAMMPS."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ase.calculators.emt import EMT

from atomfield.data.errors import InputError
from atomfield.inference.lammps import drive


class Fake:
    """Two atoms of copper; what LAMMPS is told is kept."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.stopped = False
        self.numpy = SimpleNamespace(extract_atom=lambda name: np.array([1, 1]))

    def extract_global(self, name: str) -> str:
        return {"units": "metal"}[name]

    def extract_setting(self, name: str) -> int:
        return {"world_size": 1, "ntypes": 1}[name]

    def extract_box(self):
        return [0.0] * 3, [9.0] * 3, 0.0, 0.0, 0.0, [0, 0, 0], 0

    def command(self, text: str) -> None:
        self.commands.append(text)

    commands_list = commands_string = file = command

    def set_fix_external_callback(self, fix: str, callback, caller) -> None:
        self.callback = callback

    def fix_external_set_energy_global(self, fix: str, energy: float) -> None:
        self.energy = energy

    def force_timeout(self) -> None:
        self.stopped = True


def test_what_is_no_element_is_refused() -> None:
    for name in ("Qq", "copper", "X", ""):
        with pytest.raises(
            InputError, match=f"found '{name}' among the elements, expected symbols such as Na"
        ):
            drive(Fake(), EMT(), [name])


def test_a_calculator_that_refuses_ends_the_run() -> None:
    """Python would forget the error, and LAMMPS go on with the forces of the step before."""
    lmp = Fake()
    drive(lmp, EMT(), ["Cu"])
    positions, forces = np.array([[0.0, 0, 0], [2.3, 0, 0]]), np.zeros((2, 3))
    lmp.callback(None, 7, 2, np.array([1, 2]), positions, forces)
    assert forces[0, 0] == -forces[1, 0] != 0
    lmp.command("run 0")
    lmp = Fake()
    drive(lmp, EMT(), ["Xe"])
    lmp.callback(None, 8, 2, np.array([1, 2]), positions, forces)
    assert lmp.stopped
    assert not forces.any()
    for name in ("command", "commands_list", "commands_string", "file"):
        with pytest.raises(NotImplementedError, match="Xe|EMT"):
            getattr(lmp, name)("run 1")
