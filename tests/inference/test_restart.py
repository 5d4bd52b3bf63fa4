"""A run that was killed and resumed leaves the same bytes as one that was not."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT

from atomfield.data.errors import InputError
from atomfield.inference.calculator import AtomFieldCalculator
from atomfield.inference.simulate import Output, npt, nve, nvt, relax
from atomfield.models.network import AtomFieldNet

KINDS = ("nve", "langevin", "bussi", "npt", "npt-shape", "relax", "relax-cell")


class Killed(Exception):
    """Stands for the end of the process."""


class Mortal(EMT):
    """EMT that ends at a given number of calls; it searches its pairs anew at each, since kept ones come in another order."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def calculate(self, atoms: Atoms, properties: list[str], system_changes: list[str]) -> None:  # type: ignore[override]
        self.left -= 1
        if self.left < 0:
            self.die()
        super().calculate(atoms, properties, all_changes)

    def die(self) -> None:
        raise Killed


def go(kind: str, folder: Path, calls: int, resume: bool, steps: int = 24, **changes: object) -> Atoms:
    """One run of copper; ``calls``: evaluations until the kill."""
    atoms = bulk("Cu", cubic=True, a=3.5)
    atoms.rattle(0.05, seed=1)
    atoms.calc = Mortal(calls)
    output = Output(trajectory=folder / "md.extxyz", log=folder / "log.csv", restart=folder / "restart.safetensors",
                    restart_seconds=0.0, interval=3, resume=resume)  # fmt: skip
    options = {"steps": steps, "timestep": 2.0, "temperature": 300.0, "seed": 5, "output": output, **changes}
    match kind:
        case "nve":
            nve(atoms, **options)
        case "langevin" | "bussi":
            nvt(atoms, thermostat=kind, **options)
        case "npt" | "npt-shape":
            npt(
                atoms,
                shape=kind == "npt-shape",
                pressure=1.0,
                time_constant=20.0,
                pressure_time_constant=100.0,
                **options,
            )
        case "relax":
            relax(atoms, fmax=1e-9, steps=steps, output=output)
        case "relax-cell":
            relax(atoms, fmax=1e-9, steps=steps, cell="full", pressure=2.0, output=output)
    return atoms


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("md.extxyz", "log.csv", "restart.safetensors")]


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_is_bit_identical(kind: str, tmp_path: Path) -> None:
    whole = go(kind, tmp_path / "whole", 10**9, False)
    for calls in (11, 7):  # killed twice
        with pytest.raises(Killed):
            go(kind, tmp_path / "cut", calls, resume=calls != 11)
    resumed = go(kind, tmp_path / "cut", 10**9, resume=True)
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")
    np.testing.assert_array_equal(whole.positions, resumed.positions)
    np.testing.assert_array_equal(whole.get_momenta(), resumed.get_momenta())
    np.testing.assert_array_equal(whole.cell.array, resumed.cell.array)


SCRIPT = """
import os, signal, sys
from pathlib import Path
import tests.inference.test_restart as here
here.Mortal.die = lambda self: os.kill(os.getpid(), signal.SIGKILL)
here.go("bussi", Path(sys.argv[1]), 17, False)
"""


def test_killed_for_real(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path / "cut")], cwd=root)
    assert ended.returncode == -9
    go("bussi", tmp_path / "cut", 10**9, resume=True)
    go("bussi", tmp_path / "whole", 10**9, False)
    assert contents(tmp_path / "whole") == contents(tmp_path / "cut")


def test_our_potential_goes_on_bit_for_bit(net: AtomFieldNet, solid: Atoms, tmp_path: Path) -> None:
    """Kept pairs are searched at other steps in the resumed run, which changes nothing."""
    found = []
    for parts in ((20,), (7, 20)):
        folder = tmp_path / str(len(parts))
        for number, steps in enumerate(parts):
            atoms = solid.copy()
            atoms.calc = AtomFieldCalculator(net, skin=0.3)
            output = Output(trajectory=folder / "md.xyz", log=folder / "log.csv", restart=folder / "r", interval=1,
                            resume=number > 0)  # fmt: skip
            run = nvt(atoms, steps=steps, temperature=600, timestep=1.0, output=output)
        found.append((folder / "log.csv").read_bytes())
        assert run.columns["step"].tolist() == list(range(21))
        assert run.steps == (20 if len(parts) == 1 else 13)
    assert found[0] == found[1]


def test_more_steps_and_nothing_to_do(tmp_path: Path) -> None:
    go("nve", tmp_path / "a", 10**9, False, steps=24)
    go("nve", tmp_path / "b", 10**9, False, steps=12)
    go("nve", tmp_path / "b", 10**9, True, steps=24)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    go("nve", tmp_path / "b", 0, True, steps=24)  # ends without a single evaluation
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_another_charge_is_another_run(net: AtomFieldNet, molecule: Atoms, tmp_path: Path) -> None:
    molecule.info["charge"] = 0
    for run in (nve, relax):
        output = Output(restart=tmp_path / f"{run.__name__}.safetensors", interval=1)
        for changes, message in (
            ({}, ""),
            ({"charge": 0.0}, ""),
            ({"charge": 1}, "had charge = 0.0, now it is 1.0"),
        ):
            atoms = molecule.copy()
            atoms.info.update(changes)
            atoms.calc = AtomFieldCalculator(net)
            again = replace(output, resume=bool(changes))
            if message:
                with pytest.raises(InputError, match=message):
                    run(atoms, steps=2, output=again)
            else:
                run(atoms, steps=2, output=again)


def test_mistakes(tmp_path: Path) -> None:
    go("langevin", tmp_path, 10**9, False, steps=6)
    with pytest.raises(InputError, match="had temperature = 300.0, now it is 500.0"):
        go("langevin", tmp_path, 10**9, True, temperature=500.0)
    with pytest.raises(InputError, match="had what = nvt"):
        go("nve", tmp_path, 10**9, True)
    (tmp_path / "log.csv").write_text("")
    with pytest.raises(InputError, match=r"log.csv: has 0 bytes, expected at least"):
        go("langevin", tmp_path, 10**9, True)
    (tmp_path / "restart.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not the state of a simulation"):
        go("langevin", tmp_path, 10**9, True)
    (tmp_path / "restart.safetensors").unlink()
    go("langevin", tmp_path, 10**9, True, steps=6)  # nothing to resume: from the start
    with pytest.raises(InputError, match=r"\.traj file cannot be cut"):
        Output(trajectory="a.traj", restart="b")
    with pytest.raises(InputError, match="resume needs"):
        Output(resume=True)


def test_a_run_that_begins_anew_leaves_no_state_of_the_one_before(tmp_path: Path) -> None:
    """Killed before its first state, it would have gone on from that of another run."""
    go("nve", tmp_path, 10**9, False)
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.calc = Mortal(4)
    output = Output(tmp_path / "md.extxyz", tmp_path / "log.csv", restart=tmp_path / "restart.safetensors",
                    restart_seconds=1e9)  # fmt: skip
    with pytest.raises(Killed):
        nve(atoms, steps=24, timestep=2.0, temperature=300.0, seed=5, output=output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "md.extxyz"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("structure", "another structure, or other atoms held"),
        ("identity", "another model, precision or level"),
    ],
)
def test_another_structure_or_model_is_another_run(tmp_path: Path, name: str, told: str) -> None:
    def run(value: str, resume: bool) -> None:
        atoms = bulk("Cu", cubic=True, a=3.6)
        atoms.calc = EMT()
        output = replace(Output(restart=tmp_path / "state"), resume=resume, **{name: value})
        nve(atoms, steps=2, temperature=300.0, output=output)

    run("one", False)
    run("one", True)
    if name == "structure":
        run("", True)  # nothing is said of it
    with pytest.raises(InputError, match=f"the run to resume had {told}"):
        run("other", True)
